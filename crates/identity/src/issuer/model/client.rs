//! A client as it registered (RFC 7591): what of it is kept, and what is refused.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::redirect::{self, ApplicationType};
use super::scope;
use crate::keys::PublicKey;
use crate::model::plain::is_plain;
use crate::trust;

/// Longer texts of a registration are refused.
const LONGEST_TEXT: usize = 256;
const MOST_CONTACTS: usize = 10;
const MOST_KEYS: usize = 10;

/// How a client proves who it is at our endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthMethod {
    #[default]
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
    None,
}

impl AuthMethod {
    pub(crate) const ALL: &[&str] = &["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];

    pub(crate) fn has_secret(self) -> bool {
        matches!(self, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Grant {
    #[serde(rename = "authorization_code")]
    Code,
    #[serde(rename = "refresh_token")]
    Refresh,
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    Device,
    #[serde(rename = "client_credentials")]
    Credentials,
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    Exchange,
}

impl Grant {
    pub(crate) const ALL: &[(&str, Grant)] = &[
        ("authorization_code", Grant::Code),
        ("refresh_token", Grant::Refresh),
        ("urn:ietf:params:oauth:grant-type:device_code", Grant::Device),
        ("client_credentials", Grant::Credentials),
        ("urn:ietf:params:oauth:grant-type:token-exchange", Grant::Exchange),
    ];

    pub(crate) fn read(name: &str) -> Option<Grant> {
        Grant::ALL.iter().find(|(known, _)| *known == name).map(|(_, grant)| *grant)
    }

    /// Grants in which no person takes part: only an administrator gives them.
    pub(crate) fn needs_trust(self) -> bool {
        matches!(self, Grant::Credentials | Grant::Exchange)
    }
}

/// What is kept of a registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub(crate) client_name: String,
    pub(crate) application_type: ApplicationType,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) post_logout_redirect_uris: Vec<String>,
    pub(crate) token_endpoint_auth_method: AuthMethod,
    pub(crate) grant_types: Vec<Grant>,
    pub(crate) scopes: Vec<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) contacts: Vec<String>,
    pub(crate) client_uri: Option<String>,
    pub(crate) software_id: Option<String>,
    /// The client's public keys (RFC 7517), for `private_key_jwt`.
    pub(crate) jwks: Option<Value>,
    /// Where it publishes them instead.
    pub(crate) jwks_uri: Option<String>,
}

/// Why a registration is refused: the error code of RFC 7591 section 3.2.2, and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRegistration {
    pub(crate) error: &'static str,
    pub(crate) detail: String,
}

fn bad(detail: impl Into<String>) -> BadRegistration {
    BadRegistration { error: "invalid_client_metadata", detail: detail.into() }
}

