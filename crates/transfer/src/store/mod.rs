//! The only place with this service's SQL.
//!
//! [`submit`] writes jobs, [`row`] reads them and [`list`] finds them, [`begin`], [`finish`] and [`advance`] move files and jobs
//! from state to state with the events of [`outcome`] that tell of it, [`cancel`] stops, [`ban`] keeps out, [`storages`] and [`rules`] are what an
//! administrator says of them and of links, [`optimum`] is what was measured, [`reap`] forgets.

pub mod advance;
pub mod ban;
pub mod begin;
pub mod cancel;
pub mod finish;
pub mod list;
pub mod optimum;
pub mod outcome;
pub mod reap;
pub mod row;
pub mod rules;
pub mod storages;
pub mod submit;

use dte_store::Migration;

pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("0001.sql") },
    Migration { version: 2, sql: include_str!("0002.sql") },
    Migration { version: 3, sql: include_str!("0003.sql") },
    Migration { version: 4, sql: include_str!("0004.sql") },
    Migration { version: 5, sql: include_str!("0005.sql") },
    Migration { version: 6, sql: include_str!("0006.sql") },
];

/// The queue of the movers: one piece of work per file.
pub const COPY_QUEUE: &str = "transfer.copy";
/// Hands the files of large jobs to the movers, some at a time.
pub const DISPATCH_QUEUE: &str = "transfer.dispatch";
/// Does what bans, and their ends, mean for files that wait.
pub const BAN_QUEUE: &str = "transfer.ban";
/// Goes on with the cancelling of large jobs.
pub const CANCEL_QUEUE: &str = "transfer.cancel";
