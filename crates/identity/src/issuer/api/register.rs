//! `/register`: programs register themselves and look after it (RFC 7591, RFC 7592). Nothing that they name is fetched here.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use crate::Identity;
use crate::issuer::clients::{Registered, Registration};
use crate::issuer::model::client::{AuthMethod, BadRegistration, Metadata};
use crate::issuer::refusal::{Refusal, private};

impl From<BadRegistration> for Refusal {
    fn from(bad: BadRegistration) -> Self {
        Refusal::new(bad.error, bad.detail)
    }
}

fn render(outcome: Result<(StatusCode, Value), Refusal>) -> Response {
    match outcome {
        Ok((status, body)) => private(status, &body),
        Err(refusal) => refusal.into_response(),
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(sent)) => Ok(sent),
        _ => Err(Refusal::new("invalid_client_metadata", "the body must be a JSON object")),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `POST /register`. With an administrator's token the client may also get grants in which no person takes part.
pub(super) async fn post(State(identity): State<Identity>, headers: HeaderMap, body: Bytes) -> Response {
    render(create(&identity, &headers, &body).await)
}

async fn create(identity: &Identity, headers: &HeaderMap, body: &[u8]) -> Result<(StatusCode, Value), Refusal> {
    let administrator = match bearer(headers) {
        None => None,
        Some(token) => {
            let principal = identity.verify(token).await.map_err(|_| unauthorised())?;
            principal.is_admin().then(|| principal.name().to_owned())
        }
    };
    if administrator.is_none() && !identity.0.issuing.config.registration {
        let refusal = Refusal::new("access_denied", "programs cannot register themselves here; ask an administrator");
        return Err(Refusal { status: StatusCode::FORBIDDEN, ..refusal });
    }
    let read = object(body).and_then(|sent| Ok(Metadata::read(&sent, administrator.is_some())?));
    if administrator.is_none() {
        note_attempt(identity, read.is_ok())?;
    }
    let metadata = read?;
    refuse_own_keys(identity, &metadata)?;
    let registered = identity.register(metadata, administrator.as_deref()).await?;
    Ok((StatusCode::CREATED, answer(identity, &registered)))
}

/// What cannot be registered is counted for itself, so that it does not keep out what can.
fn note_attempt(identity: &Identity, is_good: bool) -> Result<(), Refusal> {
    let limit = &identity.0.issuing.registrations;
    let kind = if is_good { "" } else { "refused" };
    if let Some(wait) = limit.is_reached(kind) {
        return Err(Refusal::too_many(wait));
    }
    limit.note(kind);
    Ok(())
}

/// Our own routes are reached without a socket, which no address that came from outside may do.
fn refuse_own_keys(identity: &Identity, metadata: &Metadata) -> Result<(), Refusal> {
    if metadata.jwks_uri.as_deref().is_some_and(|uri| identity.0.client.is_own(uri)) {
        return Err(Refusal::new(
            "invalid_client_metadata",
            "jwks_uri is an address of this engine, not of the client",
        ));
    }
    Ok(())
}

fn answer(identity: &Identity, registered: &Registered) -> Value {
    let mut shown = shown(identity, &registered.registration);
    shown["registration_access_token"] = registered.access_token.expose().into();
    if let Some(secret) = &registered.secret {
        shown["client_secret"] = secret.expose().into();
        shown["client_secret_expires_at"] = 0.into();
    }
    shown
}

fn shown(identity: &Identity, registration: &Registration) -> Value {
    let mut shown = Value::Object(registration.metadata.render());
    shown["client_id"] = registration.client_id.as_str().into();
    shown["client_id_issued_at"] = registration.created.as_seconds().into();
    shown["registration_client_uri"] = format!("{}/register/{}", identity.issuer(), registration.client_id).into();
    shown
}

fn unauthorised() -> Refusal {
    Refusal {
        status: StatusCode::UNAUTHORIZED,
        challenge: Some("Bearer realm=\"dte\", error=\"invalid_token\""),
        ..Refusal::new("invalid_token", "the registration access token is not the one of this client")
    }
}

/// The registration whose own token was shown. A wrong token and a client that is not there look alike.
async fn own(identity: &Identity, headers: &HeaderMap, client_id: &str) -> Result<Registration, Refusal> {
    let token = bearer(headers).ok_or_else(unauthorised)?;
    let client = identity.find_client(client_id).await?.ok_or_else(unauthorised)?;
    let hash = identity.0.vault.hash_secret(token);
    if bool::from(hash.ct_eq(&client.access_hash)) { Ok((*client).clone()) } else { Err(unauthorised()) }
}

pub(super) async fn get(
    State(identity): State<Identity>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
) -> Response {
    render(own(&identity, &headers, &client_id).await.map(|client| (StatusCode::OK, shown(&identity, &client))))
}

pub(super) async fn put(
    State(identity): State<Identity>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    render(replace(&identity, &client_id, &headers, &body).await)
}

async fn replace(
    identity: &Identity,
    client_id: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(StatusCode, Value), Refusal> {
    let client = own(identity, headers, client_id).await?;
    if client.registered_by.is_some() {
        let refusal = Refusal::new("access_denied", "an administrator registered this client and changes it");
        return Err(Refusal { status: StatusCode::FORBIDDEN, ..refusal });
    }
    let sent = object(body)?;
    let says = |name: &str| sent.get(name).and_then(Value::as_str);
    if says("client_id") != Some(client_id) {
        return Err(Refusal::request("client_id must be the one of this registration"));
    }
    let secret_fits = says("client_secret").is_none_or(|secret| {
        client.secret_hash.as_ref().is_some_and(|known| bool::from(identity.0.vault.hash_secret(secret).ct_eq(known)))
    });
    if !secret_fits {
        return Err(Refusal::new("invalid_client_metadata", "a client cannot choose its client_secret"));
    }
    let metadata = Metadata::read(&sent, false)?;
    refuse_own_keys(identity, &metadata)?;
    let kind = |metadata: &Metadata| {
        let method = metadata.token_endpoint_auth_method;
        (method.has_secret(), method == AuthMethod::None)
    };
    if kind(&client.metadata) != kind(&metadata) {
        let detail = "a client cannot gain or lose its secret; register another";
        return Err(Refusal::new("invalid_client_metadata", detail));
    }
    let changed = Registration { metadata, ..client };
    let shown = shown(identity, &changed);
    identity.change_registration(changed).await?;
    Ok((StatusCode::OK, shown))
}

pub(super) async fn delete(
    State(identity): State<Identity>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
) -> Response {
    match forget(&identity, &headers, &client_id).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn forget(identity: &Identity, headers: &HeaderMap, client_id: &str) -> Result<(), Refusal> {
    own(identity, headers, client_id).await?;
    Ok(identity.delete_client(client_id, client_id).await?)
}
