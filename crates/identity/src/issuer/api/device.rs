//! `POST /devicecode`: a device or a command line begins (RFC 8628 section 3.1).

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dte_base::time::Timestamp;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::redeem::INTERVAL;
use super::{caller, params};
use crate::Identity;
use crate::issuer::model::client::Grant;
use crate::issuer::model::{pkce, scope, user_code};
use crate::issuer::refusal::{Refusal, private};
use crate::issuer::store::codes::{self, Device, DeviceState};

/// How long the person has.
const LIFETIME: Duration = Duration::from_secs(600);
/// Tries to find a user code that nobody has.
const TRIES: usize = 8;

pub(super) async fn post(State(identity): State<Identity>, headers: HeaderMap, body: Bytes) -> Response {
    match begin(&identity, &headers, &body).await {
        Ok(answer) => private(StatusCode::OK, &answer),
        Err(refusal) => refusal.into_response(),
    }
}

/// How a user code is stored.
pub(super) fn user_hash(identity: &Identity, code: &str) -> Vec<u8> {
    identity.0.vault.hash_secret(&format!("user code {code}"))
}

async fn begin(identity: &Identity, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let params = params(body)?;
    let client = caller::authenticate(identity, headers, &params).await?;
    if !client.may(Grant::Device) {
        return Err(Refusal::new("unauthorized_client", "the client is not registered for the device grant"));
    }
    let wanted = params.words("scope");
    scope::check(&wanted).map_err(|bad| Refusal::new("invalid_scope", bad.to_string()))?;
    let wanted = if wanted.is_empty() { vec![scope::OPENID.to_owned()] } else { wanted };
    let scopes = scope::narrow(&wanted, &client.metadata.scopes);
    if scopes.is_empty() {
        return Err(Refusal::new("invalid_scope", "none of the scopes is one that the client registered for"));
    }
    let challenge = params.get("code_challenge").map(str::to_owned);
    if let Some(text) = &challenge
        && (params.get("code_challenge_method") != Some("S256") || !pkce::is_challenge(text))
    {
        return Err(Refusal::request("code_challenge_method must be S256"));
    }
    let audiences = params.audiences()?;
    for _ in 0..TRIES {
        let (text, code) = (hex::encode(rand::random::<[u8; 32]>()), user_code::fresh());
        let device = Device {
            hash: identity.0.vault.hash_secret(&format!("device {text}")),
            client_id: client.client_id.clone(),
            challenge: challenge.clone(),
            scopes: scopes.clone(),
            audiences: audiences.clone(),
            state: DeviceState::Waiting,
            expires: Timestamp::now() + LIFETIME,
        };
        let user = user_hash(identity, &code);
        if identity.0.store.write(move |tx| codes::insert_device(tx, &device, &user)).await? {
            let page = format!("{}/device", identity.issuer());
            return Ok(json!({
                "device_code": text, "user_code": code, "verification_uri": page,
                "verification_uri_complete": format!("{page}?user_code={code}"),
                "expires_in": LIFETIME.as_secs(), "interval": INTERVAL.as_secs(),
            }));
        }
    }
    Err(Refusal::ours("no user code is free"))
}
