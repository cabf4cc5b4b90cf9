//! `dte exec`: a program in a container that runs; its output here, its exit code ours. `dte attach`: the container's own program.

use dte_http::WebSocket;
use serde_json::Value;
use url::Url;

use super::{pods, session};
use crate::cli::{Attach, Common, Exec};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

pub async fn exec(common: &Common, command: &Exec) -> Result<u8, Failure> {
    let remote = Remote::find(common).await?;
    let pod = pods::by_name(&remote, &command.name).await?;
    let streams = Streams { container: &command.container, stdin: command.stdin, tty: command.tty };
    let mut url = streams.url(&remote, "/interlink/exec", &pod)?;
    for word in &command.command {
        url.query_pairs_mut().append_pair("command", word);
    }
    streams.talk(session::open(&remote, &url).await?).await
}

pub async fn attach(common: &Common, command: &Attach) -> Result<u8, Failure> {
    let remote = Remote::find(common).await?;
    let pod = pods::by_name(&remote, &command.name).await?;
    let streams = Streams { container: &command.container, stdin: command.stdin, tty: command.tty };
    let socket = streams.attach(&remote, &pod).await?;
    streams.talk(socket).await
}

/// What of this command's input and output goes to which container.
#[derive(Clone, Copy)]
pub struct Streams<'a> {
    pub container: &'a str,
    pub stdin: bool,
    pub tty: bool,
}

impl Streams<'_> {
    pub fn has_input(&self) -> bool {
        self.stdin || self.tty
    }

    fn url(&self, remote: &Remote, path: &str, pod: &Value) -> Result<Url, Failure> {
        let mut url = remote.base(path)?;
        let flag = |is: bool| if is { "1" } else { "0" };
        url.query_pairs_mut()
            .append_pair("pod", &show::cell(&pod["uid"]))
            .append_pair("container", self.container)
            // A terminal has one output.
            .append_pair("stdout", "1")
            .append_pair("stderr", flag(!self.tty))
            .append_pair("stdin", flag(self.has_input()))
            .append_pair("tty", flag(self.tty));
        Ok(url)
    }

    /// Comes to a container's own program.
    pub async fn attach(&self, remote: &Remote, pod: &Value) -> Result<WebSocket, Failure> {
        session::open(remote, &self.url(remote, "/interlink/attach", pod)?).await
    }

    /// Until the program ends.
    pub async fn talk(&self, socket: WebSocket) -> Result<u8, Failure> {
        let terminal = if self.tty { Terminal::take()? } else { None };
        session::talk(socket, self.has_input(), terminal.as_ref()).await
    }
}
