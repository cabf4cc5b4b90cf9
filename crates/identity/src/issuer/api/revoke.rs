//! `POST /revoke` (RFC 7009): a client gives back what it has. The answer is the same whether there was anything to revoke.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{caller, params};
use crate::Identity;
use crate::audit::Entry;
use crate::issuer::refusal::{Refusal, private};
use crate::issuer::rules::Revocable;

pub(super) async fn post(State(identity): State<Identity>, headers: HeaderMap, body: Bytes) -> Response {
    match revoke(&identity, &headers, &body).await {
        Ok(()) => private(StatusCode::OK, &json!({})),
        Err(refusal) => refusal.into_response(),
    }
}

async fn revoke(identity: &Identity, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    let params = params(body)?;
    let client = caller::authenticate(identity, headers, &params).await?;
    let token = params.get("token").ok_or_else(|| Refusal::request("token is missing"))?;
    if let Some((family, _)) = identity.find_family(token).await? {
        if family.client_id == client.client_id {
            identity.end_family(&family.id, &family.granted.user, &client.client_id, "the client gave it back").await?;
        }
        return Ok(());
    }
    let Ok(own) = identity.inspect(token) else { return Ok(()) };
    if own.client_id() != client.client_id {
        return Ok(());
    }
    let Some(token_id) = own.principal.token_id.as_deref() else { return Ok(()) };
    let entry = Entry::change(&client.client_id, "token.revoke", token_id, Value::Null);
    Ok(identity.take_back(&[Revocable::Token(token_id)], entry, |_| Ok(())).await?)
}
