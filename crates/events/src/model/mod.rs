//! What events, watches and subscriptions are: plain types and pure rules, without database, network, clock or disk.

pub mod cloudevent;
pub mod file;
pub mod filter;
pub mod glob;
pub mod signature;
pub mod subscription;
pub mod tracker;
pub mod visibility;
pub mod watch;
