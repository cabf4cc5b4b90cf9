//! Another OpenID provider at which people may sign in: what is configured, its metadata, and what its ID tokens must say
//! (OpenID Connect Core section 3.1.3.7).

use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::secret::Secret;
use dte_base::time::Timestamp;
use dte_http::Client;
use parking_lot::RwLock;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::config::{LoginProviderConfig, Register};
use crate::context::OpenError;
use crate::directory::is_name;
use crate::model::decide::SKEW;
use crate::model::plain::plain;
use crate::model::token::{self, Claim, Claims};
use crate::trust::{self, Issuer};

/// Metadata is fetched again after this long.
const FRESH: Duration = Duration::from_secs(3_600);
/// An ID token that was made longer ago is not from the login that just happened.
const OLDEST_TOKEN: Duration = Duration::from_secs(600);
const LONGEST_SUBJECT: usize = 255;
/// What is shown of a person is cut after so many characters.
const LONGEST_SHOWN: usize = 120;

/// One provider of `[[identity.login_providers]]`.
pub(crate) struct Provider {
    /// As in addresses.
    pub(crate) name: String,
    /// As on the button.
    pub(crate) title: String,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) secret: Option<Secret>,
    pub(crate) scopes: String,
    pub(crate) register: Register,
    keys: Issuer,
    metadata: RwLock<Option<(Instant, Arc<Metadata>)>>,
}

/// What we need of a provider's metadata.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    /// RFC 9207: its answers say who they are from.
    pub(crate) says_issuer: bool,
    /// It takes the secret in the body only.
    pub(crate) secret_in_body: bool,
}

/// Whom a provider knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) subject: String,
    /// What they like to be called.
    pub(crate) wanted: String,
    /// For eyes only.
    pub(crate) shown: String,
}

pub(crate) fn all(configs: &[LoginProviderConfig]) -> Result<Vec<Provider>, OpenError> {
    let providers = configs.iter().map(Provider::new).collect::<Result<Vec<_>, _>>()?;
    for (index, provider) in providers.iter().enumerate() {
        if providers[..index].iter().any(|other| other.name == provider.name) {
            return Err(OpenError::other(format!("[[identity.login_providers]]: {} is there twice", provider.name)));
        }
    }
    Ok(providers)
}

impl Provider {
    fn new(config: &LoginProviderConfig) -> Result<Self, OpenError> {
        let wrong = |what: String| OpenError::other(format!("[[identity.login_providers]] {}: {what}", config.name));
        if !is_name(&config.name) {
            return Err(wrong("a name has lower-case letters, digits, `.`, `_` and `-`".to_owned()));
        }
        if config.client_id.is_empty() {
            return Err(wrong("client_id is empty".to_owned()));
        }
        if !config.scopes.iter().any(|scope| scope == "openid") {
            return Err(wrong("scopes must have openid".to_owned()));
        }
        let secret = match &config.client_secret_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(OpenError::at(path))?;
                Some(Secret::new(text.trim().to_owned()))
            }
        };
        let trusted = serde_json::from_value(json!({"issuer": config.issuer, "profile": "generic"}));
        let keys = Issuer::new(&trusted.map_err(OpenError::other)?, &[]).map_err(|error| wrong(error.to_string()))?;
        Ok(Provider {
            name: config.name.clone(),
            title: config.title.clone().unwrap_or_else(|| config.name.clone()),
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            secret,
            scopes: config.scopes.join(" "),
            register: config.register,
            keys,
            metadata: RwLock::new(None),
        })
    }

    /// The provider's metadata, remembered for a while, and for longer while it is down.
    pub(crate) async fn metadata(&self, client: &Client) -> Result<Arc<Metadata>, String> {
        let known = self.metadata.read().clone();
        if let Some((at, metadata)) = &known
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(metadata));
        }
        let place = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        match trust::document(client, &place).await.and_then(|document| read_metadata(&document, &self.issuer)) {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *self.metadata.write() = Some((Instant::now(), Arc::clone(&metadata)));
                Ok(metadata)
            }
            Err(error) => {
                tracing::warn!(provider = %self.name, %error, "the login provider's metadata could not be fetched");
                known.map(|(_, metadata)| metadata).ok_or(error)
            }
        }
    }

    /// Who an ID token is about, if it is good for this login.
    pub(crate) async fn person(&self, client: &Client, id_token: &str, nonce: &str) -> Result<Person, String> {
        let token = token::parse(id_token).map_err(|reject| reject.to_string())?;
        let key = self.keys.key(client, &token.key_id).await.map_err(|reject| reject.to_string())?;
        key.verify(token.algorithm, token.message, token.signature).map_err(|reject| reject.to_string())?;
        check_id_token(&token.claims, &self.issuer, &self.client_id, nonce, Timestamp::now()).map_err(str::to_owned)
    }
}

fn read_metadata(document: &Value, issuer: &str) -> Result<Metadata, String> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err("the metadata are about another issuer".to_owned());
    }
    let endpoint = |name: &str| {
        let url = text(name).ok_or_else(|| format!("the metadata have no {name}"))?;
        trust::check_url(url)?;
        Ok::<_, String>(url.to_owned())
    };
    let methods = document.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    let takes = |method: &str| methods.is_some_and(|list| list.iter().any(|known| known == method));
    Ok(Metadata {
        authorization_endpoint: endpoint("authorization_endpoint")?,
        token_endpoint: endpoint("token_endpoint")?,
        says_issuer: document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        secret_in_body: !takes("client_secret_basic") && takes("client_secret_post"),
    })
}

