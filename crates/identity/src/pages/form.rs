//! Pieces of forms, and how failures are told.

use axum::response::Response;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};

use super::{Viewer, refusal, signed_in_form, to_login, viewer};
use crate::Identity;
use crate::accounts::{AccountError, password};

/// The hidden field that every form has.
pub(super) fn token(csrf: &str) -> Markup {
    html! { input type="hidden" name="csrf" value=(csrf); }
}

/// What went wrong, announced.
pub(super) fn alert(words: Option<&str>) -> Markup {
    html! { @if let Some(words) = words { p role="alert" { (words) } } }
}

/// What was done, announced.
pub(super) fn done(words: Option<&str>) -> Markup {
    html! { @if let Some(words) = words { p role="status" { (words) } } }
}

/// Asks somebody who is signed in for their password once more; `id` tells fields of one page apart.
pub(super) fn present_password(id: &str) -> Markup {
    html! {
        label for=(id) {
            "Present password"
            input #(id) type="password" name="current" autocomplete="current-password" required maxlength=(password::LONGEST);
        }
    }
}

pub(super) fn new_password(id: &str, name: &str, words: &str) -> Markup {
    html! {
        label for=(id) {
            (words)
            input #(id) type="password" name=(name) autocomplete="new-password" required minlength=(password::SHORTEST) maxlength=(password::LONGEST);
        }
    }
}

/// How a failure of an account is told: the status, and words for people. What is our own fault stands in the log.
pub(super) fn told(error: &AccountError) -> (StatusCode, String) {
    let status = match error {
        AccountError::Wrong | AccountError::WrongCode | AccountError::SecondFactor => StatusCode::FORBIDDEN,
        AccountError::Wait(_) => StatusCode::TOO_MANY_REQUESTS,
        AccountError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        AccountError::Rule(_) | AccountError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        AccountError::Identity(crate::Error::Store(dte_store::Error::Full)) => {
            tracing::error!(%error, "an account cannot be worked with");
            let words = "The engine's disk is full: nothing was changed. Try again later.";
            return (StatusCode::INSUFFICIENT_STORAGE, words.to_owned());
        }
        AccountError::Identity(crate::Error::Store(_) | crate::Error::Signing(_)) | AccountError::Internal(_) => {
            tracing::error!(%error, "an account cannot be worked with");
            return (
                StatusCode::INTERNAL_SERVER_ERROR,
                "The engine made a mistake; its log has it. Try again.".to_owned(),
            );
        }
        AccountError::Identity(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let words = error.to_string();
    let mut letters = words.chars();
    let sentence = letters.next().map(|first| format!("{}{}", first.to_uppercase(), letters.as_str()));
    let sentence = sentence.unwrap_or_default();
    (status, if sentence.ends_with('.') { sentence } else { format!("{sentence}.") })
}

/// Says when to come back, if it is that.
pub(super) fn retry_after(mut response: Response, error: &AccountError) -> Response {
    if let AccountError::Wait(wait) = error {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}

/// A page that cannot be shown.
pub(super) fn failed(error: &AccountError, viewer: Option<&Viewer>) -> Response {
    let (status, words) = told(error);
    retry_after(refusal(status, "That did not work", &words, viewer), error)
}

/// Who is signed in, or the way to the sign-in page, from where they come back to `path`.
pub(super) async fn must_be_in(identity: &Identity, headers: &HeaderMap, path: &str) -> Result<Viewer, Response> {
    viewer(identity, headers).await.ok_or_else(|| to_login(path))
}

/// The same for pages of administrators.
pub(super) async fn must_be_admin(identity: &Identity, headers: &HeaderMap, path: &str) -> Result<Viewer, Response> {
    let viewer = must_be_in(identity, headers, path).await?;
    if viewer.principal.is_admin() { Ok(viewer) } else { Err(for_administrators(&viewer)) }
}

/// The administrator who sent a form.
pub(super) async fn admin_form(identity: &Identity, headers: &HeaderMap, csrf: &str) -> Result<Viewer, Response> {
    let viewer = signed_in_form(identity, headers, csrf).await?;
    if viewer.principal.is_admin() { Ok(viewer) } else { Err(for_administrators(&viewer)) }
}

fn for_administrators(viewer: &Viewer) -> Response {
    refusal(StatusCode::FORBIDDEN, "Not allowed", "This page is for administrators.", Some(viewer))
}
