//! Signing in with a code from the command line, and signing out.

use axum::extract::State as Shared;
use axum::response::Response;
use dte_http::{Form, Query};
use http::header::{HeaderValue, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::State;
use super::reply::{Failure, comes_from_us, html, see_other};
use crate::page::door;

#[derive(Deserialize)]
pub struct Code {
    #[serde(default)]
    code: String,
}

/// Shows a button; only pressing it uses the code up.
pub async fn ask(Query(Code { code }): Query<Code>) -> Response {
    if code.is_empty() { html(StatusCode::OK, door::closed(None)) } else { html(StatusCode::OK, door::confirm(&code)) }
}

/// Uses the code and sets the cookie.
pub async fn begin(
    Shared(state): Shared<State>,
    headers: HeaderMap,
    Form(Code { code }): Form<Code>,
) -> Result<Response, Failure> {
    must_come_from_us(&state, &headers)?;
    let Some(secret) = state.identity.begin_session(&code).await.map_err(Failure::internal)? else {
        let reason = "This link has been used or is too old. Get a new one.";
        return Ok(html(StatusCode::FORBIDDEN, door::closed(Some(reason))));
    };
    with_cookie(&state, see_other("/ui"), &format!("{}={}", state.identity.session_cookie_name(), secret.expose()))
}

#[derive(Deserialize)]
pub struct FormToken {
    #[serde(default)]
    csrf: String,
}

/// Ends the session and takes the cookie away.
pub async fn end(
    Shared(state): Shared<State>,
    headers: HeaderMap,
    Form(FormToken { csrf }): Form<FormToken>,
) -> Result<Response, Failure> {
    must_come_from_us(&state, &headers)?;
    if let Some(secret) = state.identity.session_secret(&headers) {
        if csrf != state.identity.session_form_token(&secret) {
            return Err(Failure::forbidden("This form is not from this session."));
        }
        state.identity.end_session(&secret).await.map_err(Failure::internal)?;
    }
    with_cookie(&state, see_other("/ui/login"), &format!("{}=; Max-Age=0", state.identity.session_cookie_name()))
}

fn must_come_from_us(state: &State, headers: &HeaderMap) -> Result<(), Failure> {
    if comes_from_us(headers, state.client.public_url().as_str()) {
        return Ok(());
    }
    Err(Failure::forbidden("This form was not sent from a page of this engine."))
}

fn with_cookie(state: &State, mut response: Response, pair: &str) -> Result<Response, Failure> {
    let secure = if state.client.public_url().scheme() == "https" { "; Secure" } else { "" };
    let cookie = format!("{pair}; Path=/; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::from_str(&cookie).map_err(Failure::internal)?;
    value.set_sensitive(true);
    response.headers_mut().insert(SET_COOKIE, value);
    Ok(response)
}
