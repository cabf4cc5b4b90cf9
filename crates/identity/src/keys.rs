//! Our signing keys (ES256), and how they come out of the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dte_base::time::Timestamp;
use dte_store::Store;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::Identity;
use crate::context::OpenError;
use crate::issue::Error;
pub(crate) use crate::public_key::PublicKey;
use crate::store::{self, SealedKey};
use crate::vault::Vault;

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

impl Identity {
    pub(crate) async fn install_keys(&self) -> Result<(), OpenError> {
        let keys = self.0.store.read(store::keys).await?;
        *self.0.keys.write() = Arc::new(unseal(&self.0.vault, &keys)?);
        Ok(())
    }

    /// Reads the signing keys again, and forgets what was verified with those that are gone.
    pub(crate) async fn read_keys(&self) -> Result<(), Error> {
        self.install_keys().await.map_err(|error| Error::Signing(error.to_string()))?;
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

pub(crate) async fn open_keys(store: &Store, vault: &Vault) -> Result<KeyRing, OpenError> {
    let (key, der) = SigningKey::generate()?;
    let first = SealedKey {
        sealed: vault.seal(&key.kid, &der)?,
        kid: key.kid,
        retired: None,
        signs_from: Timestamp::from_seconds(0),
    };
    let sealed = store.write(move |tx| store::keys_or_first(tx, &first)).await?;
    unseal(vault, &sealed)
}

fn unseal(vault: &Vault, sealed: &[SealedKey]) -> Result<KeyRing, OpenError> {
    let in_use = sealed.iter().filter(|key| key.retired.is_none());
    let open = |key: &SealedKey| {
        let mut opened = SigningKey::from_der(&vault.unseal(&key.kid, &key.sealed)?)?;
        opened.signs_from = key.signs_from;
        Ok::<_, OpenError>(opened)
    };
    Ok(KeyRing(in_use.map(open).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reject::Reject;
    use crate::model::token;

    #[test]
    fn signed_and_verified() {
        let (key, der) = SigningKey::generate().expect("a key");
        let again = SigningKey::from_der(&der).expect("the same key");
        assert_eq!(key.kid, again.kid);
        let claims = json!({"sub": "alice"}).as_object().cloned().expect("an object");
        let text = key.sign(&claims).expect("signed");
        let read = token::parse(&text).expect("a token");
        assert_eq!(*read.key_id, *key.kid);
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
}
