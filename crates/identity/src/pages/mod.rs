//! Pages that identity serves itself: signing in, consent, accounts. Whole without JavaScript, usable by keyboard.
//!
//! Every form carries the session's form token, and is taken from pages of ours only ([`signed_in_form`]). Who is not
//! signed in yet has a cookie for the sign-in form alone ([`door`]).

mod account;
mod admin;
mod assets;
mod bans;
mod door;
mod erase;
mod form;
mod frame;
mod leaving;
mod login;
mod people;
mod programs;
mod provider;
mod registrations;
mod second;

pub(crate) use door::own_path;
pub(crate) use frame::{page, refusal};
pub(crate) use leaving::leaving;
pub(crate) use people::people;

use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Identity;
use crate::model::principal::Principal;

/// Who looks at a page.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) principal: Principal,
    /// To be sent back with every form.
    pub(crate) csrf: String,
}

/// Whose browser this is; nothing when nobody is signed in.
pub(crate) async fn viewer(identity: &Identity, headers: &HeaderMap) -> Option<Viewer> {
    let secret = identity.session_secret(headers)?;
    match identity.session(&secret).await {
        Ok(principal) => principal.map(|principal| Viewer { principal, csrf: identity.session_form_token(&secret) }),
        Err(error) => {
            tracing::error!(%error, "a session cannot be read");
            None
        }
    }
}

/// To the page where people sign in; they come back to `next` (a path of ours with its query).
pub(crate) fn to_login(next: &str) -> Response {
    Redirect::to(&format!("/oidc/login?next={}", utf8_percent_encode(next, NON_ALPHANUMERIC))).into_response()
}

/// Who sent this form, or the page that says why it is not taken.
pub(crate) async fn signed_in_form(identity: &Identity, headers: &HeaderMap, csrf: &str) -> Result<Viewer, Response> {
    let Some(viewer) = viewer(identity, headers).await else {
        return Err(refusal(StatusCode::FORBIDDEN, "Sign in", "Your session is over. Sign in and try again.", None));
    };
    if !door::is_from_us(headers, identity.0.client.public_url().as_str()) {
        let detail = "This form was not sent from a page of this engine.";
        return Err(refusal(StatusCode::FORBIDDEN, "Not accepted", detail, Some(&viewer)));
    }
    if !bool::from(subtle::ConstantTimeEq::ct_eq(viewer.csrf.as_bytes(), csrf.as_bytes())) {
        let detail = "This form is not from this session. Go back, reload the page and try again.";
        return Err(refusal(StatusCode::FORBIDDEN, "Not accepted", detail, Some(&viewer)));
    }
    Ok(viewer)
}
