//! Listeners: bind first (so that the address is known), serve when everything is open, drain at the end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::future::Either;
use http::Request;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::UnixTime;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::authorities::Authorities;
use crate::certificate::{ClientCertificate, UntrustedCertificate};
use crate::config::{HttpConfig, ListenConfig, MAIN_LISTENER, Network};
use crate::forwarded;
use crate::front::{Entrance, Front};
use crate::host::Hosts;
use crate::metrics::OpenConnection;
use crate::request::PeerAddress;
use crate::stall::Paced;
use crate::tls::{self, TlsError};

/// Connections that the kernel may hold for us before we accept them.
const BACKLOG: u32 = 1_024;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A request's head must fit in here; also how much of a body is read at once.
const BUFFER: usize = 256 * 1024;
/// HTTP/2: the sum of all header fields.
const HEADER_LIST: u32 = 64 * 1024;
/// Pause after the kernel refused a connection, for example because there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why an engine does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen at {address} ([listen] {name}): {error}")]
    Bind { name: String, address: SocketAddr, error: std::io::Error },
    #[error("{0} is beyond loopback, and there nothing is served without TLS: set [http] tls_cert and tls_key")]
    PlainBeyondLoopback(SocketAddr),
    #[error("[listen] {name}: there is no such mount (there are: {known})")]
    UnknownMount { name: String, known: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What the certificate of a connection is worth.
type Judged = Result<ClientCertificate, UntrustedCertificate>;

struct Bound {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

/// Bound addresses that are not served yet; connections wait in the kernel.
pub struct Listeners {
    bound: Vec<Bound>,
    tls: Option<Tls>,
}

/// How connections are encrypted, and whose certificates count.
#[derive(Clone)]
struct Tls {
    acceptor: TlsAcceptor,
    authorities: Option<Arc<Authorities>>,
}

impl Listeners {
    /// Binds every address of `[listen]`. Must run inside a tokio runtime.
    pub fn bind(listen: &ListenConfig, config: &HttpConfig) -> Result<Self, ListenError> {
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => {
                let authorities = config.client_ca.as_deref().map(Authorities::read).transpose()?;
                let served = tls::server(cert, key, authorities.as_ref().map(Authorities::asking))?;
                Some(Tls { acceptor: Arc::new(served).into(), authorities: authorities.map(Arc::new) })
            }
            (None, None) if config.client_ca.is_some() => return Err(TlsError::ClientsWithoutTls.into()),
            (None, None) => None,
            _ => return Err(TlsError::HalfConfigured.into()),
        };
        let wanted = std::iter::once((MAIN_LISTENER, listen.main())).chain(listen.others());
        let mut bound = Vec::new();
        for (name, address) in wanted {
            if tls.is_none() && !address.ip().to_canonical().is_loopback() {
                return Err(ListenError::PlainBeyondLoopback(address));
            }
            let failed = |error| ListenError::Bind { name: name.to_owned(), address, error };
            let listener = open(address).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            bound.push(Bound { name: name.to_owned(), address, listener });
        }
        Ok(Listeners { bound, tls })
    }

    /// Names of `[listen]` and the addresses that they got; the main one first.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.bound.iter().map(|bound| (bound.name.clone(), bound.address)).collect()
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The URL of the main address: the public URL when none is configured.
    pub fn main_url(&self) -> Url {
        let scheme = if self.is_tls() { "https" } else { "http" };
        let address = self.bound.first().map_or_else(|| ListenConfig::default().main(), |bound| bound.address);
        let host =
            if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() };
        Url::parse(&format!("{scheme}://{host}"))
            .unwrap_or_else(|error| unreachable!("an address always makes a URL: {error}"))
    }

    /// Begins to serve. `public_url` is a name that requests may come under.
    pub fn serve(self, front: &Front, public_url: &Url, config: &HttpConfig) -> Result<ServerHandle, ListenError> {
        let handle = ServerHandle {
            url: self.main_url(),
            addresses: self.addresses(),
            front: front.clone(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let slots = Arc::new(Semaphore::new(config.connections));
        let mut doors = Vec::new();
        for bound in self.bound {
            let entrance = if bound.name == MAIN_LISTENER { Some(Entrance::All) } else { front.entrance(&bound.name) };
            let Some(entrance) = entrance else {
                return Err(ListenError::UnknownMount { name: bound.name, known: front.names().join(", ") });
            };
            let door = Arc::new(Door {
                front: front.clone(),
                entrance,
                hosts: Hosts::new(bound.address, public_url, &config.hosts),
                read_timeout: config.read_timeout.0,
                trusted_proxies: config.trusted_proxies.as_slice().into(),
                protocol: protocol(config.header_timeout.0),
                tls: self.tls.clone(),
                slots: Arc::clone(&slots),
                stop: handle.stop.clone(),
                cut: handle.cut.clone(),
                tasks: handle.tasks.clone(),
            });
            doors.push((door, bound.listener));
        }
        for (door, listener) in doors {
            handle.tasks.spawn(door.accept(listener));
        }
        front.set_ready(true);
        Ok(handle)
    }
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn protocol(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).title_case_headers(true);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIST)
        .adaptive_window(true)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

/// One listener at work.
struct Door {
    front: Front,
    entrance: Entrance,
    hosts: Hosts,
    read_timeout: Duration,
    trusted_proxies: Arc<[Network]>,
    protocol: Builder<TokioExecutor>,
    tls: Option<Tls>,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let next = async {
                let slot = Arc::clone(&self.slots).acquire_owned().await;
                (listener.accept().await, slot)
            };
            let (accepted, slot) = tokio::select! {
                next = next => next,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let door = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        let _open = OpenConnection::new();
                        door.connection(stream, peer.ip()).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: IpAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        match &self.tls {
            None => self.speak(stream, peer, None).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let shown = stream.get_ref().1.peer_certificates().zip(tls.authorities.as_ref());
                    let judged = shown.and_then(|(chain, authorities)| authorities.judge(chain, UnixTime::now()));
                    self.speak(stream, peer, judged).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            },
        }
    }

    async fn speak<Io>(self: &Arc<Self>, stream: Io, peer: IpAddr, judged: Option<Judged>)
    where
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let door = Arc::clone(self);
        let service = service_fn(move |request: Request<Incoming>| {
            let (door, judged) = (Arc::clone(&door), judged.clone());
            async move {
                let limit = door.read_timeout;
                let is_another = forwarded::is_for_another(peer, request.headers(), &door.trusted_proxies);
                let from = forwarded::origin(peer, request.headers(), &door.trusted_proxies);
                let mut request = request
                    .map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(Paced::new(body, limit)) });
                request.extensions_mut().insert(PeerAddress(from));
                match judged.filter(|_| !is_another) {
                    Some(Ok(certificate)) => drop(request.extensions_mut().insert(certificate)),
                    Some(Err(untrusted)) => drop(request.extensions_mut().insert(untrusted)),
                    None => {}
                }
                Ok::<_, Infallible>(door.front.serve(request, door.entrance, &door.hosts).await)
            }
        });
        let connection = self.protocol.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let stopping = std::pin::pin!(self.stop.cancelled());
        let outcome = match futures_util::future::select(connection.as_mut(), stopping).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), _)) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = connection => outcome,
                    () = self.cut.cancelled() => return,
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Listeners at work.
pub struct ServerHandle {
    url: Url,
    addresses: Vec<(String, SocketAddr)>,
    front: Front,
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl ServerHandle {
    /// Names of `[listen]` and the addresses that they got; the main one first.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// The address that `[listen] NAME` got.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.addresses.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    /// The URL of the main address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Stops to accept, lets requests under way finish, at most `limit`, then cuts. Says whether all finished.
    pub async fn stop(self, limit: Duration) -> bool {
        self.front.set_ready(false);
        self.stop.cancel();
        self.tasks.close();
        let drained = tokio::time::timeout(limit, self.tasks.wait()).await.is_ok();
        if !drained {
            self.cut.cancel();
            self.tasks.wait().await;
        }
        drained
    }
}
