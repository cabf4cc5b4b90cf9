//! `GET|POST /userinfo` (OpenID Connect Core section 5.3): what a token's scopes tell about its person.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use super::params;
use crate::Identity;
use crate::issuer::model::scope::OPENID;
use crate::issuer::refusal::{Refusal, private};
use crate::model::principal::Standing;

pub(super) async fn get(State(identity): State<Identity>, headers: HeaderMap) -> Response {
    respond(&identity, bearer(&headers))
}

/// The token may also be in the form (RFC 6750 section 2.2), never in the address.
pub(super) async fn post(State(identity): State<Identity>, headers: HeaderMap, body: Bytes) -> Response {
    let sent = params(&body).ok().and_then(|params| params.get("access_token").map(str::to_owned));
    respond(&identity, bearer(&headers).or(sent))
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn respond(identity: &Identity, token: Option<String>) -> Response {
    let unauthorised = |detail: &str| Refusal {
        status: StatusCode::UNAUTHORIZED,
        challenge: Some("Bearer realm=\"dte\", error=\"invalid_token\""),
        ..Refusal::new("invalid_token", detail)
    };
    let Some(token) = token else {
        return Refusal { challenge: Some("Bearer realm=\"dte\""), ..unauthorised("a token is needed") }
            .into_response();
    };
    let own = match identity.inspect(&token) {
        Ok(own) => own,
        Err(reject) => return unauthorised(&reject.to_string()).into_response(),
    };
    let scopes = own.scopes();
    let all_rights = own.client_id() == "dte";
    if !all_rights && !scopes.iter().any(|scope| scope == OPENID) {
        let refusal = Refusal {
            status: StatusCode::FORBIDDEN,
            challenge: Some("Bearer realm=\"dte\", error=\"insufficient_scope\", scope=\"openid\""),
            ..Refusal::new("insufficient_scope", "the token lacks the scope openid")
        };
        return refusal.into_response();
    }
    let mut claims = match own.principal.standing {
        Standing::Client => serde_json::Map::new(),
        Standing::User { .. } | Standing::Guest | Standing::Named => {
            identity.person_claims(&own.principal.subject, scopes)
        }
    };
    claims.insert("sub".to_owned(), own.principal.subject.as_str().into());
    private(StatusCode::OK, &claims.into())
}
