//! `GET|POST /logout` (OpenID Connect RP-Initiated Logout): ends the browser's session, and goes where the client registered.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{HeaderValue, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use maud::html;

use super::{params, see_other};
use crate::Identity;
use crate::issuer::model::params::Params;
use crate::issuer::model::redirect;
use crate::model::token;
use crate::pages::{self, Viewer};

const TITLE: &str = "Sign out";

pub(super) async fn get(State(identity): State<Identity>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    begin(&identity, &headers, query.unwrap_or_default().as_bytes(), false).await
}

pub(super) async fn post(State(identity): State<Identity>, headers: HeaderMap, body: Bytes) -> Response {
    begin(&identity, &headers, &body, true).await
}

async fn begin(identity: &Identity, headers: &HeaderMap, text: &[u8], posted: bool) -> Response {
    let Ok(params) = params(text) else {
        return pages::refusal(StatusCode::BAD_REQUEST, TITLE, "The parameters cannot be read.", None);
    };
    let hint = params.get("id_token_hint").and_then(|hint| read_hint(identity, hint));
    let back = match go_back(identity, &params, hint.as_ref()).await {
        Ok(back) => back,
        Err(detail) => return pages::refusal(StatusCode::BAD_REQUEST, TITLE, detail, None),
    };
    let Some(viewer) = pages::viewer(identity, headers).await else {
        return done(identity, None, back);
    };
    let is_hinted = hint.as_ref().is_some_and(|hint| hint.subject == viewer.principal.name());
    let is_ours = match params.get("csrf") {
        Some(csrf) if posted => pages::signed_in_form(identity, headers, csrf).await.map(|_| true),
        _ => Ok(false),
    };
    match is_ours {
        Err(response) => response,
        // An ID token of this very person proves that the client is one of theirs; otherwise the person is asked.
        Ok(agreed) if agreed || is_hinted => {
            if let Some(secret) = identity.session_secret(headers)
                && let Err(error) = identity.end_session(&secret).await
            {
                tracing::error!(%error, "a session cannot be ended");
                let detail = "The engine cannot sign you out now. Try again.";
                return pages::refusal(StatusCode::INTERNAL_SERVER_ERROR, TITLE, detail, Some(&viewer));
            }
            done(identity, Some(()), back)
        }
        Ok(_) => question(&viewer, &params),
    }
}

/// Where to go when the person is signed out.
struct Back {
    place: String,
    /// The program, if the person is to see the address first.
    shown: Option<String>,
}

struct Hint {
    subject: String,
    client_id: String,
}

/// An ID token of ours, also one that has expired.
fn read_hint(identity: &Identity, text: &str) -> Option<Hint> {
    let token = token::parse(text).ok()?;
    if token.claims.text("iss").ok()?? != identity.issuer() {
        return None;
    }
    let keys = identity.0.keys.read().clone();
    keys.public(&token.key_id)?.verify(token.algorithm, token.message, token.signature).ok()?;
    token.claims.get("at_hash")?;
    let claim = |name: &'static str| token.claims.text(name).ok().flatten().map(str::to_owned);
    Some(Hint { subject: claim("sub")?, client_id: claim("aud")? })
}

/// Where to go afterwards: only an address that the client registered, letter by letter.
async fn go_back(identity: &Identity, params: &Params, hint: Option<&Hint>) -> Result<Option<Back>, &'static str> {
    let Some(wanted) = params.get("post_logout_redirect_uri") else { return Ok(None) };
    let client_id = match (hint, params.get("client_id")) {
        (Some(hint), Some(named)) if hint.client_id != named => return Err("The ID token is of another program."),
        (Some(hint), _) => hint.client_id.as_str(),
        (None, Some(named)) => named,
        (None, None) => return Err("It does not say which program asks."),
    };
    let unknown = "The address to go to is not one that the program registered.";
    let client = identity.find_client(client_id).await.ok().flatten().ok_or(unknown)?;
    if !client.metadata.post_logout_redirect_uris.iter().any(|uri| uri == wanted) {
        return Err(unknown);
    }
    let shown = redirect::must_be_shown(client.registered_by.is_some(), wanted).then(|| client.title().to_owned());
    let state: Vec<(&str, &str)> = params.get("state").map(|state| ("state", state)).into_iter().collect();
    let place = if state.is_empty() { wanted.to_owned() } else { redirect::with_answer(wanted, &state) };
    Ok(Some(Back { place, shown }))
}

fn question(viewer: &Viewer, params: &Params) -> Response {
    let content = html! {
        p { "You are signed in as " strong { (viewer.principal.name()) } "." }
        form method="post" action="/oidc/logout" {
            input type="hidden" name="csrf" value=(viewer.csrf);
            @for name in ["client_id", "post_logout_redirect_uri", "state", "id_token_hint"] {
                @if let Some(value) = params.get(name) { input type="hidden" name=(name) value=(value); }
            }
            p { button type="submit" { "Sign out" } }
        }
    };
    pages::page(StatusCode::OK, TITLE, Some(viewer), &content)
}

fn done(identity: &Identity, ended: Option<()>, back: Option<Back>) -> Response {
    let mut response = match back {
        Some(Back { place, shown: None }) => see_other(&place),
        Some(Back { place, shown: Some(program) }) => {
            pages::leaving(StatusCode::OK, "Signed out", "You are signed out.", &program, &place)
        }
        None => pages::page(StatusCode::OK, "Signed out", None, &html! { p role="status" { "You are signed out." } }),
    };
    let name = identity.session_cookie_name();
    let gone = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    if ended.is_some()
        && let Ok(value) = HeaderValue::from_str(&gone)
    {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}
