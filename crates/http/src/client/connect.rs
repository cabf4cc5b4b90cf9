//! Opening a connection: resolve, check, connect to what was checked, TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::guard::Guard;
use super::unix;
use crate::tls;

/// Makes connections, to any address or only to those that a [`Guard`] permits.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Settings>);

struct Settings {
    guard: Option<Guard>,
    timeout: Duration,
    /// Only HTTP/1.1 can be taken over, which is what a WebSocket begins with.
    for_upgrades: bool,
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Connector {
    pub(crate) fn new(guard: Option<Guard>, timeout: Duration) -> Self {
        Connector(Arc::new(Settings { guard, timeout, for_upgrades: false, tls: OnceLock::new() }))
    }

    /// The same for connections that are to be taken over.
    pub(crate) fn for_upgrades(self) -> Self {
        let Settings { guard, timeout, tls, .. } = &*self.0;
        let tls = tls.get().map_or_else(OnceLock::new, |known| OnceLock::from(Arc::new(without_h2(known))));
        Connector(Arc::new(Settings { guard: guard.clone(), timeout: *timeout, for_upgrades: true, tls }))
    }

    /// The same with TLS of its own.
    pub(crate) fn with_tls(self, config: ClientConfig) -> Self {
        let Settings { guard, timeout, for_upgrades, .. } = &*self.0;
        let tls = OnceLock::from(Arc::new(config));
        Connector(Arc::new(Settings { guard: guard.clone(), timeout: *timeout, for_upgrades: *for_upgrades, tls }))
    }
}

impl Settings {
    async fn open(&self, uri: &Uri) -> io::Result<TokioIo<Wire>> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        if let Some(path) = unix::socket_of(uri) {
            if self.guard.is_some() {
                return Err(invalid("a URL that arrived cannot name a socket of this machine"));
            }
            return Ok(TokioIo::new(Wire::Unix(UnixStream::connect(path).await?)));
        }
        let encrypted = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(|| invalid("the URL has no host"))?;
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let mut found: Vec<SocketAddr> = tokio::net::lookup_host((name, port)).await?.collect();
        if let Some(guard) = &self.guard {
            found = guard.permitted(name, found).map_err(io::Error::other)?;
        }
        let stream = connect_any(&found).await?;
        stream.set_nodelay(true)?;
        if !encrypted {
            return Ok(TokioIo::new(Wire::Plain(stream)));
        }
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.tls()?).connect(server, stream).await?;
        Ok(TokioIo::new(Wire::Tls(Box::new(stream))))
    }

    fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(known) = self.tls.get() {
            return Ok(Arc::clone(known));
        }
        let made = tls::client().map_err(io::Error::other)?;
        let made = Arc::new(if self.for_upgrades { without_h2(&made) } else { made });
        Ok(Arc::clone(self.tls.get_or_init(|| made)))
    }
}

fn without_h2(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Wire>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let settings = Arc::clone(&self.0);
        Box::pin(async move {
            match tokio::time::timeout(settings.timeout, settings.open(&uri)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")),
            }
        })
    }
}

/// A connection, encrypted or not.
pub(crate) enum Wire {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        match self {
            Wire::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Unix(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
