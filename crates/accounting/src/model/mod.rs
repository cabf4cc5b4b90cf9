//! Usage and its price: plain types and pure rules.

pub mod price;
pub mod summary;
pub mod usage;
