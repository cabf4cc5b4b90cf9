//! Foreign issuers: what is expected of their tokens, and their keys, fetched and remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_http::Client;
use parking_lot::RwLock;
use serde_json::Value;
use url::Url;

use crate::config::TrustedIssuerConfig;
use crate::context::OpenError;
use crate::keys::PublicKey;
use crate::model::decide::Policy;
use crate::model::group::Group;
use crate::model::path::StoragePath;
use crate::model::reject::Reject;
use crate::model::scope::Scopes;
use crate::model::token::Claims;

/// Keys are fetched again after this long.
const FRESH: Duration = Duration::from_secs(6 * 3_600);
/// While the issuer is down its keys are used for this long.
const USABLE: Duration = Duration::from_secs(2 * 86_400);
/// At most one fetch in this time, also for keys that nobody knows.
const PAUSE: Duration = Duration::from_secs(60);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const LARGEST_DOCUMENT: usize = 1 << 20;

/// What to do about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// What is remembered decides.
    Use,
    /// Fetch; if that fails, what is remembered decides.
    FetchOrUse,
    /// Fetch; if that fails, there are no keys.
    Fetch,
    /// There are no keys, and it is too soon to ask again.
    Nothing,
}

/// `age`: how old what is remembered is. `known`: whether the wanted key is in it. `asked`: how long ago the last fetch began.
fn plan(age: Option<Duration>, known: bool, asked: Option<Duration>) -> Plan {
    let may_ask = asked.is_none_or(|asked| asked >= PAUSE);
    match age.filter(|age| *age < USABLE) {
        Some(age) if age < FRESH && known => Plan::Use,
        Some(_) => {
            if may_ask {
                Plan::FetchOrUse
            } else {
                Plan::Use
            }
        }
        None => {
            if may_ask {
                Plan::Fetch
            } else {
                Plan::Nothing
            }
        }
    }
}

/// One trusted issuer.
pub(crate) struct Issuer {
    pub(crate) policy: Policy,
    trailing_slash: bool,
    jwks_uri: Option<String>,
    grants: Vec<Grant>,
    keys: RwLock<Option<Fetched>>,
    /// Held while fetching, so that many requests lead to one fetch. Says when the last began.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

struct Grant {
    group: Option<Group>,
    scopes: String,
}

#[derive(Clone)]
struct Fetched {
    at: Instant,
    keys: Arc<HashMap<String, PublicKey>>,
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
        let grant = |grant: &crate::config::GrantConfig| {
            let group = match &grant.group {
                Some(text) => {
                    let group = Group::from_wlcg(text).or_else(|| Group::from_entitlement(text));
                    Some(group.ok_or_else(|| wrong(format!("{text:?} is not a group")))?)
                }
                None => None,
            };
            let scopes = grant.scopes.join(" ");
            Scopes::parse(&scopes, &base).map_err(|bad| wrong(bad.to_string()))?;
            Ok(Grant { group, scopes })
        };
        let grants = config.grants.iter().map(grant).collect::<Result<_, OpenError>>()?;
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
            },
            trailing_slash: config.allow_trailing_slash,
            jwks_uri: config.jwks_uri.clone(),
            grants,
            keys: RwLock::new(None),
            asked: tokio::sync::Mutex::new(None),
        })
    }

    /// Whether a token that says `issuer` is of this one.
    pub(crate) fn is(&self, issuer: &str) -> bool {
        let own = self.policy.issuer.as_str();
        let slash = |a: &str, b: &str| a.strip_suffix('/').is_some_and(|a| a == b);
        own == issuer || (self.trailing_slash && (slash(own, issuer) || slash(issuer, own)))
    }

    /// What the operator grants to members of these groups.
    pub(crate) fn granted(&self, groups: &[Group]) -> Scopes {
        let given = |grant: &&Grant| {
            grant.group.as_ref().is_none_or(|wanted| groups.iter().any(|group| group.satisfies(wanted)))
        };
        let claim = self.grants.iter().filter(given).map(|grant| grant.scopes.as_str()).collect::<Vec<_>>().join(" ");
        // They were read once at start, so this cannot fail; if it did, nothing is granted.
        Scopes::parse(&claim, &self.policy.base).unwrap_or_default()
    }

    /// The key that a token names.
    pub(crate) async fn key(&self, client: &Client, kid: &str) -> Result<PublicKey, Reject> {
        let remembered = self.keys.read().clone();
        let age = remembered.as_ref().map(|fetched| fetched.at.elapsed());
        let known = remembered.as_ref().and_then(|fetched| fetched.keys.get(kid)).cloned();
        if let (Some(key), Plan::Use) = (&known, plan(age, known.is_some(), None)) {
            return Ok(key.clone());
        }
        let mut asked = self.asked.lock().await;
        // Somebody may have fetched while this request waited.
        let remembered = self.keys.read().clone();
        let age = remembered.as_ref().map(|fetched| fetched.at.elapsed());
        let known = remembered.as_ref().and_then(|fetched| fetched.keys.get(kid)).cloned();
        let plan = plan(age, known.is_some(), asked.map(|at| at.elapsed()));
        match plan {
            Plan::Use => known.ok_or(Reject::KeyUnknown),
            Plan::Nothing => Err(Reject::KeysUnavailable),
            Plan::Fetch | Plan::FetchOrUse => {
                *asked = Some(Instant::now());
                match self.fetch(client).await {
                    Ok(keys) => {
                        let found = keys.get(kid).cloned();
                        *self.keys.write() = Some(Fetched { at: Instant::now(), keys: Arc::new(keys) });
                        found.ok_or(Reject::KeyUnknown)
                    }
                    Err(error) => {
                        tracing::warn!(issuer = %self.policy.issuer, %error, "the issuer's keys could not be fetched");
                        match plan {
                            Plan::FetchOrUse => known.ok_or(Reject::KeyUnknown),
                            _ => Err(Reject::KeysUnavailable),
                        }
                    }
                }
            }
        }
    }

    async fn fetch(&self, client: &Client) -> Result<HashMap<String, PublicKey>, String> {
        let uri = match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => self.discover(client).await?,
        };
        let document = document(client, &uri).await?;
        let list = document.get("keys").and_then(Value::as_array).ok_or_else(|| format!("{uri} has no keys"))?;
        Ok(list.iter().filter_map(PublicKey::from_jwk).collect())
    }

    async fn discover(&self, client: &Client) -> Result<String, String> {
        let mut last = "no metadata".to_owned();
        for place in metadata_places(&self.policy.issuer) {
            let metadata = match document(client, &place).await {
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
            let uri =
                metadata.get("jwks_uri").and_then(Value::as_str).ok_or_else(|| format!("{place} has no jwks_uri"))?;
            check_url(uri)?;
            return Ok(uri.to_owned());
        }
        Err(last)
    }
}

