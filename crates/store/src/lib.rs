//! The store: SQL, the event log and durable work. The only floor that knows a database.
//!
//! One interface over SQLite (default, one process) and PostgreSQL (any number of processes), one portable SQL text.
//!
//! * A transaction is a **synchronous, re-runnable closure** on a database thread: [`Store::write`], [`Store::read`]. So no
//!   lock is ever held across an `.await`, and a serialisation failure is retried without the caller knowing.
//!   The closure must have no effect outside its [`Tx`].
//! * On SQLite one writer thread runs many closures under savepoints, commits once and then answers them all (group
//!   commit): many small writers share one fsync. An error or a panic rolls back its own closure only; a failed
//!   commit fails the whole batch.
//! * On PostgreSQL a bounded pool of threads runs closures `SERIALIZABLE` and retries 40001 and 40P01.
//! * SQL is written `?1 ?2`; values are integers, text, blobs and null ([`Value`]). In migrations `BYTES` and `SERIAL_ID`
//!   stand for what the engines spell differently.
//! * [`Tx::emit`] appends to the [event log](events) in the same transaction as the change that it tells of; a
//!   [`Consumer`] moves its offset in the same transaction as its effect.
//! * [`Tx::enqueue`] declares [durable work](work); a [`Worker`] claims it under a lease, acts, and finishes it, survives a
//!   kill at any instruction, and keeps what cannot be done as dead letters that people can see and retry.
//!
//! Rooms: `tx` (what a closure may do), `value`, `sql` (translation), `engine` (the two databases),
//! `migrate`, [`events`], [`work`], [`testing`].

mod bulk;
mod engine;
mod error;
pub mod events;
mod migrate;
mod options;
mod sql;
mod store;
pub mod testing;
mod tx;
mod value;
mod wake;
pub mod work;

pub use error::Error;
pub use events::{Consumer, Event};
pub use migrate::Migration;
pub use options::{Options, StoreUrl};
pub use store::Store;
pub use tx::Tx;
pub use value::{FromValue, Row, Value};
pub use work::{Claim, DeadLetter, Lane, NewWork, Outcome, Parked, QueueDepth, Standing, Worker};
