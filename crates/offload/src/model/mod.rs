//! The domain: plain types and pure rules.

pub mod failure;
pub mod finished;
pub mod order;
pub mod placement;
pub mod quota;
pub mod state;
pub mod status;
pub mod volumes;
