//! Identity: who is asking, and what they may do. Every route of the engine passes here.
//!
//! * [`Routes`] is the only way to build a router, and a route cannot be added without what it [`Require`]s. The gate before
//!   each handler finds the token, verifies it and hands the handler a [`Principal`].
//! * A token that names capabilities is confined to them, on every route: see [`Require`]. What each scope is for stands in
//!   [`KNOWN_SCOPES`], and which route asks for which in `dte auth routes`.
//! * [`Identity::verify`] applies the token rules of the WLCG profile and of AARC in a fixed order and fails closed. What a
//!   token says is remembered for a minute; whether its holder is welcome is looked at again whenever accounts, bans,
//!   revocation times or keys change.
//! * A client's certificate may stand in for a token (`certificate`), for whom the operator lists.
//! * One decision function ([`model::decision`]) says what a principal may do, and [`explain`] how it came to that.
//! * The built-in issuer lives at `/oidc` ([`IssuerConfig`]): OpenID Connect for people, programs and services. Its signing keys
//!   lie encrypted in the store and are turned over. Other issuers are trusted by `[[identity.trusted_issuers]]`.
//! * People sign in at `/oidc/login`, with a password or through another provider ([`accounts`]), and look after their account
//!   at `/oidc/account`; administrators look after everybody at `/oidc/admin`.
//! * Communities, their groups, and what people agreed to are at `/policy/v1`, and beneath the issuer as clients of INDIGO IAM
//!   and of SCIM know them (`policy`).
//! * [`Identity::acting_token`] lets a service act for the owner of something that was declared earlier; whether that owner
//!   is still welcome is looked at when the token is made and whenever it is used.
//! * `DATA_DIR/admin.sock` is administration for the operating-system user who runs the engine ([`socket`], [`AdminClient`]).
//! * Changes and refusals stand in a hash chain ([`audit`]), permits as sums for each minute.
//!
//! It is also where a service gets what it needs to open: [`ServiceContext`].
//!
//! Rooms: [`model`] (pure: claims, scopes, paths, decisions), [`routes`] and `gate`, [`context`], `store` (SQL), `directory`
//! (accounts and bans in memory), `members`, `bans`, `erasure` and `changes` (how they come to be and go), `vault` (what is encrypted at rest), `keys` (ours), `public_key` (anybody's), `trust` (foreign
//! issuers; `remembered`: what they publish; `asking`: what they say about a token), `verify`, `certificate`, `not_before`, `issue`, `issuer`
//! (the issuer's endpoints), [`accounts`], `policy`, `pages` (what people see), [`explain`], [`socket`], [`audit`] with `permits`
//! and `witness`, [`testing`].

mod absent;
pub mod accounts;
mod admin_client;
mod allowance;
mod asking;
pub mod audit;
mod bans;
mod certificate;
mod changes;
pub mod config;
pub mod context;
mod directory;
mod erasure;
pub mod explain;
mod gate;
mod identity;
mod issue;
mod issuer;
mod keys;
mod members;
pub mod model;
mod not_before;
mod pages;
mod permits;
mod policy;
mod public_key;
mod remembered;
pub mod routes;
pub mod session;
pub mod socket;
mod stay;
mod store;
pub mod testing;
mod trust;
mod vault;
mod verify;
mod witness;

pub use absent::Absent;
pub use accounts::{AccountError, PasswordRule};
pub use admin_client::{AdminClient, AdminError};
pub use config::{CertificateConfig, IdentityConfig, LoginProviderConfig, TrustedIssuerConfig};
pub use context::{Foundation, OpenError, ServiceContext};
pub use directory::{Ban, Client as ClientAccount, NewBan, User};
pub use erasure::{ERASED, Erasure, Remains};
pub use explain::{Explanation, Question};
pub use identity::Identity;
pub use issue::{Error, USUAL_LIFETIME};
pub use issuer::clients::ClientView;
pub use issuer::{IssuerConfig, KeyTimes};
pub use model::denial::{Denial, DenialKind};
pub use model::group::Group;
pub use model::principal::{Action, Principal, Standing, UserRef};
pub use model::scope::{ADMIN_SCOPE, KNOWN_SCOPES, Scopes, StorageOp, is_known as is_known_scope};
pub use not_before::{NewNotBefore, NotBefore};
pub use routes::{Mount, Require, RouteInfo, Routes};

/// The configuration sections of this crate, to be checked by the composition root.
pub const SECTIONS: &[dte_base::config::Section] = &[dte_base::config::Section::of::<IdentityConfig>("identity")];

/// The first administrator, made at first start.
pub const FIRST_ADMIN: &str = "admin";
