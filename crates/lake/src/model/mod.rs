//! The domain: plain types and pure rules. No SQL, no HTTP, no clock, no IO.

pub mod access;
pub mod expression;
pub mod filter;
pub mod literal;
pub mod placement;
pub mod policy;
pub mod rule;
pub mod subscription;
