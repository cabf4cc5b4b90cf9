//! HTTP: everything between a socket and a service's routes, and the way from one service to another.
//!
//! * [`Assembly`] takes the routers of all services under their prefixes and makes one [`Front`] of them: request ids,
//!   `Host` check, header limits, panics, `/healthz`, `/readyz`, `/metrics`. A prefix may also have an address of its own,
//!   where it is served at the root path (`[listen] interlink = "127.0.0.1:3000"`).
//! * [`Listeners`] binds the addresses of `[listen]` and serves a front there, with TLS when it is configured; beyond
//!   loopback nothing is served without TLS. [`ServerHandle::stop`] drains.
//! * [`Client`] calls other services. A URL of our own goes to the front in memory, without a socket, counted against
//!   loops; any other goes out. [`Client::untrusted`] is for URLs that *arrived* in requests: it refuses private addresses.
//! * [`Problem`] is the error body (RFC 9457), [`Page`] the paging, [`RequestId`] what ties log lines, events and
//!   outbound calls of one request together.
//!
//! Rooms: [`problem`], [`page`], [`extract`], [`request`] (ids and hops), [`config`], [`host`], `forwarded` (what proxies say), [`front`] (assembly and
//! dispatch), [`listen`], [`door`] (Unix sockets), `tls`, `authorities` and [`certificate`] (with [`distinguished_name`]), [`metrics`], [`client`].

mod authorities;
pub mod certificate;
pub mod client;
pub mod config;
mod curve;
pub mod distinguished_name;
pub mod door;
pub mod extract;
mod forwarded;
pub mod front;
pub mod host;
pub mod listen;
pub mod metrics;
pub mod page;
pub mod problem;
pub mod request;
mod stall;
mod tls;

pub use certificate::{ClientCertificate, UntrustedCertificate};
pub use client::{CertifiedClient, Client, ClientError, Reply, RequestBuilder, WebSocket, unix};
pub use config::{AllowRule, HttpConfig, ListenConfig, Network, OutboundConfig};
pub use distinguished_name::{BadName, DistinguishedName};
pub use door::UnixDoor;
pub use extract::{Form, Json, Query};
pub use front::{Assembly, AssemblyError, Front, Mounted};
pub use listen::{ListenError, Listeners, ServerHandle};
pub use page::{Page, PageOf};
pub use problem::Problem;
pub use request::{PeerAddress, RequestId, current_request_id, with_request_id};
pub use tls::{TlsError, TlsFiles};

/// The names of the configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[dte_base::config::Section] =
    &[dte_base::config::Section::of::<HttpConfig>("http"), dte_base::config::Section::of::<ListenConfig>("listen")];
