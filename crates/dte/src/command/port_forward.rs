//! `dte port-forward`: a port here leads to one on which a process of the pod listens.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::{pods, session};
use crate::cli::{Common, PortForward};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

pub async fn port_forward(common: &Common, command: &PortForward) -> Result<(), Failure> {
    let remote = Remote::find(common).await?;
    let pod = pods::by_name(&remote, &command.name).await?;
    let mut doors = tokio::task::JoinSet::new();
    for pair in &command.ports {
        let address = SocketAddr::new(command.address, pair.local);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Failure::new(format!("cannot listen at {address}: {error}")))?;
        let mut url = remote.base("/interlink/portForward")?;
        url.query_pairs_mut()
            .append_pair("pod", &show::cell(&pod["uid"]))
            .append_pair("port", &pair.remote.to_string());
        show::line(format!("Forwarding from {} -> {}", listener.local_addr()?, pair.remote));
        doors.spawn(serve(remote.clone(), url, listener));
    }
    // It goes on until it is ended from outside.
    match doors.join_next().await {
        Some(outcome) => outcome?,
        None => Ok(()),
    }
}

/// Takes connections. One that fails says so and leaves the others alone.
async fn serve(remote: Remote, url: Url, listener: TcpListener) -> Result<(), Failure> {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let (remote, url) = (remote.clone(), url.clone());
        connections.spawn(async move {
            if let Err(failure) = connect(&remote, &url, stream).await {
                eprintln!("dte: a connection failed: {failure}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(remote: &Remote, url: &Url, stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    session::carry(session::open(remote, url).await?, stream).await
}
