//! `POST /introspect` (RFC 7662): only for tokens that concern the client that asks; of others it learns nothing.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dte_base::time::Timestamp;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{caller, params};
use crate::Identity;
use crate::issuer::clients::Registration;
use crate::issuer::inspect::OwnToken;
use crate::issuer::refusal::{Refusal, private};

pub(super) async fn post(State(identity): State<Identity>, headers: HeaderMap, body: Bytes) -> Response {
    match introspect(&identity, &headers, &body).await {
        Ok(answer) => private(StatusCode::OK, &answer),
        Err(refusal) => refusal.into_response(),
    }
}

async fn introspect(identity: &Identity, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let params = params(body)?;
    let client = caller::authenticate_secret(identity, headers, &params).await?;
    let token = params.get("token").ok_or_else(|| Refusal::request("token is missing"))?;
    if let Ok(own) = identity.inspect(token) {
        return Ok(if concerns(&own, &client) { shown(own) } else { inactive() });
    }
    match identity.find_family(token).await? {
        Some((family, number)) if family.client_id == client.client_id => {
            let now = Timestamp::now();
            let good = !family.ended
                && family.expires > now
                && number == family.number
                && now.since(family.used) <= identity.0.issuing.config.refresh_idle.0
                && identity.counts(&family.granted.user, &family.client_id, family.created)
                && identity.is_welcome(&identity.user_ref(&family.granted.user));
            Ok(if good {
                json!({
                    "active": true, "token_type": "refresh_token", "client_id": family.client_id, "sub": family.granted.user,
                    "scope": family.granted.scopes.join(" "), "iat": family.created.as_seconds(),
                    "exp": family.expires.as_seconds(), "iss": identity.issuer(),
                })
            } else {
                inactive()
            })
        }
        _ => Ok(inactive()),
    }
}

fn inactive() -> Value {
    json!({"active": false})
}

/// Whether the client got the token itself, or is one that it is meant for.
fn concerns(own: &OwnToken, client: &Registration) -> bool {
    own.client_id() == client.client_id
        || own
            .audiences
            .iter()
            .any(|audience| *audience == client.client_id || client.metadata.audiences.contains(audience))
}

fn shown(own: OwnToken) -> Value {
    let mut answer = own.claims.into_map();
    answer.insert("active".to_owned(), true.into());
    answer.insert("token_type".to_owned(), "Bearer".into());
    answer.insert("username".to_owned(), own.principal.name().into());
    answer.into()
}
