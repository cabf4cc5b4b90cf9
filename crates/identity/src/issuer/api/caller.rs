//! Which client is calling (RFC 6749 section 2.3).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::assertion;
use crate::Identity;
use crate::issuer::clients::Registration;
use crate::issuer::model::params::Params;
use crate::issuer::refusal::Refusal;

/// What a client shows of itself.
pub(super) struct Credentials {
    pub(super) client_id: String,
    /// Empty for public clients; oidc-agent sends basic authentication with an empty secret then.
    pub(super) secret: String,
    pub(super) basic: bool,
}

/// `client_secret_basic`, `client_secret_post` or only the name; never two at once.
pub(super) fn credentials(headers: &HeaderMap, params: &Params) -> Result<Credentials, Refusal> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        let client_id = params.get("client_id").ok_or_else(|| Refusal::client(false))?.to_owned();
        let secret = params.get("client_secret").unwrap_or_default().to_owned();
        return Ok(Credentials { client_id, secret, basic: false });
    };
    let read = || {
        let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((decoded(id)?, decoded(secret)?))
    };
    let (client_id, secret) = read().ok_or_else(|| Refusal::client(true))?;
    if params.get("client_secret").is_some_and(|also| also != secret)
        || params.get("client_id").is_some_and(|also| also != client_id)
    {
        return Err(Refusal::request("the client is named twice, and differently"));
    }
    Ok(Credentials { client_id, secret, basic: true })
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The client that calls, if it is who it says. Public clients have nothing to prove it with.
pub(super) async fn authenticate(
    identity: &Identity,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Arc<Registration>, Refusal> {
    if params.get("client_assertion").is_some() {
        return assertion::authenticate(identity, headers, params).await;
    }
    let shown = credentials(headers, params)?;
    let refused = || Refusal::client(shown.basic);
    let client = identity.find_client(&shown.client_id).await?;
    let Some(hash) = client.as_ref().and_then(|client| client.secret_hash.as_ref()) else {
        // Nothing to guess: nobody can shut a public client out by guessing.
        return client.filter(|client| client.is_public() && shown.secret.is_empty()).ok_or_else(refused);
    };
    // The right secret is always right: guessing slows down those who guess, and shuts nobody out.
    if bool::from(identity.0.vault.hash_secret(&shown.secret).ct_eq(hash)) {
        return client.ok_or_else(refused);
    }
    let failures = &identity.0.failures;
    let wait = failures.check(&shown.client_id);
    failures.note(&shown.client_id);
    match wait {
        Err(crate::Error::TooManyFailures(wait)) => Err(Refusal::too_many(wait)),
        _ => Err(refused()),
    }
}

/// The same, for what only clients with a secret may do.
pub(super) async fn authenticate_secret(
    identity: &Identity,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Arc<Registration>, Refusal> {
    let client = authenticate(identity, headers, params).await?;
    if client.is_public() { Err(Refusal::client(headers.contains_key(AUTHORIZATION))) } else { Ok(client) }
}
