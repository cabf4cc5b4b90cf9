//! The pure part: what a token says, whether it is good, and what it permits. No clock, no network, no database.

pub mod decide;
pub mod denial;
pub mod group;
pub mod path;
pub mod principal;
pub mod reject;
pub mod scope;
pub mod token;
