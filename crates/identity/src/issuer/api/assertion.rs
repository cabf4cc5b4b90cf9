//! `private_key_jwt`: a client proves who it is with a signature (RFC 7523, OpenID Connect Core section 9).

use std::sync::Arc;
use std::time::Duration;

use dte_base::time::Timestamp;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::Identity;
use crate::issuer::clients::Registration;
use crate::issuer::model::params::Params;
use crate::issuer::refusal::Refusal;
use crate::issuer::store::clients as table;
use crate::keys::PublicKey;
use crate::model::decide::SKEW;
use crate::model::token::{self, Claims};

const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// No assertion is good for longer: so long each one is remembered.
const LONGEST: Duration = Duration::from_secs(3_600);
const LONGEST_ID: usize = 255;

pub(super) async fn authenticate(
    identity: &Identity,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Arc<Registration>, Refusal> {
    let refused = || Refusal::client(false);
    if headers.contains_key(AUTHORIZATION) || params.get("client_secret").is_some() {
        return Err(Refusal::request("the client shows two credentials"));
    }
    if params.get("client_assertion_type") != Some(KIND) {
        return Err(Refusal::request(format!("client_assertion_type must be {KIND}")));
    }
    let text = params.get("client_assertion").unwrap_or_default();
    let read = token::parse(text).map_err(|_| refused())?;
    let client_id = read.claims.text("sub").ok().flatten().ok_or_else(refused)?;
    if params.get("client_id").is_some_and(|named| named != client_id) {
        return Err(refused());
    }
    let client = identity.find_client(client_id).await?.ok_or_else(refused)?;
    // First what costs nothing: nobody makes us fetch keys with an assertion that no key could save.
    let now = Timestamp::now();
    let (id, expires) = check(identity, &read.claims, client_id, now).ok_or_else(refused)?;
    let key = key(identity, &client, &read.key_id).await.ok_or_else(refused)?;
    key.verify(read.algorithm, read.message, read.signature).map_err(|_| refused())?;
    let hash = identity.0.vault.hash_secret(&format!("assertion {client_id} {id}"));
    let fresh = identity.0.store.write(move |tx| table::use_assertion(tx, &hash, expires, now)).await?;
    if fresh { Ok(client) } else { Err(refused()) }
}

/// The key that an assertion names, as registered or as published.
async fn key(identity: &Identity, client: &Registration, kid: &str) -> Option<PublicKey> {
    if let Some(uri) = &client.metadata.jwks_uri {
        return identity.published_key(client, uri, kid).await;
    }
    let keys = client.metadata.jwks.as_ref().and_then(|jwks| jwks["keys"].as_array());
    keys.into_iter().flatten().filter_map(PublicKey::from_jwk).find(|(known, _)| known == kid).map(|(_, key)| key)
}

/// Of the client itself, for us, for a short while, and with a name that is used once.
fn check(identity: &Identity, claims: &Claims, client_id: &str, now: Timestamp) -> Option<(String, Timestamp)> {
    if claims.text("iss").ok()?? != client_id {
        return None;
    }
    let token_endpoint = format!("{}/token", identity.issuer());
    let is_ours = |audience: &str| audience == identity.issuer() || audience == token_endpoint;
    let for_us = claims.get("aud")?.texts()?.into_iter().any(is_ours);
    let expires = claims.seconds("exp").ok()??;
    let now = now.as_seconds();
    let skew = SKEW.as_secs().cast_signed();
    let begins = [claims.seconds("nbf").ok()?, claims.seconds("iat").ok()?];
    let in_time = expires > now
        && expires <= now + LONGEST.as_secs().cast_signed() + skew
        && begins.into_iter().flatten().all(|begin| begin <= now + skew);
    let id = claims.text("jti").ok()??;
    (for_us && in_time && !id.is_empty() && id.len() <= LONGEST_ID)
        .then(|| (id.to_owned(), Timestamp::from_seconds(expires)))
}
