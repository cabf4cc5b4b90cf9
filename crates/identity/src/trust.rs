//! Foreign issuers: what is expected of their tokens, and their keys, fetched and remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dte_http::Client;
use serde_json::Value;
use url::Url;

use crate::asking::{Asking, Introspection};
use crate::config::{GrantConfig, TrustedIssuerConfig};
use crate::context::OpenError;
use crate::keys::PublicKey;
use crate::model::capability::Capability;
use crate::model::decide::{Accepted, Policy};
use crate::model::group::Group;
use crate::model::memberships::GroupClaim;
use crate::model::path::StoragePath;
use crate::model::reject::Reject;
use crate::model::scope::Scopes;
use crate::model::token::Claims;
use crate::remembered::{Fetched, Remembered};

const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const LARGEST_DOCUMENT: usize = 1 << 20;
/// Keys of one issuer that are looked at.
const MOST_KEYS: usize = 256;

/// One trusted issuer.
pub(crate) struct Issuer {
    pub(crate) policy: Policy,
    trailing_slash: bool,
    jwks_uri: Option<String>,
    grants: Vec<Grant>,
    keys: Remembered<HashMap<String, PublicKey>>,
    metadata: Remembered<Metadata>,
    pub(crate) asking: Asking,
}

struct Grant {
    to: Holder,
    scopes: String,
}

/// Who gets a grant.
enum Holder {
    Everybody,
    Member(Group),
    Capable(Capability),
}

/// What an issuer publishes about itself.
pub(crate) struct Metadata {
    jwks_uri: Option<String>,
    pub(crate) introspection: Option<String>,
    pub(crate) userinfo: Option<String>,
}

impl Issuer {
    pub(crate) fn new(config: &TrustedIssuerConfig, own_audiences: &[String]) -> Result<Self, OpenError> {
        let name = &config.issuer;
        let wrong = |what: String| OpenError::other(format!("[[identity.trusted_issuers]] {name}: {what}"));
        check_url(name).map_err(wrong)?;
        if let Some(uri) = &config.jwks_uri {
            check_url(uri).map_err(|what| wrong(format!("jwks_uri: {what}")))?;
        }
        let base = StoragePath::parse_encoded(&config.base_path).map_err(|bad| wrong(format!("base_path: {bad}")))?;
        let grant = |grant: &GrantConfig| {
            let to = match &grant.group {
                Some(text) => Holder::parse(text).ok_or_else(|| wrong(format!("{text:?} is not a group")))?,
                None => Holder::Everybody,
            };
            let scopes = grant.scopes.join(" ");
            Scopes::parse(&scopes, &base).map_err(|bad| wrong(bad.to_string()))?;
            Ok(Grant { to, scopes })
        };
        let grants = config.grants.iter().map(grant).collect::<Result<_, OpenError>>()?;
        let below =
            |text: &String| Group::from_wlcg(text).ok_or_else(|| wrong(format!("below: {text:?} is not a group")));
        let group_claim = |mapping: &crate::config::GroupClaimConfig| {
            let below = mapping.below.as_ref().map(below).transpose()?;
            Ok(GroupClaim { claim: mapping.claim.clone(), below })
        };
        let group_claims = config.group_claims.iter().map(group_claim).collect::<Result<_, OpenError>>()?;
        let introspection = config.introspection.as_ref().map(Introspection::open).transpose().map_err(wrong)?;
        let audiences = if config.audiences.is_empty() { own_audiences.to_vec() } else { config.audiences.clone() };
        Ok(Issuer {
            policy: Policy {
                issuer: name.clone(),
                audiences,
                audience_optional: config.audience_optional,
                profile: config.profile,
                vo: config.vo.clone(),
                base,
                max_lifetime: config.max_lifetime.map(|span| span.0),
                required_scopes: config.required_scopes.clone(),
                group_claims,
            },
            trailing_slash: config.allow_trailing_slash,
            jwks_uri: config.jwks_uri.clone(),
            grants,
            keys: Remembered::default(),
            metadata: Remembered::default(),
            asking: Asking::new(introspection, config.userinfo),
        })
    }

    /// Groups that only userinfo tells are believed for so long.
    pub(crate) fn remembering(mut self, memory: Duration) -> Self {
        self.asking.fresh = memory;
        self
    }

    /// Whether a token that says `issuer` is of this one.
    pub(crate) fn is(&self, issuer: &str) -> bool {
        let own = self.policy.issuer.as_str();
        let slash = |a: &str, b: &str| a.strip_suffix('/').is_some_and(|a| a == b);
        own == issuer || (self.trailing_slash && (slash(own, issuer) || slash(issuer, own)))
    }

    /// What the operator grants to somebody with these groups and capabilities.
    pub(crate) fn granted(&self, accepted: &Accepted) -> Scopes {
        if self.grants.is_empty() {
            return Scopes::default();
        }
        let given = |grant: &&Grant| match &grant.to {
            Holder::Everybody => true,
            Holder::Member(wanted) => accepted.groups.iter().any(|group| group.satisfies(wanted)),
            Holder::Capable(wanted) => accepted.capabilities.iter().any(|held| held.satisfies(wanted)),
        };
        let claim = self.grants.iter().filter(given).map(|grant| grant.scopes.as_str()).collect::<Vec<_>>().join(" ");
        // They were read once at start, so this cannot fail; if it did, nothing is granted.
        Scopes::parse(&claim, &self.policy.base).unwrap_or_default()
    }

