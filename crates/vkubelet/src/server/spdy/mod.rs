//! As much of SPDY/3.1 as `kubectl port-forward` speaks, which puts it into a WebSocket: streams that the caller opens, data in both
//! directions, pings. Nobody there has flow control, and priorities mean nothing.
//!
//! * [`frame`]: what is on the wire; [`headers`]: the compressed names and values with which a stream is opened.

pub mod frame;
pub mod headers;

/// The caller does not speak it as it is written down, or asks for too much.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("SPDY: {0}")]
pub struct Nonsense(pub &'static str);
