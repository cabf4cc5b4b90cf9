//! The kubelet's HTTPS address, which the API server calls for logs, exec, figures and lists of pods.
//!
//! * [`certificate`]: what is shown; [`serving`]: how the cluster is asked for it;
//! * [`access`]: who may call: a client certificate of the cluster or a token, and what the cluster says they may do;
//! * [`logs`], [`streams`], `forward` (with `spdy`), [`figures`]: the routes.

pub mod access;
pub mod certificate;
pub mod figures;
mod forward;
pub mod logs;
pub mod serving;
mod spdy;
pub mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::pods::Controller;
use access::{Access, Peer};

/// How long a caller may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long open connections may go on at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Takes the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Server(format!("cannot listen at {address}: {error}")))
}

/// The server.
pub struct Server {
    controller: Arc<Controller>,
    tls: TlsAcceptor,
    router: Router,
    keeper: Option<serving::Keeper>,
}

impl Server {
    pub async fn new(controller: Arc<Controller>) -> Result<Self, Error> {
        let authority = access::client_authority(&controller.cluster, &controller.settings).await?;
        let shown = Arc::new(certificate::Shown::new(&controller.settings)?);
        let tls = TlsAcceptor::from(Arc::new(certificate::server(Arc::clone(&shown), &authority)?));
        let keeper = serving::Keeper::new(controller.cluster.clone(), &controller.settings, shown);
        let access = Arc::new(Access::new(controller.cluster.clone(), &controller.settings.node_name));
        let router = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/pods", get(pods))
            .route("/runningpods/", get(pods))
            .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::logs))
            .route("/exec/{namespace}/{pod}/{container}", any(streams::exec))
            .route("/attach/{namespace}/{pod}/{container}", any(streams::attach))
            .route("/portForward/{namespace}/{pod}", any(forward::port_forward))
            .route("/stats/summary", get(figures::summary))
            .route("/metrics/resource", get(figures::resource))
            .fallback(|| async { (StatusCode::NOT_FOUND, "404 request not found") })
            .layer(middleware::from_fn_with_state(access, access::check))
            .with_state(Arc::clone(&controller));
        Ok(Server { controller, tls, router, keeper })
    }

    /// Serves until the end.
    pub async fn run(self, listener: TcpListener) {
        let tasks = self.controller.tasks.clone();
        if let Some(keeper) = self.keeper {
            let for_keeper = tasks.clone();
            tasks.spawn("serving certificate", async move { keeper.run(for_keeper).await });
        }
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tasks.stopping() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, self.tls.clone(), self.router.clone(), tasks.stop_token());
                    tasks.spawn("kubelet connection", connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, router: Router, stop: tokio_util::sync::CancellationToken) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else { return };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let router = router.layer(axum::Extension(Peer(certificate)));
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST_WORDS, connection).await {
                Ok(outcome) => outcome,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection of the kubelet's address broke");
    }
}

/// A refusal in plain text.
pub struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.1).into_response()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal(StatusCode::BAD_GATEWAY, error.to_string())
    }
}

async fn pods(State(controller): State<Arc<Controller>>) -> axum::Json<Value> {
    let items: Vec<Value> = controller.table.all().into_iter().map(|entry| json!(*entry.pod)).collect();
    axum::Json(json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}