impl Metadata {
    /// Reads what a client sends. What is not understood is left out, as the RFC wants, and so is what would have to be
    /// fetched (`logo_uri`, `sector_identifier_uri`, `request_uris`), save for `jwks_uri`, which is fetched when the client
    /// signs. `trusted`: an administrator registers it.
    pub(crate) fn read(sent: &Map<String, Value>, trusted: bool) -> Result<Self, BadRegistration> {
        let text = |name: &str| match sent.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= LONGEST_TEXT && is_plain(text) => {
                Ok(Some(text.clone()).filter(|text| !text.is_empty()))
            }
            Some(_) => Err(bad(format!(
                "{name} must be a text of at most {LONGEST_TEXT} characters, all of which can be seen"
            ))),
        };
        let list = |name: &str| match sent.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<String>>>()
                .map(Some)
                .ok_or_else(|| bad(format!("{name} must be a list of texts"))),
            Some(_) => Err(bad(format!("{name} must be a list of texts"))),
        };
        let application_type = match text("application_type")?.as_deref() {
            None | Some("web") => ApplicationType::Web,
            Some("native") => ApplicationType::Native,
            Some(_) => return Err(bad("application_type must be web or native")),
        };
        let method = match text("token_endpoint_auth_method")?.as_deref() {
            None | Some("client_secret_basic") => AuthMethod::ClientSecretBasic,
            Some("client_secret_post") => AuthMethod::ClientSecretPost,
            Some("private_key_jwt") => AuthMethod::PrivateKeyJwt,
            Some("none") => AuthMethod::None,
            Some(_) => {
                return Err(bad(format!("token_endpoint_auth_method must be one of {}", AuthMethod::ALL.join(", "))));
            }
        };
        let redirects = list("redirect_uris")?.unwrap_or_default();
        let after_logout = list("post_logout_redirect_uris")?.unwrap_or_default();
        for uris in [&redirects, &after_logout] {
            redirect::check_all(uris, application_type)
                .map_err(|cause| BadRegistration { error: cause.code(), detail: cause.to_string() })?;
        }
        let mut grants: Vec<Grant> = match list("grant_types")? {
            None => vec![Grant::Code, Grant::Refresh],
            // Grants that we do not have (`implicit`, `password`) are left out.
            Some(names) => names.iter().filter_map(|name| Grant::read(name)).collect(),
        };
        if !trusted {
            grants.retain(|grant| !grant.needs_trust());
        }
        if method == AuthMethod::None && grants.iter().any(|grant| grant.needs_trust()) {
            return Err(bad("a client without a secret cannot have client_credentials or token exchange"));
        }
        if grants.is_empty() {
            return Err(bad("none of the grant_types is supported"));
        }
        if grants.contains(&Grant::Code) && redirects.is_empty() {
            let detail = "the authorization code grant needs redirect_uris".to_owned();
            return Err(BadRegistration { error: "invalid_redirect_uri", detail });
        }
        if let Some(kinds) = list("response_types")?
            && !kinds.is_empty()
            && !kinds.iter().any(|kind| kind == "code")
        {
            return Err(bad("the only response_type is code"));
        }
        let scopes = match text_of_scopes(sent)? {
            None => scope::SUPPORTED.iter().map(|scope| (*scope).to_owned()).collect(),
            Some(wanted) => {
                let mut kept = wanted;
                kept.retain(|name| scope::is_known(name) && scope::check(std::slice::from_ref(name)).is_ok());
                kept.retain(|name| trusted || !scope::is_administrative(name));
                kept
            }
        };
        scope::check(&scopes).map_err(|cause| bad(cause.to_string()))?;
        let contacts = list("contacts")?.unwrap_or_default();
        if contacts.len() > MOST_CONTACTS
            || contacts.iter().any(|contact| contact.len() > LONGEST_TEXT || !is_plain(contact))
        {
            return Err(bad(format!("at most {MOST_CONTACTS} contacts, of characters that can be seen")));
        }
        let client_uri = text("client_uri")?;
        if client_uri.as_deref().is_some_and(|uri| !uri.starts_with("https://") && !uri.starts_with("http://")) {
            return Err(bad("client_uri must be a web address"));
        }
        let (jwks, jwks_uri) = keys(sent, method, text("jwks_uri")?)?;
        let audiences = if trusted { list("audiences")?.unwrap_or_default() } else { Vec::new() };
        Ok(Metadata {
            client_name: text("client_name")?.unwrap_or_default(),
            application_type,
            redirect_uris: redirects,
            post_logout_redirect_uris: after_logout,
            token_endpoint_auth_method: method,
            grant_types: grants,
            scopes,
            audiences,
            contacts,
            client_uri,
            software_id: text("software_id")?,
            jwks,
            jwks_uri,
        })
    }

    /// As the answer to a registration shows it.
    pub(crate) fn render(&self) -> Map<String, Value> {
        let mut shown = json!({
            "client_name": self.client_name, "application_type": self.application_type,
            "redirect_uris": self.redirect_uris, "token_endpoint_auth_method": self.token_endpoint_auth_method,
            "grant_types": self.grant_types, "response_types": ["code"], "scope": self.scopes.join(" "),
            "contacts": self.contacts,
        });
        for (name, value) in
            [("client_uri", &self.client_uri), ("software_id", &self.software_id), ("jwks_uri", &self.jwks_uri)]
        {
            if let Some(value) = value {
                shown[name] = value.as_str().into();
            }
        }
        if let Some(jwks) = &self.jwks {
            shown["jwks"] = jwks.clone();
        }
        for (name, list) in
            [("post_logout_redirect_uris", &self.post_logout_redirect_uris), ("audiences", &self.audiences)]
        {
            if !list.is_empty() {
                shown[name] = json!(list);
            }
        }
        shown.as_object().cloned().unwrap_or_default()
    }
}

/// The keys of `private_key_jwt`, or where they are published; never both (RFC 7591 section 2).
fn keys(
    sent: &Map<String, Value>,
    method: AuthMethod,
    uri: Option<String>,
) -> Result<(Option<Value>, Option<String>), BadRegistration> {
    let jwks = sent.get("jwks").filter(|jwks| !jwks.is_null());
    if jwks.is_some() && uri.is_some() {
        return Err(bad("jwks and jwks_uri must not both be there (RFC 7591): send one of them"));
    }
    if method != AuthMethod::PrivateKeyJwt {
        return Ok((None, None));
    }
    if let Some(uri) = uri {
        check_place(&uri)?;
        return Ok((None, Some(uri)));
    }
    let list = jwks.and_then(|jwks| jwks.get("keys")).and_then(Value::as_array);
    let list = list.ok_or_else(|| bad("private_key_jwt needs the public keys: jwks, or jwks_uri where they are"))?;
    if list.iter().any(is_private) {
        return Err(bad("jwks has a private key: keep it to yourself, and make another"));
    }
    if list.len() > MOST_KEYS || !list.iter().any(|key| PublicKey::from_jwk(key).is_some()) {
        return Err(bad(format!("jwks must have a public signing key with a kid, and at most {MOST_KEYS} keys")));
    }
    Ok((Some(json!({"keys": list})), None))
}

