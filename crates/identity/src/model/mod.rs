//! The pure part: what a token says, whether it is good, and what it permits. No clock, no network, no database.

pub mod capability;
pub mod claims;
pub mod decide;
pub mod decision;
pub mod denial;
pub(crate) mod erased;
pub mod group;
pub(crate) mod known;
pub mod memberships;
pub mod path;
pub(crate) mod plain;
pub mod principal;
pub mod reject;
pub mod scope;
mod strict;
pub mod token;