pub(crate) async fn document(client: &Client, url: &str) -> Result<Value, String> {
    let said = |error: dte_http::ClientError| format!("{url}: {error}");
    let reply = client.get(url).timeout(FETCH_TIMEOUT).send().await.map_err(said)?.ok().await.map_err(said)?;
    let bytes = tokio::time::timeout(FETCH_TIMEOUT, reply.bytes(LARGEST_DOCUMENT))
        .await
        .map_err(|_| format!("{url}: too slow"))?
        .map_err(said)?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{url}: {error}"))
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

/// The local account name of somebody whom a foreign issuer knows: stable, and never that of a local account.
pub(crate) fn guest_name(issuer: &str, subject: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update(issuer).chain_update([0]).chain_update(subject).finalize();
    format!("{GUEST_PREFIX}{}", hex::encode(&digest[..8]))
}

/// Local accounts may not be named like guests.
pub(crate) const GUEST_PREFIX: &str = "guest-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_rules() {
        let (minute, hour, day) = (Duration::from_secs(60), Duration::from_secs(3_600), Duration::from_secs(86_400));
        assert_eq!(plan(None, false, None), Plan::Fetch);
        assert_eq!(plan(None, false, Some(minute / 2)), Plan::Nothing);
        assert_eq!(plan(Some(hour), true, None), Plan::Use);
        assert_eq!(plan(Some(hour), false, Some(minute / 2)), Plan::Use);
        assert_eq!(plan(Some(hour), false, Some(minute)), Plan::FetchOrUse);
        assert_eq!(plan(Some(7 * hour), true, Some(7 * hour)), Plan::FetchOrUse);
        assert_eq!(plan(Some(7 * hour), true, Some(minute / 2)), Plan::Use);
        assert_eq!(plan(Some(2 * day), true, Some(minute)), Plan::Fetch);
        assert_eq!(plan(Some(2 * day), true, Some(minute / 2)), Plan::Nothing);
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
    fn grants_by_group() {
        let group = |text: &str| Group::from_wlcg(text).expect("a group");
        assert_eq!(issuer(false).granted(&[group("/vo/ops/night")]).names(), ["compute.create", "compute.read"]);
        assert_eq!(issuer(false).granted(&[group("/vo")]).names(), ["compute.read"]);
    }
}
