//! The pure rules: membership states, terms of use and who must accept them, SCIM filters, scope policies, onboarding.
//! No SQL, no HTTP, no clock: the time is always an argument.

pub(crate) mod aup;
pub(crate) mod filter;
pub(crate) mod membership;
pub(crate) mod onboarding;
pub(crate) mod scopes;
