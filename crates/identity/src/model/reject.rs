//! Why a token is not good: one reason for each way to fail.

/// Why a token is not good. [`Reject::id`] is what the log and the audit say; the token itself is never written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    #[error("the token is too long")]
    TooLong,
    #[error("the token is not a JWT, and opaque tokens are not accepted here")]
    Opaque,
    #[error("the token cannot be read")]
    Malformed,
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    #[error("the token has critical extensions that are not understood")]
    Critical,
    #[error("this kind of token is not an access token")]
    Kind,
    #[error("the token's issuer is not trusted here")]
    Issuer,
    #[error("the token names no key")]
    KeyMissing,
    #[error("the token's key is not known")]
    KeyUnknown,
    #[error("the token's key does not fit its algorithm")]
    KeyType,
    #[error("the issuer's keys cannot be had now")]
    KeysUnavailable,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the claim {0} is missing")]
    Missing(&'static str),
    #[error("the claim {0} has the wrong type")]
    ClaimType(&'static str),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token lives longer than this issuer's tokens may")]
    Lifetime,
    #[error("the token is for another audience")]
    Audience,
    #[error("the version of the token's profile is not accepted")]
    Version,
    #[error("the token's subject is not acceptable")]
    Subject,
    #[error("an ID token is not an access token")]
    IdToken,
    #[error("the token has an unacceptable scope")]
    Scope,
    #[error("the token lacks a scope that is required of this issuer's tokens")]
    ScopeMissing,
    #[error("the token has too many groups, or groups that cannot be read")]
    Groups,
    #[error("the account is suspended")]
    Banned,
    #[error("there is no such account")]
    Account,
    #[error("the token's issuer says that it is not in force")]
    Inactive,
    #[error("the token's issuer cannot be asked about it now")]
    IntrospectionUnavailable,
    #[error("the issuer's answer about groups cannot be had now")]
    UserinfoUnavailable,
    #[error("the token was revoked, or was issued before all such tokens were")]
    Revoked,
}

/// The checks of a token in the order in which they are made; [`Reject::check`] names the one that failed.
pub const CHECKS: &[&str] = &[
    "size",
    "format",
    "algorithm",
    "issuer",
    "key",
    "signature",
    "introspection",
    "expiry",
    "begin",
    "audience",
    "version",
    "subject",
    "scopes",
    "groups",
    "use",
    "required-scopes",
    "account",
    "ban",
    "revocation",
];

impl Reject {
    /// A stable id for the log.
    pub fn id(&self) -> &'static str {
        match self {
            Reject::TooLong => "token-too-long",
            Reject::Opaque => "token-opaque",
            Reject::Malformed => "token-malformed",
            Reject::Algorithm => "algorithm-refused",
            Reject::Critical => "critical-header",
            Reject::Kind => "not-an-access-token",
            Reject::Issuer => "issuer-not-trusted",
            Reject::KeyMissing => "key-id-missing",
            Reject::KeyUnknown => "key-unknown",
            Reject::KeyType => "key-type",
            Reject::KeysUnavailable => "keys-unavailable",
            Reject::Signature => "signature-wrong",
            Reject::Missing(_) => "claim-missing",
            Reject::ClaimType(_) => "claim-type",
            Reject::Expired => "expired",
            Reject::NotYet => "not-yet-valid",
            Reject::Lifetime => "lifetime-too-long",
            Reject::Audience => "audience-wrong",
            Reject::Version => "profile-version",
            Reject::Subject => "subject-unacceptable",
            Reject::IdToken => "id-token",
            Reject::Scope => "scope-unacceptable",
            Reject::ScopeMissing => "scope-required",
            Reject::Groups => "groups-unacceptable",
            Reject::Banned => "banned",
            Reject::Account => "no-account",
            Reject::Inactive => "token-inactive",
            Reject::IntrospectionUnavailable => "introspection-unavailable",
            Reject::UserinfoUnavailable => "userinfo-unavailable",
            Reject::Revoked => "revoked",
        }
    }

    /// The check that failed, one of [`CHECKS`].
    pub fn check(&self) -> &'static str {
        match self {
            Reject::TooLong => "size",
            Reject::Opaque | Reject::Malformed | Reject::Critical | Reject::Kind => "format",
            Reject::Algorithm => "algorithm",
            Reject::Issuer => "issuer",
            Reject::KeyMissing | Reject::KeyUnknown | Reject::KeyType | Reject::KeysUnavailable => "key",
            Reject::Signature => "signature",
            Reject::Inactive | Reject::IntrospectionUnavailable => "introspection",
            Reject::Expired => "expiry",
            Reject::NotYet | Reject::Lifetime => "begin",
            Reject::Audience => "audience",
            Reject::Version => "version",
            Reject::Subject => "subject",
            Reject::Scope => "scopes",
            Reject::Groups | Reject::UserinfoUnavailable => "groups",
            Reject::IdToken => "use",
            Reject::ScopeMissing => "required-scopes",
            Reject::Account => "account",
            Reject::Revoked => "revocation",
            Reject::Banned => "ban",
            Reject::Missing(claim) | Reject::ClaimType(claim) => match *claim {
                "iss" => "issuer",
                "exp" => "expiry",
                "nbf" | "iat" => "begin",
                "aud" => "audience",
                "wlcg.ver" => "version",
                "sub" => "subject",
                _ => "use",
            },
        }
    }

    /// Whether the same token will fail in the same way for a while, so that looking again is of no use.
    pub(crate) fn lasts(&self) -> bool {
        matches!(self, Reject::Signature | Reject::Expired | Reject::Inactive)
    }
}
