//! The text of a token, before anybody believes it: size, form, algorithm (checks 1 to 3 of the validation table).

use std::cell::RefCell;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;

pub use super::claims::{Claim, Claims};
use super::reject::Reject;

/// The longest token that is looked at, in bytes.
pub const LONGEST: usize = 16 * 1024;

/// A token that has the right form; nothing in it is true yet.
#[derive(Clone, Debug)]
pub struct Unverified<'a> {
    pub algorithm: Algorithm,
    pub key_id: Arc<str>,
    pub claims: Claims,
    /// What the signature is over.
    pub message: &'a str,
    /// Base64.
    pub signature: &'a str,
}

/// What a header says that was read before. All tokens of one key have the same, letter by letter.
#[derive(Clone)]
struct Header {
    algorithm: Algorithm,
    key_id: Arc<str>,
}

/// Headers that a thread remembers, and the longest one that it does.
const REMEMBERED: usize = 8;
const LONGEST_REMEMBERED: usize = 512;

thread_local! {
    /// Good headers as they are encoded, the last one used at the end.
    static HEADERS: RefCell<Vec<(Box<str>, Header)>> = const { RefCell::new(Vec::new()) };
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
    let header = remembered(head, || self::header(head))?;
    if signature.is_empty() {
        return Err(Reject::Signature);
    }
    let Header { algorithm, key_id } = header;
    Ok(Unverified { algorithm, key_id, claims: object(body)?, message, signature })
}

fn remembered(head: &str, read: impl FnOnce() -> Result<Header, Reject>) -> Result<Header, Reject> {
    HEADERS.with_borrow_mut(|known| {
        if let Some(place) = known.iter().position(|(text, _)| **text == *head) {
            let last = known.len() - 1;
            known.swap(place, last);
            return Ok(known[last].1.clone());
        }
        let header = read()?;
        if head.len() <= LONGEST_REMEMBERED {
            if known.len() >= REMEMBERED {
                known.remove(0);
            }
            known.push((head.into(), header.clone()));
        }
        Ok(header)
    })
}

fn header(head: &str) -> Result<Header, Reject> {
    let header = object(head)?;
    let name = header.get("alg").and_then(Claim::as_str).ok_or(Reject::Algorithm)?;
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
    match header.get("typ").map(Claim::as_str) {
        None => {}
        Some(Some(kind)) if is_access_token_type(kind) => {}
        Some(_) => return Err(Reject::Kind),
    }
    match header.get("kid").and_then(Claim::as_str) {
        Some(kid) if !kid.is_empty() => Ok(Header { algorithm, key_id: kid.into() }),
        _ => Err(Reject::KeyMissing),
    }
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
    Claims::read(URL_SAFE_NO_PAD.decode(part).map_err(|_| Reject::Malformed)?)
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
