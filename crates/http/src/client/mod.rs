//! The way out, and the way to ourselves.
//!
//! One client for the engine. A URL of our own (the public URL, or an address that we listen on) calls the [`Front`] in
//! memory: no socket, no listener limits, but a count of hops against loops. Any other URL goes out over a pooled
//! connection, which may be a socket of this machine ([`unix`]). [`Client::untrusted`] is the same client for URLs that
//! arrived in requests.

mod certified;
mod connect;
pub mod guard;
mod relay;
mod request;
pub mod unix;
mod web_socket;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::body::Body;
use http::header::{HOST, HeaderValue, UPGRADE, USER_AGENT};
use http::{Method, Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

use crate::config::{HttpConfig, MAIN_LISTENER};
use crate::front::{Entrance, Front};
use crate::request::{HOP_LIMIT, X_DTE_HOPS, X_REQUEST_ID, current_hops, current_request_id};
use crate::tls::{TlsError, TlsFiles};

pub use certified::CertifiedClient;
use connect::Connector;
use guard::Guard;
pub use guard::RefusedAddress;
pub use request::{BearerText, Reply, RequestBuilder};
pub use web_socket::WebSocket;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("dte/", env!("CARGO_PKG_VERSION")));
/// Idle connections are kept this long.
const IDLE: Duration = Duration::from_secs(60);

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0:?} is not an absolute http or https URL")]
    BadUrl(String),
    #[error(transparent)]
    Refused(#[from] RefusedAddress),
    #[error("cannot reach {host}: {message}")]
    Unreachable { host: String, message: String },
    #[error("{host} did not answer within {}", dte_base::units::Span(*.limit))]
    Timeout { host: String, limit: Duration },
    #[error("services call each other in a circle ({0} hops)")]
    Loop(u8),
    #[error("the answer broke off: {0}")]
    Broken(String),
    #[error("the answer is larger than {0}")]
    TooLarge(dte_base::units::Bytes),
    #[error("the answer is not the expected JSON: {0}")]
    Json(String),
    #[error("{status}: {detail}")]
    Status { status: http::StatusCode, detail: String },
    #[error("the request cannot be built: {0}")]
    Request(String),
    #[error("too many redirects")]
    Redirects,
}

impl ClientError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Timeout { .. } | ClientError::Broken(_) => true,
            ClientError::Status { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
            _ => false,
        }
    }
}

/// The outbound client. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    untrusted: bool,
}

struct Shared {
    public_url: Url,
    own: RwLock<Own>,
    trusted: legacy::Client<Connector, Body>,
    /// Trusted too, for requests that want to take the connection over.
    upgrading: legacy::Client<Connector, Body>,
    guarded: legacy::Client<Connector, Body>,
}

/// What is ourselves.
#[derive(Default)]
struct Own {
    front: Option<Front>,
    /// Scheme and authority of each address of ours, and what it shows.
    addresses: Vec<(String, Entrance)>,
    /// The public URL may stand for several processes; what is not mounted here is then asked over the network.
    is_listening_at_public_url: bool,
}

impl Client {
    /// A client that knows the public URL but does not yet serve anything: [`Client::attach`] does.
    pub fn new(config: &HttpConfig, public_url: Url) -> Self {
        Client::build(config, public_url, |connector| connector)
    }

    /// A client for one place that has a root certificate of its own, or wants to see one of ours. The files are read now.
    pub fn with_tls(config: &HttpConfig, public_url: Url, files: &TlsFiles) -> Result<Self, TlsError> {
        let tls = crate::tls::client_with(files)?;
        Ok(Client::build(config, public_url, |connector| connector.with_tls(tls.clone())))
    }

