//! Identity: who is asking, and what they may do. Every route of the engine passes here.
//!
//! * [`Routes`] is the only way to build a router, and a route cannot be added without what it [`Require`]s. The gate before
//!   each handler finds the token, verifies it and hands the handler a [`Principal`].
//! * [`Identity::verify`] applies the token rules of the WLCG profile and of AARC in a fixed order and fails closed. What was
//!   verified is remembered for a minute; a ban or a changed account forgets all of it at once.
//! * The built-in issuer lives at `/oidc`: discovery, keys, client credentials. Its signing keys lie encrypted in the store.
//!   Other issuers are trusted by `[[identity.trusted_issuers]]`.
//! * [`Identity::acting_token`] lets a service act for the owner of something that was declared earlier; whether that owner
//!   is still welcome is looked at when the token is made and whenever it is used.
//! * `DATA_DIR/admin.sock` is administration for the operating-system user who runs the engine ([`socket`], [`AdminClient`]).
//! * Changes and refusals stand in a hash chain ([`audit`]).
//! * Communities, terms of use, scope policies and onboarding are in `policy`: natively at `/policy/v1`, for clients of INDIGO IAM
//!   at `/oidc/iam` and `/oidc/scim/v2`.
//!
//! It is also where a service gets what it needs to open: [`ServiceContext`].
//!
//! Rooms: [`model`] (pure: claims, scopes, paths, decisions), [`routes`] and `gate`, [`context`], `store` (SQL), `directory`
//! (accounts and bans in memory), `vault` (what is encrypted at rest), `keys`, `trust` (foreign issuers), `verify`, `issue`,
//! `api` (the issuer's endpoints), `policy` (communities and agreements), [`socket`], [`audit`], [`testing`].

mod admin_client;
mod api;
pub mod audit;
pub mod config;
pub mod context;
mod directory;
mod gate;
mod identity;
mod issue;
mod keys;
pub mod model;
mod pages;
mod policy;
pub mod routes;
pub mod session;
pub mod socket;
mod store;
pub mod testing;
mod trust;
mod vault;
mod verify;

pub use admin_client::{AdminClient, AdminError};
pub use config::{IdentityConfig, TrustedIssuerConfig};
pub use context::{Foundation, OpenError, ServiceContext};
pub use directory::{Ban, Client as ClientAccount, NewBan, User};
pub use identity::Identity;
pub use issue::Error;
pub use model::denial::{Denial, DenialKind};
pub use model::group::Group;
pub use model::principal::{Action, Principal, Standing, UserRef};
pub use model::scope::{ADMIN_SCOPE, Scopes, StorageOp};
pub use routes::{Mount, Require, RouteInfo, Routes};

/// The configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[dte_base::config::Section] = &[dte_base::config::Section::of::<IdentityConfig>("identity")];

/// The first administrator, made at first start.
pub const FIRST_ADMIN: &str = "admin";
