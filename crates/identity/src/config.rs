//! The section `[identity]`.

use std::path::PathBuf;

use dte_base::units::Span;
use serde::Deserialize;

use crate::model::decide::Profile;

/// `[identity]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Names under which we are meant in a token's `aud`, besides the public URL.
    pub audiences: Vec<String>,
    /// The key that opens what is encrypted in the store; several processes on one PostgreSQL share it. Default:
    /// `secret.key` in the data directory, made at first start. `DTE_SECRET_KEY` goes before both.
    pub secret_key_file: Option<PathBuf>,
    pub trusted_issuers: Vec<TrustedIssuerConfig>,
    /// The built-in issuer.
    pub issuer: crate::issuer::IssuerConfig,
}

/// `[[identity.trusted_issuers]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuerConfig {
    /// Exactly as in the tokens' `iss`. `http` only on loopback.
    pub issuer: String,
    /// Our names for this issuer; default: the engine's own audiences.
    #[serde(default)]
    pub audiences: Vec<String>,
    #[serde(default)]
    pub profile: Profile,
    #[serde(default)]
    pub vo: Option<String>,
    /// The issuer's area: paths of its storage scopes are beneath it.
    #[serde(default = "root")]
    pub base_path: String,
    /// Default: what the issuer's metadata says.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// Tokens without `aud` are accepted (not in the WLCG profile).
    #[serde(default)]
    pub audience_optional: bool,
    /// `iss` may also end in one slash more or less than `issuer`.
    #[serde(default)]
    pub allow_trailing_slash: bool,
    #[serde(default)]
    pub max_lifetime: Option<Span>,
    #[serde(default)]
    pub required_scopes: Vec<String>,
    /// What members of groups may do when their token has no capabilities.
    #[serde(default)]
    pub grants: Vec<GrantConfig>,
}

/// `[[identity.trusted_issuers.grants]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantConfig {
    /// `/vo/group` or an entitlement URN; nothing means everybody whom the issuer knows.
    #[serde(default)]
    pub group: Option<String>,
    pub scopes: Vec<String>,
}

fn root() -> String {
    "/".to_owned()
}
