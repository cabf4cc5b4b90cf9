//! The ground floor: words that every other room of the engine uses.
//!
//! Nothing here knows of databases, networks or any service. What is here is
//!
//! * [`id`]: identifiers: new ones sort by time, derived ones are the same each time they are derived;
//! * [`time`]: [`time::Timestamp`], UTC with microseconds;
//! * [`units`]: sizes and durations with their units in the type;
//! * [`config`]: one configuration document made of files, environment and flags, that can name every mistake with its line;
//! * [`secret`]: values that do not show themselves in logs;
//! * [`backoff`]: how long to wait before trying again;
//! * [`tasks`]: background tasks that have an owner who waits for them;
//! * [`telemetry`]: logs and counters.

pub mod backoff;
pub mod config;
pub mod id;
pub mod secret;
pub mod tasks;
pub mod telemetry;
pub mod time;
pub mod units;
