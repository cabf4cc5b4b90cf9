//! Our signing keys (ES256), and public keys of any issuer (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dte_base::time::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::context::OpenError;
use crate::model::reject::Reject;

/// A public key that may verify tokens of certain algorithms.
#[derive(Clone)]
pub(crate) struct PublicKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl PublicKey {
    /// Reads a JWK. `None` for keys that are of no use here: other uses, unknown types, RSA below 2048 bits.
    pub(crate) fn from_jwk(jwk: &Value) -> Option<(String, Self)> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let kid = text("kid").filter(|kid| !kid.is_empty())?;
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let (key, mut algorithms) = match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => (ec(text("x")?, text("y")?, 32)?, vec![Algorithm::ES256]),
            ("EC", Some("P-384")) => (ec(text("x")?, text("y")?, 48)?, vec![Algorithm::ES384]),
            ("OKP", Some("Ed25519")) => (DecodingKey::from_ed_components(text("x")?).ok()?, vec![Algorithm::EdDSA]),
            ("RSA", _) => {
                let modulus = URL_SAFE_NO_PAD.decode(text("n")?).ok()?;
                if modulus.iter().skip_while(|byte| **byte == 0).count() < 256 {
                    return None;
                }
                let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
                (key, vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256])
            }
            _ => return None,
        };
        if let Some(only) = text("alg") {
            algorithms.retain(|algorithm| format!("{algorithm:?}") == only);
        }
        Some((kid.to_owned(), PublicKey { key, algorithms }))
    }

    /// Checks a signature; the algorithm must fit the key.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &str, signature: &str) -> Result<(), Reject> {
        if !self.algorithms.contains(&algorithm) {
            return Err(Reject::KeyType);
        }
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Reject::Signature),
        }
    }
}

fn ec(x: &str, y: &str, size: usize) -> Option<DecodingKey> {
    let is_coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == size);
    (is_coordinate(x) && is_coordinate(y)).then(|| DecodingKey::from_ec_components(x, y).ok())?
}

/// A signing key of ours.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    /// Before that it is only published.
    pub(crate) signs_from: Timestamp,
    private: EncodingKey,
    public: PublicKey,
    jwk: Value,
}

impl SigningKey {
    /// A fresh key, and its private part as PKCS#8 to be sealed.
    pub(crate) fn generate() -> Result<(Self, Vec<u8>), OpenError> {
        // Any 32 random bytes are a key, save for one in 2^32 tries or so; then try again.
        let secret = loop {
            let bytes: [u8; 32] = rand::random();
            if let Ok(secret) = p256::SecretKey::from_slice(&bytes) {
                break secret;
            }
        };
        let der = secret.to_pkcs8_der().map_err(OpenError::other)?;
        Ok((SigningKey::from_secret(&secret, der.as_bytes())?, der.as_bytes().to_vec()))
    }

    pub(crate) fn from_der(der: &[u8]) -> Result<Self, OpenError> {
        let secret = p256::SecretKey::from_pkcs8_der(der).map_err(OpenError::other)?;
        SigningKey::from_secret(&secret, der)
    }

    fn from_secret(secret: &p256::SecretKey, der: &[u8]) -> Result<Self, OpenError> {
        let point = secret.public_key().to_encoded_point(false);
        let coordinate =
            |bytes: Option<&p256::FieldBytes>| bytes.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default();
        let (x, y) = (coordinate(point.x()), coordinate(point.y()));
        // RFC 7638: the required members in the order of their names, without spaces.
        let kid =
            URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)));
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": kid});
        let (_, public) = PublicKey::from_jwk(&jwk).ok_or_else(|| OpenError::other("a signing key cannot be read"))?;
        Ok(SigningKey {
            kid,
            signs_from: Timestamp::from_seconds(0),
            private: EncodingKey::from_ec_der(der),
            public,
            jwk,
        })
    }

    /// Signs claims as an access token (RFC 9068).
    pub(crate) fn sign(&self, claims: &Map<String, Value>) -> Result<String, jsonwebtoken::errors::Error> {
        self.sign_as("at+jwt", claims)
    }

    /// Signs claims as a token of this type.
    pub(crate) fn sign_as(
        &self,
        kind: &str,
        claims: &Map<String, Value>,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(kind.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.private)
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn jwk(&self) -> &Value {
        &self.jwk
    }
}

/// Our keys, in the order of their turns: the last whose turn has come signs, all verify.
#[derive(Clone)]
pub(crate) struct KeyRing(pub(crate) Vec<SigningKey>);

impl KeyRing {
    pub(crate) fn signing(&self) -> Option<&SigningKey> {
        let now = Timestamp::now();
        self.0.iter().rev().find(|key| key.signs_from <= now).or_else(|| self.0.first())
    }

    pub(crate) fn public(&self, kid: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.kid == kid).map(SigningKey::public)
    }

    /// The JWKS document.
    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": self.0.iter().map(SigningKey::jwk).collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::token;

    #[test]
    fn signed_and_verified() {
        let (key, der) = SigningKey::generate().expect("a key");
        let again = SigningKey::from_der(&der).expect("the same key");
        assert_eq!(key.kid, again.kid);
        let claims = json!({"sub": "alice"}).as_object().cloned().expect("an object");
        let text = key.sign(&claims).expect("signed");
        let read = token::parse(&text).expect("a token");
        assert_eq!(read.key_id, key.kid);
        assert_eq!(again.public().verify(read.algorithm, read.message, read.signature), Ok(()));
        let (other, _) = SigningKey::generate().expect("a key");
        assert_eq!(other.public().verify(read.algorithm, read.message, read.signature), Err(Reject::Signature));
        assert_eq!(other.public().verify(Algorithm::RS256, read.message, read.signature), Err(Reject::KeyType));
    }

    #[test]
    fn keys_of_no_use() {
        let (key, _) = SigningKey::generate().expect("a key");
        let with = |name: &str, value: &str| {
            let mut jwk = key.jwk().clone();
            jwk[name] = value.into();
            PublicKey::from_jwk(&jwk)
        };
        assert!(with("kid", "x").is_some());
        assert!(with("use", "enc").is_none());
        assert!(with("kty", "oct").is_none());
        assert!(with("crv", "secp256k1").is_none());
        assert!(with("x", "AAAA").is_none());
        assert!(PublicKey::from_jwk(&json!({"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"})).is_none());
        assert!(PublicKey::from_jwk(&json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"})).is_none());
    }

    #[test]
    fn rsa_tokens_of_other_issuers() {
        // The key and token of RFC 7515 appendix A.2.
        let jwk = json!({
            "kty": "RSA", "kid": "a2",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "e": "AQAB"
        });
        let message = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let (_, key) = PublicKey::from_jwk(&jwk).expect("a key");
        assert_eq!(key.verify(Algorithm::RS256, message, signature), Ok(()));
        assert_eq!(key.verify(Algorithm::RS256, "x.y", signature), Err(Reject::Signature));
        assert_eq!(key.verify(Algorithm::ES256, message, signature), Err(Reject::KeyType));
    }
}
