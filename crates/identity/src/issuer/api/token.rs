//! `POST /token`: the token endpoint (RFC 6749).

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{caller, exchange, params, redeem, refresh};
use crate::issuer::model::client::Grant;
use crate::issuer::model::params::Params;
use crate::issuer::refusal::{Refusal, private};
use crate::{Error, Identity};

pub(super) async fn post(State(identity): State<Identity>, headers: HeaderMap, body: Bytes) -> Response {
    match grant(&identity, &headers, &body).await {
        Ok(answer) => private(StatusCode::OK, &answer),
        Err(refusal) => refusal.into_response(),
    }
}

async fn grant(identity: &Identity, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let params = params(body)?;
    let name = params.get("grant_type").ok_or_else(|| Refusal::request("grant_type is missing"))?;
    let kind =
        Grant::read(name).ok_or_else(|| Refusal::new("unsupported_grant_type", "there is no such grant here"))?;
    if kind == Grant::Credentials {
        return credentials(identity, headers, &params).await;
    }
    let client = caller::authenticate(identity, headers, &params).await?;
    if !client.may(kind) {
        return Err(Refusal::new("unauthorized_client", format!("the client is not registered for {name}")));
    }
    match kind {
        Grant::Code => redeem::code(identity, &client, &params).await,
        Grant::Device => redeem::device(identity, &client, &params).await,
        Grant::Refresh => refresh::grant(identity, &client, &params).await,
        Grant::Exchange => exchange::grant(identity, &client, &params).await,
        Grant::Credentials => Err(Refusal::ours("client credentials are granted elsewhere")),
    }
}

/// Client credentials (RFC 6749 section 4.4). With a secret nothing is read from the store or written to it.
async fn credentials(identity: &Identity, headers: &HeaderMap, params: &Params) -> Result<Value, Refusal> {
    let audiences = params.audiences()?;
    let (issued, basic) = if params.get("client_assertion").is_some() {
        let client = caller::authenticate(identity, headers, params).await?;
        (identity.client_token_of(&client.client_id, params.get("scope"), &audiences), false)
    } else {
        let shown = caller::credentials(headers, params)?;
        let issued = identity.client_token_for(&shown.client_id, &shown.secret, params.get("scope"), &audiences);
        (issued, shown.basic)
    };
    match issued {
        Ok(issued) => Ok(json!({
            "access_token": issued.token.expose(), "token_type": "Bearer",
            "expires_in": issued.lifetime.as_secs(), "scope": issued.scope,
        })),
        Err(Error::Client | Error::Banned(_)) => Err(Refusal::client(basic)),
        Err(error @ Error::Scope(_)) => Err(Refusal::new("invalid_scope", error.to_string())),
        Err(error @ Error::Audience(_)) => Err(Refusal::new("invalid_target", error.to_string())),
        Err(Error::TooManyFailures(wait)) => Err(Refusal::too_many(wait)),
        Err(error) => Err(Refusal::ours(error)),
    }
}
