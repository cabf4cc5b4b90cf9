//! The text of a token, before anybody believes it: size, form, algorithm (checks 1 to 3 of the validation table).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::reject::Reject;
use super::strict;

/// The longest token that is looked at, in bytes.
pub const LONGEST: usize = 16 * 1024;

/// A token that has the right form; nothing in it is true yet.
#[derive(Clone, Debug)]
pub struct Unverified<'a> {
    pub algorithm: Algorithm,
    pub key_id: String,
    pub claims: Claims,
    /// What the signature is over.
    pub message: &'a str,
    /// Base64.
    pub signature: &'a str,
}

/// The name of a claim; those that every token has are not copied.
pub type Name = Cow<'static, str>;

/// Names that tokens and their headers have.
const USUAL: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "scope",
    "client_id",
    "azp",
    "typ",
    "alg",
    "kid",
    "wlcg.ver",
    "wlcg.groups",
    "entitlements",
    "eduperson_entitlement",
    "groups",
    "act",
    "auth_time",
    "acr",
    "sid",
];

/// The claims as they stand in the token, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims(Vec<(Name, Value)>);

impl From<Map<String, Value>> for Claims {
    fn from(map: Map<String, Value>) -> Self {
        Claims(map.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect())
    }
}

impl Claims {
    /// The caller saw to it that no name comes twice.
    pub(super) fn of(list: Vec<(Name, Value)>) -> Self {
        Claims(list)
    }

    pub(super) fn name(name: &str) -> Name {
        match USUAL.iter().find(|usual| **usual == name) {
            Some(usual) => Cow::Borrowed(usual),
            None => Cow::Owned(name.to_owned()),
        }
    }

    pub fn into_map(self) -> Map<String, Value> {
        self.0.into_iter().map(|(name, value)| (name.into_owned(), value)).collect()
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Reads a JSON object; names that come twice, and what is nested too deeply, are refused.
    pub fn read(text: &[u8]) -> Result<Self, Reject> {
        strict::object(text).ok_or(Reject::Malformed)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A claim that must be text when it is there.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, Reject> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Reject::ClaimType(name)),
        }
    }

    /// A time claim: a whole, positive number of seconds, never text or a fraction.
    pub fn seconds(&self, name: &'static str) -> Result<Option<i64>, Reject> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(seconds) if seconds >= 0 => Ok(Some(seconds)),
                _ => Err(Reject::ClaimType(name)),
            },
            Some(_) => Err(Reject::ClaimType(name)),
        }
    }
}

/// Reads a compact JWS. Algorithms other than RS256, RS384, RS512, PS256, ES256, ES384 and EdDSA are refused: `none` and
/// everything with a shared secret among them.
pub fn parse(token: &str) -> Result<Unverified<'_>, Reject> {
    if token.len() > LONGEST {
        return Err(Reject::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Reject::Opaque)?;
    let (head, body) = message.split_once('.').ok_or(Reject::Opaque)?;
    if body.contains('.') {
        return Err(Reject::Opaque);
    }
    if head.is_empty() || body.is_empty() {
        return Err(Reject::Malformed);
    }
    let mut header = object(head)?;
    let name = header.get("alg").and_then(Value::as_str).ok_or(Reject::Algorithm)?;
    let algorithm = match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return Err(Reject::Algorithm),
    };
    if header.get("crit").is_some() {
        return Err(Reject::Critical);
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if is_access_token_type(kind) => {}
        Some(_) => return Err(Reject::Kind),
    }
    if signature.is_empty() {
        return Err(Reject::Signature);
    }
    let key_id = match header.take("kid") {
        Some(Value::String(kid)) if !kid.is_empty() => kid,
        _ => return Err(Reject::KeyMissing),
    };
    Ok(Unverified { algorithm, key_id, claims: object(body)?, message, signature })
}

/// Whether a text can be an opaque token (RFC 6750 section 2.1): then its issuer may be asked about it.
pub fn is_opaque(text: &str) -> bool {
    const SHORTEST: usize = 8;
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    (SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(letter)
}

fn is_access_token_type(kind: &str) -> bool {
    ["at+jwt", "application/at+jwt", "JWT"].iter().any(|known| known.eq_ignore_ascii_case(kind))
}

fn object(part: &str) -> Result<Claims, Reject> {
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| Reject::Malformed)?;
    strict::object(&text).ok_or(Reject::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn reject(header: &str, claims: &str) -> Reject {
        parse(&token(header, claims)).expect_err("rejected")
    }

    const GOOD: &str = r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#;

    #[test]
    fn row_1_size() {
        assert_eq!(parse(&"a".repeat(LONGEST + 1)).expect_err("rejected"), Reject::TooLong);
    }

    #[test]
    fn row_2_form() {
        for opaque in ["", "abc", "a.b", "a.b.c.d"] {
            assert_eq!(parse(opaque).expect_err("rejected"), Reject::Opaque, "{opaque}");
        }
        for bad in ["..", "e30..x", "!.e30.x", "e30=.e30.x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(reject("[]", "{}"), Reject::Malformed);
        assert_eq!(reject(GOOD, r#"{"sub":"a","sub":"b"}"#), Reject::Malformed);
        assert_eq!(reject(GOOD, r#"{"act":{"sub":"a","sub":"b"}}"#), Reject::Malformed);
        assert_eq!(reject(r#"{"alg":"none","alg":"ES256","kid":"k"}"#, "{}"), Reject::Malformed);
        assert_eq!(reject(GOOD, r#"{"exp":1e400}"#), Reject::Malformed);
        assert_eq!(reject(GOOD, &"[".repeat(5_000)), Reject::Malformed);
    }

    #[test]
    fn row_3_algorithm() {
        for name in ["none", "None", "HS256", "HS384", "HS512", "ES256K", "", "es256"] {
            assert_eq!(reject(&format!(r#"{{"alg":"{name}","kid":"k"}}"#), "{}"), Reject::Algorithm, "{name}");
        }
        assert_eq!(reject(r#"{"kid":"k"}"#, "{}"), Reject::Algorithm);
        assert_eq!(reject(r#"{"alg":"ES256","kid":"k","crit":["b64"]}"#, "{}"), Reject::Critical);
    }

    #[test]
    fn row_5_key_id_and_row_12_type() {
        assert_eq!(reject(r#"{"alg":"ES256"}"#, "{}"), Reject::KeyMissing);
        assert_eq!(reject(r#"{"alg":"ES256","kid":7}"#, "{}"), Reject::KeyMissing);
        assert_eq!(reject(r#"{"alg":"ES256","kid":"k","typ":"dpop+jwt"}"#, "{}"), Reject::Kind);
        assert!(parse(&token(r#"{"alg":"ES256","kid":"k"}"#, "{}")).is_ok());
        assert!(parse(&token(GOOD, "{}")).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[A-Za-z0-9._-]{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_claims_panic(claims in "\\PC{0,100}") {
            let _ = parse(&token(GOOD, &claims));
        }
    }
}
