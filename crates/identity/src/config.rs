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
    /// Whom the certificates stand for that clients show instead of a token; see `[http] client_ca`.
    pub certificates: Vec<CertificateConfig>,
    /// Where people may sign in besides here.
    pub login_providers: Vec<LoginProviderConfig>,
    /// How long what was found out about a token is believed; at most, and by default, one minute. A ban acts at once all
    /// the same.
    pub decision_memory: Option<Span>,
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
    /// Where groups stand in the claims; default: where the profile says.
    #[serde(default)]
    pub group_claims: Vec<GroupClaimConfig>,
    /// Tokens that are no JWTs are shown to the issuer (RFC 7662). At most one issuer may have this.
    #[serde(default)]
    pub introspection: Option<IntrospectionConfig>,
    /// Groups and entitlements stand only in the issuer's userinfo answer, which is asked for with the token.
    #[serde(default)]
    pub userinfo: bool,
    /// What members of groups may do when their token has no capabilities.
    #[serde(default)]
    pub grants: Vec<GrantConfig>,
}

/// `[[identity.trusted_issuers.group_claims]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupClaimConfig {
    /// The claim, or a path of names: `realm_access.roles`.
    pub claim: String,
    /// `/vo/group`: values are names beneath it. Without it they are WLCG groups, FQANs or entitlements.
    #[serde(default)]
    pub below: Option<String>,
}

/// `[identity.trusted_issuers.introspection]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionConfig {
    /// Default: what the issuer's metadata says.
    #[serde(default)]
    pub endpoint: Option<String>,
    pub client_id: String,
    pub client_secret_file: PathBuf,
}

/// `[[identity.trusted_issuers.grants]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantConfig {
    /// `/vo/group`, an FQAN or an entitlement URN, of a group (`…:group:…`) or of a capability (`…:res:…`); nothing means
    /// everybody whom the issuer knows.
    #[serde(default)]
    pub group: Option<String>,
    pub scopes: Vec<String>,
}

/// `[[identity.certificates]]`: whoever comes with this certificate acts as this account, as far as the scopes go. The first
/// entry that fits counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// `/DC=org/O=Example/CN=vk` or `CN=vk,O=Example,DC=org`; `*` is every certificate of the authorities.
    pub subject: String,
    /// The one of `[http] client_ca` that it must go back to; default: any of them. Authorities between are not named here, unless
    /// they stand in `client_ca` themselves.
    #[serde(default)]
    pub issuer: Option<String>,
    pub account: String,
    /// As `dte token --scope` takes them; `wlcg` is all that the account may, except to administer, which is `dte.admin`.
    pub scopes: Vec<String>,
}

/// `[[identity.login_providers]]`: an OpenID provider at which people sign in. Its redirect address of ours is
/// `PUBLIC_URL/oidc/login/callback/NAME`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginProviderConfig {
    /// As it stands in addresses: lower-case letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// As it stands on the button; default: the name.
    #[serde(default)]
    pub title: Option<String>,
    /// Exactly as in `iss` of its ID tokens. `http` only on loopback.
    pub issuer: String,
    pub client_id: String,
    /// Holds the client's secret; none: a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<String>,
    /// What becomes of people without an account.
    #[serde(default)]
    pub register: Register,
}

/// What becomes of people whom a provider knows and who have no account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Register {
    /// They ask, and an administrator decides.
    #[default]
    Approval,
    /// They get an account at once.
    Automatic,
    /// They stay outside.
    Closed,
}

fn usual_scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).to_vec()
}

fn root() -> String {
    "/".to_owned()
}
