//! Sockets for parties that cannot show a token: `[[offload.sockets]]`.
//!
//! An interLink API server sends no token to its plugin, so an engine that stands in for a plugin must know otherwise who
//! asks. Loopback gives no rights; a Unix socket does, because the kernel says which user is at the other end. Whoever is
//! on the socket's list acts as the account that the operator named, with a token that is confined to pods, through the same
//! routes and checks as everybody else. A request that brings a token of its own is judged by that.
//!
//! Where the socket is: `InterlinkAddress` or `SidecarURL: unix:///path` of upstream's configuration.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dte_base::secret::Secret;
use dte_http::{Client, UnixDoor};
use dte_identity::{Identity, OpenError, ServiceContext};
use dte_protocol_interlink::Side;
use http::header::{AUTHORIZATION, CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode, Uri};
use serde::Deserialize;

use crate::Service;

/// How long a token lives, and for how much of that it is used.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3_600);
const TOKEN_USED: Duration = Duration::from_secs(1_800);
/// What is done through a socket, in the audit.
const BY: &str = "interlink socket";

/// One `[[offload.sockets]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    pub path: PathBuf,
    /// Whose pods come through it.
    pub account: String,
    /// Users of this machine who may use it; without any, the one who runs the engine.
    #[serde(default)]
    pub uids: Vec<u32>,
    /// As what the engine stands there: `plugin` behind another's API server, or `api` before virtual nodes.
    #[serde(default = "plugin")]
    pub side: Side,
    /// What may be done through it.
    #[serde(default = "pods")]
    pub scopes: Vec<String>,
}

fn plugin() -> Side {
    Side::Plugin
}

fn pods() -> Vec<String> {
    ["compute.create", "compute.read", "compute.cancel", "compute.modify"].map(str::to_owned).to_vec()
}

/// Opens a socket and serves it until the engine stops.
pub fn serve(socket: &Socket, ctx: &ServiceContext) -> Result<(), OpenError> {
    let own = rustix::process::geteuid().as_raw();
    let uids = if socket.uids.is_empty() { vec![own] } else { socket.uids.clone() };
    let base = match socket.side {
        Side::Api => ctx.url_of(Service::PREFIX),
        Side::Plugin => ctx.url_of(&format!("{}/plugin", Service::PREFIX)),
    };
    let doorman = Doorman {
        identity: ctx.identity.clone(),
        client: ctx.client.clone(),
        base,
        account: socket.account.clone(),
        scopes: socket.scopes.clone(),
        token: Mutex::default(),
    };
    let router = Router::new().fallback(pass).with_state(Arc::new(doorman));
    // Anybody may knock; the kernel says who does.
    let failed = |error| OpenError::other(format!("[[offload.sockets]] path: {}: {error}", socket.path.display()));
    let door = UnixDoor::bind(&socket.path, 0o666, uids, "interLink socket").map_err(failed)?;
    let tasks = ctx.tasks.clone();
    ctx.tasks.spawn("offload.socket", async move { door.serve(router, tasks).await });
    Ok(())
}

/// Takes requests from the socket to the routes.
struct Doorman {
    identity: Identity,
    client: Client,
    base: String,
    account: String,
    scopes: Vec<String>,
    token: Mutex<Option<(Instant, Secret)>>,
}

impl Doorman {
    fn token(&self) -> Result<Secret, dte_identity::Error> {
        let mut known = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, token)) = &*known
            && made.elapsed() < TOKEN_USED
        {
            return Ok(token.clone());
        }
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        let token = self.identity.issue_token(&self.account, &scopes, None, TOKEN_LIFETIME, BY)?;
        *known = Some((Instant::now(), token.clone()));
        Ok(token)
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, text + "\n").into_response()
}

async fn pass(State(doorman): State<Arc<Doorman>>, mut request: Request) -> Response {
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    let Ok(uri) = format!("{}{asked}", doorman.base).parse::<Uri>() else {
        return plain(StatusCode::BAD_REQUEST, "the path cannot be read".into());
    };
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    for name in [HOST, CONNECTION, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    if !headers.contains_key(AUTHORIZATION) {
        let shown = doorman.token().map_err(|error| error.to_string()).and_then(|token| {
            HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|error| error.to_string())
        });
        match shown {
            Ok(value) => headers.insert(AUTHORIZATION, value),
            Err(error) => {
                let text = format!("this socket's account {} may not work here: {error}", doorman.account);
                return plain(StatusCode::FORBIDDEN, text);
            }
        };
    }
    match doorman.client.send(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => plain(StatusCode::BAD_GATEWAY, error.to_string()),
    }
}