/// What an ID token with a good signature must say.
fn check_id_token(
    claims: &Claims,
    issuer: &str,
    client_id: &str,
    nonce: &str,
    now: Timestamp,
) -> Result<Person, &'static str> {
    let text = |name: &'static str| claims.text(name).map_err(|_| "a claim is not text");
    let seconds = |name: &'static str| claims.seconds(name).map_err(|_| "a time is not a number of seconds");
    if text("iss")? != Some(issuer) {
        return Err("it is from another issuer");
    }
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(claim) => claim.texts().ok_or("aud is not text")?,
        None => return Err("it has no audience"),
    };
    if !audiences.contains(&client_id) {
        return Err("it is for another client");
    }
    let party = text("azp")?;
    if party.is_some_and(|party| party != client_id) || (audiences.len() > 1 && party.is_none()) {
        return Err("it was made for another client");
    }
    let (now, skew) = (now.as_seconds(), SKEW.as_secs().cast_signed());
    if seconds("exp")?.ok_or("it never expires")? <= now {
        return Err("it has expired");
    }
    let made = seconds("iat")?.ok_or("it does not say when it was made")?;
    if made > now + skew || seconds("nbf")?.is_some_and(|begin| begin > now + skew) {
        return Err("it is not valid yet");
    }
    if made < now - OLDEST_TOKEN.as_secs().cast_signed() {
        return Err("it is too old");
    }
    let said = text("nonce")?.unwrap_or_default();
    if !bool::from(said.as_bytes().ct_eq(nonce.as_bytes())) {
        return Err("it is not of this login");
    }
    let subject = text("sub")?.ok_or("it has no subject")?;
    let is_plain = subject.chars().all(|c| c.is_ascii() && !c.is_ascii_control());
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT || !is_plain {
        return Err("its subject is no subject");
    }
    let seen = |name: &str| claims.get(name).and_then(Claim::as_str).map(shown).filter(|text| !text.is_empty());
    let wanted = seen("preferred_username").or_else(|| seen("nickname")).unwrap_or_default();
    let name = seen("name").or_else(|| seen("preferred_username"));
    let shown = match (name, seen("email")) {
        (Some(name), Some(email)) => format!("{name} <{email}>"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => shown(subject),
    };
    Ok(Person { subject: subject.to_owned(), wanted, shown })
}

fn shown(text: &str) -> String {
    plain(text).chars().take(LONGEST_SHOWN).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(changes: &Value) -> Result<Person, &'static str> {
        let now = Timestamp::now();
        let mut claims = json!({
            "iss": "https://idp", "aud": "us", "sub": "carol", "exp": now.as_seconds() + 60, "iat": now.as_seconds(),
            "nonce": "n-1", "preferred_username": "Carol", "email": "carol@idp",
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let map = claims.as_object().cloned().unwrap_or_default().into_iter().filter(|(_, value)| !value.is_null());
        check_id_token(&Claims::from(map.collect::<serde_json::Map<_, _>>()), "https://idp", "us", "n-1", now)
    }

    #[test]
    fn id_tokens() {
        let carol = verdict(&json!({})).expect("good");
        assert_eq!(
            (carol.subject.as_str(), carol.wanted.as_str(), carol.shown.as_str()),
            ("carol", "Carol", "Carol <carol@idp>")
        );
        assert!(verdict(&json!({"aud": ["us"]})).is_ok());
        assert!(verdict(&json!({"aud": ["us", "them"], "azp": "us"})).is_ok());
        let now = Timestamp::now().as_seconds();
        for bad in [
            json!({"iss": "https://idp/"}),
            json!({"iss": null}),
            json!({"aud": "them"}),
            json!({"aud": ["us", "them"]}),
            json!({"aud": ["us", "them"], "azp": "them"}),
            json!({"azp": "them"}),
            json!({"aud": null}),
            json!({"exp": now - 1}),
            json!({"exp": "9999999999"}),
            json!({"exp": null}),
            json!({"iat": now + 3_600}),
            json!({"iat": now - 3_600}),
            json!({"iat": null}),
            json!({"nonce": "n-2"}),
            json!({"nonce": null}),
            json!({"nonce": 1}),
            json!({"sub": ""}),
            json!({"sub": null}),
            json!({"sub": "é"}),
            json!({"sub": "x".repeat(256)}),
        ] {
            assert!(verdict(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata() {
        let with = |name: &str, value: Value| {
            let mut document = json!({
                "issuer": "https://idp", "authorization_endpoint": "https://idp/a", "token_endpoint": "https://idp/t",
            });
            document[name] = value;
            read_metadata(&document, "https://idp")
        };
        assert!(!with("x", json!(1)).expect("good").says_issuer);
        assert!(with("authorization_response_iss_parameter_supported", json!(true)).expect("good").says_issuer);
        let methods = json!(["client_secret_post"]);
        assert!(with("token_endpoint_auth_methods_supported", methods).expect("good").secret_in_body);
        for (name, value) in [
            ("issuer", json!("https://evil")),
            ("authorization_endpoint", json!("http://idp/a")),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("token_endpoint", json!(null)),
        ] {
            assert!(with(name, value.clone()).is_err(), "{name} {value}");
        }
    }
}