    /// The key that a token names. One that nobody knows leads to one fetch a minute at most.
    pub(crate) async fn key(&self, client: &Client, kid: &str) -> Result<PublicKey, Reject> {
        let keys = self.keys.get(&self.policy.issuer, |keys| keys.contains_key(kid), || self.fetch_keys(client)).await;
        keys.ok_or(Reject::KeysUnavailable)?.get(kid).cloned().ok_or(Reject::KeyUnknown)
    }

    /// What the issuer says about itself; nothing when it has said nothing in days.
    pub(crate) async fn metadata(&self, client: &Client) -> Option<Arc<Metadata>> {
        self.metadata.get(&self.policy.issuer, |_| true, || self.fetch_metadata(client)).await
    }

    async fn fetch_keys(&self, client: &Client) -> Result<Fetched<HashMap<String, PublicKey>>, String> {
        let uri = match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => {
                // Not what was remembered: an issuer may move its keys.
                let metadata = self.fetch_metadata(client).await?;
                let uri = metadata.value.jwks_uri.clone();
                self.metadata.put(metadata);
                uri.ok_or("the issuer's metadata has no jwks_uri")?
            }
        };
        let (document, max_age) = document_with_age(client, &uri, LARGEST_DOCUMENT).await?;
        let list = document.get("keys").and_then(Value::as_array).ok_or_else(|| format!("{uri} has no keys"))?;
        let keys = list.iter().take(MOST_KEYS).filter_map(PublicKey::from_jwk).collect();
        Ok(Fetched { value: keys, max_age })
    }

    async fn fetch_metadata(&self, client: &Client) -> Result<Fetched<Metadata>, String> {
        let mut last = "no metadata".to_owned();
        for place in metadata_places(&self.policy.issuer) {
            let (metadata, max_age) = match document_with_age(client, &place, LARGEST_DOCUMENT).await {
                Ok(metadata) => metadata,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let says = metadata.get("issuer").and_then(Value::as_str).unwrap_or_default();
            if !self.is(says) {
                return Err(format!("{place} is about another issuer"));
            }
            let uri = |name: &str| match metadata.get(name).and_then(Value::as_str) {
                Some(uri) => check_url(uri).map(|()| Some(uri.to_owned())),
                None => Ok(None),
            };
            let value = Metadata {
                jwks_uri: uri("jwks_uri")?,
                introspection: uri("introspection_endpoint")?,
                userinfo: uri("userinfo_endpoint")?,
            };
            return Ok(Fetched { value, max_age });
        }
        Err(last)
    }
}

impl Holder {
    fn parse(text: &str) -> Option<Self> {
        Group::parse(text).map(Holder::Member).or_else(|| Capability::parse(text).map(Holder::Capable))
    }
}

/// A JSON document.
pub(crate) async fn document(client: &Client, url: &str) -> Result<Value, String> {
    document_with_age(client, url, LARGEST_DOCUMENT).await.map(|(value, _)| value)
}

/// A JSON document, and how long its server says that it is good.
pub(crate) async fn document_with_age(
    client: &Client,
    url: &str,
    largest: usize,
) -> Result<(Value, Option<Duration>), String> {
    let said = |error: dte_http::ClientError| format!("{url}: {error}");
    let reply = client.get(url).timeout(FETCH_TIMEOUT).send().await.map_err(said)?.ok().await.map_err(said)?;
    let max_age = reply.header("cache-control").and_then(max_age);
    let bytes = tokio::time::timeout(FETCH_TIMEOUT, reply.bytes(largest))
        .await
        .map_err(|_| format!("{url}: too slow"))?
        .map_err(said)?;
    let value = serde_json::from_slice(&bytes).map_err(|error| format!("{url}: {error}"))?;
    Ok((value, max_age))
}

/// `max-age` of a `Cache-Control` header; zero where nothing may be kept.
fn max_age(header: &str) -> Option<Duration> {
    let mut found = None;
    for part in header.split(',').map(str::trim) {
        if part.eq_ignore_ascii_case("no-store") || part.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if let Some((name, value)) = part.split_once('=')
            && name.eq_ignore_ascii_case("max-age")
        {
            found = value.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    found
}

/// `https`, or `http` on loopback.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err(format!("{text} must be https (http only on loopback)")),
    }
}

/// OpenID Connect Discovery, then RFC 8414 with its path in either place.
fn metadata_places(issuer: &str) -> Vec<String> {
    let issuer = issuer.trim_end_matches('/');
    let mut places = vec![
        format!("{issuer}/.well-known/openid-configuration"),
        format!("{issuer}/.well-known/oauth-authorization-server"),
    ];
    if let Ok(url) = Url::parse(issuer)
        && url.path() != "/"
    {
        let origin = url.origin().ascii_serialization();
        places.insert(1, format!("{origin}/.well-known/oauth-authorization-server{}", url.path()));
    }
    places
}

