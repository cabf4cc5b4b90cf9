//! What the issuer knows without a store, a clock or a wire.

pub(crate) mod client;
pub(crate) mod exchange;
pub(crate) mod params;
pub(crate) mod pkce;
pub(crate) mod redirect;
pub(crate) mod scope;
pub(crate) mod user_code;