    fn build(config: &HttpConfig, public_url: Url, finish: impl Fn(Connector) -> Connector) -> Self {
        crate::tls::install_provider();
        let pool = |connector: Connector| {
            legacy::Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE)
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                // XRootD 5.5 passes over headers whose names have no capitals.
                .http1_title_case_headers(true)
                .build(connector)
        };
        let connector = |guard: Option<Guard>| finish(Connector::new(guard, config.outbound.connect_timeout.0));
        let shared = Shared {
            public_url,
            own: RwLock::new(Own::default()),
            trusted: pool(connector(None)),
            upgrading: pool(connector(None).for_upgrades()),
            guarded: pool(connector(Some(Guard::new(config.outbound.allow.clone())))),
        };
        Client { shared: Arc::new(shared), untrusted: false }
    }

    /// The same client for URLs that arrived in requests, redirects or answers: it refuses addresses that are not public
    /// unless `[http.outbound] allow` covers them, and connects to the very address that it checked. Our own URLs are
    /// served in memory all the same.
    pub fn untrusted(&self) -> Client {
        Client { shared: Arc::clone(&self.shared), untrusted: true }
    }

    /// The URL under which users know this engine.
    pub fn public_url(&self) -> &Url {
        &self.shared.public_url
    }

    /// The public URL joined with a path: `url_of("/rucio/rules")`.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.shared.public_url.as_str().trim_end_matches('/'))
    }

    /// From now on our own URLs are served by `front`. `listening` are the addresses of
    /// [`Listeners::addresses`](crate::Listeners::addresses), empty in tests without sockets.
    pub fn attach(&self, front: Front, listening: &[(String, SocketAddr)]) {
        let mut addresses = Vec::new();
        let public = origin_of(self.shared.public_url.as_str().parse::<Uri>().ok().as_ref());
        addresses.extend(public.clone().map(|origin| (origin, Entrance::All)));
        for (name, address) in listening {
            let Some(entrance) = (if name == MAIN_LISTENER { Some(Entrance::All) } else { front.entrance(name) })
            else {
                continue;
            };
            for scheme in ["http", "https"] {
                for host in names_of(*address) {
                    addresses.push((format!("{scheme}://{host}:{}", address.port()), entrance));
                }
            }
        }
        let is_listening_at_public_url =
            listening.is_empty() || addresses.iter().skip(1).any(|(origin, _)| Some(origin) == public.as_ref());
        if let Ok(mut own) = self.shared.own.write() {
            *own = Own { front: Some(front), addresses, is_listening_at_public_url };
        }
    }

    /// Forgets the front, so that the services behind it can be dropped.
    pub fn detach(&self) {
        if let Ok(mut own) = self.shared.own.write() {
            *own = Own::default();
        }
    }

    /// Whether a URL is one of ours, so that calling it needs no socket.
    pub fn is_own(&self, url: &str) -> bool {
        url.parse::<Uri>().is_ok_and(|uri| self.own(&uri).is_some())
    }

    fn own(&self, uri: &Uri) -> Option<(Front, Entrance)> {
        let own = self.shared.own.read().ok()?;
        let front = own.front.as_ref()?;
        let origin = origin_of(Some(uri))?;
        let entrance = own.addresses.iter().find(|(known, _)| *known == origin).map(|(_, entrance)| *entrance)?;
        let here = own.is_listening_at_public_url || front.serves(entrance, uri.path());
        here.then(|| (front.clone(), entrance))
    }

    /// Sends a request as it is; the URL must be absolute. Waits for the answer's head without limit: use
    /// [`RequestBuilder::timeout`] for one.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, ClientError> {
        let uri = request.uri();
        let is_socket = unix::socket_of(uri).is_some();
        if !is_socket && !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(ClientError::BadUrl(uri.to_string()));
        }
        let own = self.own(uri);
        let hops = current_hops().saturating_add(1);
        if hops > HOP_LIMIT {
            return Err(ClientError::Loop(hops));
        }
        let headers = request.headers_mut();
        headers.insert(X_DTE_HOPS, HeaderValue::from(u16::from(hops)));
        if let Some(id) = current_request_id() {
            headers.insert(X_REQUEST_ID, id.header());
        }
        if let Some((front, entrance)) = own {
            return Ok(in_memory(front, entrance, request).await);
        }
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        if is_socket {
            request.headers_mut().entry(HOST).or_insert(unix::HOST_NAME);
        }
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let pool = match (self.untrusted, request.headers().contains_key(UPGRADE)) {
            (true, _) => &self.shared.guarded,
            (false, true) => &self.shared.upgrading,
            (false, false) => &self.shared.trusted,
        };
        match pool.request(request).await {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => Err(explain(host, &error)),
        }
    }

    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url.as_ref())
    }

    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }
}

/// `Host` is set as a socket would carry it, for handlers that build links from it.
async fn in_memory(front: Front, entrance: Entrance, mut request: Request<Body>) -> Response<Body> {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(http::header::HOST, host);
    }
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    let is_head = request.method() == Method::HEAD;
    // Boxed because a handler that is being called may itself call.
    let response = Box::pin(front.call(request, entrance)).await;
    if is_head { response.map(|_| Body::empty()) } else { response }
}

/// `http://host:port`, lower case, the port always written.
fn origin_of(uri: Option<&Uri>) -> Option<String> {
    let uri = uri?;
    let scheme = uri.scheme_str()?;
    let port = uri.port_u16().or(match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    })?;
    Some(format!("{scheme}://{}:{port}", uri.host()?.to_ascii_lowercase()))
}

/// The names of an address that we listen on.
fn names_of(address: SocketAddr) -> Vec<String> {
    let ip = address.ip().to_canonical();
    let mut names = vec![match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }];
    if ip.is_loopback() || ip.is_unspecified() {
        names.push("localhost".to_owned());
    }
    if ip.is_unspecified() {
        names.extend(["127.0.0.1".to_owned(), "[::1]".to_owned()]);
    }
    names
}

/// The innermost cause that says something.
fn explain(host: String, error: &legacy::Error) -> ClientError {
    let mut message = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<RefusedAddress>() {
            return ClientError::Refused(refused.clone());
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(refused) = io.get_ref().and_then(|inner| inner.downcast_ref::<RefusedAddress>())
        {
            return ClientError::Refused(refused.clone());
        }
        message = error.to_string();
        cause = error.source();
    }
    ClientError::Unreachable { host, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let origin = |text: &str| origin_of(text.parse::<Uri>().ok().as_ref());
        assert_eq!(origin("http://LocalHost/x").as_deref(), Some("http://localhost:80"));
        assert_eq!(origin("https://[::1]:8443/x").as_deref(), Some("https://[::1]:8443"));
        assert_eq!(origin("/x"), None);
    }
}