/// Whom a token is about: the subject at its issuer; in an acting token of ours, the subject at the issuer that it names.
pub(crate) fn subject_issuer(claims: &Claims, own: &str, acting: bool) -> Result<String, Reject> {
    if acting && let Some(issuer) = claims.text(ACTING_FOR_ISSUER)? {
        return Ok(issuer.to_owned());
    }
    Ok(own.to_owned())
}

/// The claim of our acting tokens that names the issuer of the subject when it is not us.
pub(crate) const ACTING_FOR_ISSUER: &str = "dte.subject_issuer";

/// Somebody whom a foreign issuer knows, in a form of one length.
pub(crate) fn person(issuer: &str, subject: &str) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::new().chain_update(issuer).chain_update([0]).chain_update(subject).finalize().into()
}

/// The local account name of a [`person`]: stable, and never that of a local account.
pub(crate) fn guest_name(digest: &[u8; 32]) -> String {
    let mut name = String::with_capacity(GUEST_PREFIX.len() + 16);
    name.push_str(GUEST_PREFIX);
    for byte in &digest[..8] {
        for half in [byte >> 4, byte & 15] {
            name.push(char::from_digit(half.into(), 16).unwrap_or_default());
        }
    }
    name
}

/// Local accounts may not be named like guests.
pub(crate) const GUEST_PREFIX: &str = "guest-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_headers() {
        let seconds = |text: &str| max_age(text).map(|span| span.as_secs());
        assert_eq!(seconds("public, max-age=21600"), Some(21_600));
        assert_eq!(seconds("Max-Age=\"60\""), Some(60));
        assert_eq!(seconds("no-store, max-age=60"), Some(0));
        for none in ["", "private", "max-age=x", "max-age"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    #[test]
    fn places_and_urls() {
        assert_eq!(
            metadata_places("https://h/realms/egi/"),
            [
                "https://h/realms/egi/.well-known/openid-configuration",
                "https://h/.well-known/oauth-authorization-server/realms/egi",
                "https://h/realms/egi/.well-known/oauth-authorization-server"
            ]
        );
        assert!(check_url("https://iss.example").is_ok());
        assert!(check_url("http://127.0.0.1:8080/x").is_ok());
        assert!(check_url("http://localhost").is_ok());
        for bad in ["http://iss.example", "ftp://127.0.0.1", "iss", "http://127.0.0.1.evil.example"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    fn issuer(trailing_slash: bool) -> Issuer {
        let config: TrustedIssuerConfig = serde_json::from_value(serde_json::json!({
            "issuer": "https://iss.example", "allow_trailing_slash": trailing_slash,
            "grants": [{"group": "/vo/ops", "scopes": ["compute.create"]}, {"scopes": ["compute.read"]}],
        }))
        .expect("a configuration");
        Issuer::new(&config, &["https://us".to_owned()]).expect("an issuer")
    }

    #[test]
    fn row_4_issuers_match_byte_by_byte() {
        assert!(issuer(false).is("https://iss.example"));
        for other in ["https://iss.example/", "https://ISS.example", "https://iss.example//", "iss.example", ""] {
            assert!(!issuer(false).is(other), "{other}");
        }
        assert!(issuer(true).is("https://iss.example/"));
        assert!(!issuer(true).is("https://iss.example//"));
    }

    #[test]
    fn grants_by_group_and_capability() {
        let config: TrustedIssuerConfig = serde_json::from_value(serde_json::json!({
            "issuer": "https://iss.example", "profile": "aarc",
            "grants": [
                {"group": "/vo/ops", "scopes": ["compute.create"]}, {"scopes": ["compute.read"]},
                {"group": "/vo/Role=chief", "scopes": ["compute.cancel"]},
                {"group": "urn:x:res:twin:act:run", "scopes": ["compute.modify"]},
            ],
        }))
        .expect("a configuration");
        let issuer = Issuer::new(&config, &["https://us".to_owned()]).expect("an issuer");
        let granted = |entitlements: serde_json::Value| {
            let now = 1_700_000_000;
            let claims =
                serde_json::json!({"sub": "a", "aud": "https://us", "exp": now + 9, "entitlements": entitlements});
            let claims = Claims::from(claims.as_object().cloned().expect("an object"));
            let accepted =
                crate::model::decide::decide(&claims, &issuer.policy, dte_base::time::Timestamp::from_seconds(now));
            issuer.granted(&accepted.expect("accepted")).names().join(" ")
        };
        assert_eq!(granted(serde_json::json!(["urn:y:group:vo:ops:night"])), "compute.create compute.read");
        assert_eq!(granted(serde_json::json!(["urn:y:group:vo:role=chief"])), "compute.read compute.cancel");
        assert_eq!(granted(serde_json::json!(["urn:x:res:twin:act:run,stop"])), "compute.read compute.modify");
        assert_eq!(granted(serde_json::json!(["urn:y:group:vo"])), "compute.read");
    }
}