/// Whether a key has a part that only its owner may know.
pub(crate) fn is_private(key: &Value) -> bool {
    ["d", "k", "p", "q"].iter().any(|part| key.get(part).is_some())
}

/// Whether keys may be fetched from there: `https`, or `http` on this machine, with nothing in the address that is a secret
/// or that no server sees. Whether the address may be reached is asked when it is.
fn check_place(uri: &str) -> Result<(), BadRegistration> {
    trust::check_url(uri).map_err(|what| bad(format!("jwks_uri: {what}")))?;
    let is_plain_place = url::Url::parse(uri).is_ok_and(|url| {
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none() && url.port() != Some(0)
    });
    if is_plain_place { Ok(()) } else { Err(bad("jwks_uri must have no user, no password and no fragment")) }
}

fn text_of_scopes(sent: &Map<String, Value>) -> Result<Option<Vec<String>>, BadRegistration> {
    match sent.get("scope") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= 8_192 => {
            let words: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
            Ok(Some(words).filter(|words| !words.is_empty()))
        }
        Some(_) => Err(bad("scope must be a text of at most 8192 characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sent: Value, trusted: bool) -> Result<Metadata, BadRegistration> {
        Metadata::read(sent.as_object().expect("an object"), trusted)
    }

    fn with_keys(more: Value) -> Value {
        let mut sent =
            json!({"redirect_uris": ["https://rp.example/cb"], "token_endpoint_auth_method": "private_key_jwt"});
        for (name, value) in more.as_object().expect("an object") {
            sent[name] = value.clone();
        }
        sent
    }

    #[test]
    fn what_is_kept() {
        let plain = read(json!({"redirect_uris": ["https://rp.example/cb"], "logo_uri": "http://169.254.169.254/", "grant_types":
            ["authorization_code", "implicit", "client_credentials"], "scope": "openid dte.admin unheard-of storage.read"}), false)
            .expect("taken");
        assert_eq!(plain.grant_types, [Grant::Code]);
        assert_eq!(plain.scopes, ["openid"]);
        assert!(!plain.render().contains_key("logo_uri"));
        let trusted = read(json!({"grant_types": ["client_credentials"], "scope": "dte.admin"}), true).expect("taken");
        assert_eq!((trusted.grant_types, trusted.scopes), (vec![Grant::Credentials], vec!["dte.admin".to_owned()]));
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            json!({}),
            json!({"redirect_uris": "https://rp.example/cb"}),
            json!({"redirect_uris": ["https://rp.example/*"]}),
            json!({"redirect_uris": ["https://rp.example/cb"], "client_name": "x".repeat(300)}),
            json!({"redirect_uris": ["https://rp.example/cb"], "client_uri": "javascript:alert(1)"}),
            json!({"redirect_uris": ["https://rp.example/cb"], "token_endpoint_auth_method": "private_key_jwt"}),
            json!({"redirect_uris": ["https://rp.example/cb"], "response_types": ["token"]}),
            json!({"redirect_uris": ["https://rp.example/cb"], "post_logout_redirect_uris": ["http://evil.example/"]}),
            json!({"grant_types": ["client_credentials"]}),
            with_keys(json!({"jwks_uri": "http://keys.example/jwk"})),
            with_keys(json!({"jwks_uri": "file:///etc/passwd"})),
            with_keys(json!({"jwks_uri": "https://user:secret@keys.example/jwk"})),
            with_keys(json!({"jwks_uri": "https://keys.example/jwk#mine"})),
            with_keys(json!({"jwks_uri": "https://keys.example/jwk", "jwks": {"keys": []}})),
            json!({"redirect_uris": ["https://rp.example/cb"], "jwks_uri": "https://keys.example/jwk", "jwks": {"keys": []}}),
        ] {
            assert!(read(bad.clone(), false).is_err(), "{bad}");
        }
        let place = read(with_keys(json!({"jwks_uri": "https://keys.example/jwk"})), false).expect("taken");
        assert_eq!(place.render()["jwks_uri"], "https://keys.example/jwk");
        let unused =
            read(json!({"redirect_uris": ["https://rp.example/cb"], "jwks_uri": "https://keys.example/"}), false);
        assert_eq!(unused.expect("taken").jwks_uri, None);
        let custom = read(json!({"redirect_uris": ["edu.kit.data.oidc-agent:/redirect"]}), false).expect_err("refused");
        assert_eq!(custom.detail, "Custom redirect_uri not allowed for web client");
    }
}
