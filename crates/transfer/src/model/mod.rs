//! The rules of bulk transfer: what a submission means, how jobs and files change state, which failures are worth another
//! try, when that try comes; whose turn it is, how many a link is given, and why a file waits. Plain types and pure functions.

pub mod ban;
pub mod clocks;
pub mod explain;
pub mod failure;
pub mod lane;
pub mod optimiser;
pub mod params;
pub mod place;
pub mod reader;
pub mod retry;
pub mod rules;
pub mod schedule;
pub mod state;
pub mod submission;
pub mod support;
