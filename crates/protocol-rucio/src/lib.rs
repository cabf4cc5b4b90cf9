//! The Rucio REST protocol: wire types, the path formula, and a small typed client. No SQL, no policy.
//!
//! * [`did`]: `scope:name` and what is behind it.
//! * [`rse`]: storage elements, their protocols, how a path becomes a PFN.
//! * [`path`]: the deterministic `hash` formula.
//! * [`replica`], [`rule`]: where data is, and where it shall be.
//! * [`exception`]: the errors, in headers and in the body, as clients instantiate them.
//! * [`date`]: the one date format that clients parse.
//! * [`client`]: [`LakeClient`], with which one service asks any Rucio server, ours or another's.
//!
//! Facts are from Rucio 41.5.1.

pub mod client;
pub mod date;
pub mod did;
pub mod exception;
pub mod path;
pub mod replica;
pub mod rse;
pub mod rule;

pub use client::{LakeClient, LakeError};
pub use did::{Attachment, ContentEntry, Did, DidInfo, DidType, FileEntry, NewDid};
pub use exception::{Class, Exception};
pub use replica::{NewReplica, ReplicaEntry, ReplicaState};
pub use rse::{Protocol, RseInfo};
pub use rule::{Grouping, LockEntry, LockState, NewRule, Notification, RuleInfo, RuleState};

/// The media type of a stream: one JSON value per line. Clients compare it with `==`.
pub const JSON_STREAM: &str = "application/x-json-stream";
/// The header that carries the token.
pub const AUTH_TOKEN_HEADER: &str = "X-Rucio-Auth-Token";
/// Most items in one bulk request.
pub const BULK_LIMIT: usize = 1000;
