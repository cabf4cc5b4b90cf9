//! Public keys of any issuer (RFC 7517), and what is signed with them (RFC 7518, RFC 8037). The arithmetic is `ring`'s.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

use crate::model::reject::Reject;

/// Signatures longer than this belong to no key that is accepted (RSA with 8192 bits).
const LONGEST_SIGNATURE: usize = 1_024;
/// RSA keys below this many bytes are refused.
const SHORTEST_MODULUS: usize = 256;

/// A public key that may verify tokens of certain algorithms. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PublicKey {
    material: Arc<Material>,
    algorithms: Arc<[Algorithm]>,
}

enum Material {
    /// An uncompressed point, or 32 bytes of Ed25519.
    Point(Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl PublicKey {
    /// Reads a JWK. `None` for keys that are of no use here: other uses, unknown types, RSA below 2048 bits.
    pub(crate) fn from_jwk(jwk: &Value) -> Option<(String, Self)> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let kid = text("kid").filter(|kid| !kid.is_empty())?;
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let (material, mut algorithms) = match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => (point(&number("x")?, &number("y")?, 32)?, vec![Algorithm::ES256]),
            ("EC", Some("P-384")) => (point(&number("x")?, &number("y")?, 48)?, vec![Algorithm::ES384]),
            ("OKP", Some("Ed25519")) => {
                (Material::Point(number("x").filter(|bytes| bytes.len() == 32)?), vec![Algorithm::EdDSA])
            }
            ("RSA", _) => {
                let (modulus, exponent) = (without_zeros(number("n")?), without_zeros(number("e")?));
                if modulus.len() < SHORTEST_MODULUS || exponent.is_empty() {
                    return None;
                }
                let algorithms = vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256];
                (Material::Rsa { modulus, exponent }, algorithms)
            }
            _ => return None,
        };
        if let Some(only) = text("alg") {
            algorithms.retain(|algorithm| format!("{algorithm:?}") == only);
        }
        Some((kid.to_owned(), PublicKey { material: Arc::new(material), algorithms: algorithms.into() }))
    }

    /// Checks a signature (base64); the algorithm must fit the key.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &str, signature: &str) -> Result<(), Reject> {
        if !self.algorithms.contains(&algorithm) {
            return Err(Reject::KeyType);
        }
        let mut buffer = [0; LONGEST_SIGNATURE];
        let length = URL_SAFE_NO_PAD.decode_slice(signature, &mut buffer).map_err(|_| Reject::Signature)?;
        let (message, signature) = (message.as_bytes(), &buffer[..length]);
        let outcome = match (&*self.material, algorithm) {
            (Material::Point(point), _) => {
                let scheme: &dyn VerificationAlgorithm = match algorithm {
                    Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
                    Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
                    Algorithm::EdDSA => &signature::ED25519,
                    _ => return Err(Reject::KeyType),
                };
                UnparsedPublicKey::new(scheme, point).verify(message, signature)
            }
            (Material::Rsa { modulus, exponent }, _) => {
                let scheme: &RsaParameters = match algorithm {
                    Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
                    _ => return Err(Reject::KeyType),
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(scheme, message, signature)
            }
        };
        outcome.map_err(|_| Reject::Signature)
    }
}

fn point(x: &[u8], y: &[u8], size: usize) -> Option<Material> {
    (x.len() == size && y.len() == size).then(|| Material::Point([&[4], x, y].concat()))
}

fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    #[test]
    fn ed25519_tokens_of_other_issuers() {
        // The key and token of RFC 8037 appendix A.
        let jwk =
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let (_, key) = PublicKey::from_jwk(&jwk).expect("a key");
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(key.verify(Algorithm::EdDSA, message, signature), Ok(()));
        assert_eq!(key.verify(Algorithm::EdDSA, "x.y", signature), Err(Reject::Signature));
        assert_eq!(key.verify(Algorithm::EdDSA, message, &"A".repeat(4_000)), Err(Reject::Signature));
        assert_eq!(key.verify(Algorithm::ES256, message, signature), Err(Reject::KeyType));
    }
}
