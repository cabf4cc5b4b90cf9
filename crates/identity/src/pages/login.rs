//! Signing in with a name and a password, the second step, and signing out.

use axum::extract::State;
use axum::response::Response;
use dte_http::{Form, Query};
use http::{HeaderMap, StatusCode};
use maud::html;
use serde::Deserialize;

use super::door::{Browser, Peer, caller, door_form, foreign_form, own_path, see_other, signed_in, signed_out};
use super::form::{alert, failed, retry_after, token, told};
use super::frame::small;
use super::{signed_in_form, viewer};
use crate::Identity;
use crate::accounts::password;
use crate::accounts::sign_in::{BY_PASSWORD, Entered};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    next: String,
    #[serde(default)]
    name: String,
    password: dte_base::secret::Secret,
}

/// `GET /login`
pub(super) async fn show(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    form(&identity, &headers, &wanted.next, "", StatusCode::OK, None).await
}

async fn form(
    identity: &Identity,
    headers: &HeaderMap,
    next: &str,
    name: &str,
    status: StatusCode,
    words: Option<&str>,
) -> Response {
    let browser = Browser::of(identity, headers);
    let csrf = browser.token(identity);
    let next = own_path(next);
    let viewer = viewer(identity, headers).await;
    let content = html! {
        @if let Some(viewer) = &viewer {
            p { "You are signed in as " strong { (viewer.principal.name()) } ". " a href=(next) { "Go on" } ", or sign in as somebody else:" }
        }
        (alert(words))
        form method="post" action="/oidc/login" {
            (token(&csrf))
            input type="hidden" name="next" value=(next);
            label for="name" {
                "Name"
                input #name type="text" name="name" value=(name) autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="64" autofocus[name.is_empty()];
            }
            label for="password" {
                "Password"
                input #password type="password" name="password" autocomplete="current-password" required maxlength=(password::LONGEST) autofocus[!name.is_empty()];
            }
            button.primary { "Sign in" }
        }
        @let providers = &identity.0.accounts.providers;
        @if !providers.is_empty() {
            section.others aria-label="Other ways to sign in" {
                @for provider in providers {
                    form method="post" action={ "/oidc/login/with/" (provider.name) } {
                        (token(&csrf))
                        input type="hidden" name="next" value=(next);
                        button { "Sign in with " (provider.title) }
                    }
                }
            }
        }
        p.note { "No password yet, or forgotten? Whoever runs the engine can give you a link that signs you in once (" code { "dte ui" } " on its own machine)." }
    };
    browser.with(identity, small(status, "Sign in", None, &content))
}

/// `POST /login`
pub(super) async fn enter(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Form(sent): Form<Credentials>,
) -> Response {
    let Some(browser) = door_form(&identity, &headers, &sent.csrf) else { return foreign_form() };
    let caller = caller(&identity, &headers, &peer);
    let name = sent.name.trim();
    let next = own_path(&sent.next);
    let entered = match identity.try_password(name, sent.password.expose(), &caller).await {
        Ok(()) => identity.enter(name, BY_PASSWORD, next, &browser.secret, &caller).await,
        Err(error) => Err(error),
    };
    match entered {
        Ok(Entered::Session(secret)) => signed_in(&identity, see_other(next), name, secret.expose()),
        Ok(Entered::NeedsCode) => see_other("/oidc/login/code"),
        Err(error) => {
            let (status, words) = told(&error);
            retry_after(form(&identity, &headers, next, name, status, Some(&words)).await, &error)
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Code {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    code: String,
}

/// `GET /login/code`
pub(super) async fn ask_code(State(identity): State<Identity>, headers: HeaderMap) -> Response {
    let browser = Browser::of(&identity, &headers);
    match identity.half_way(&browser.secret).await {
        Ok(Some(_)) => code_form(&identity, &browser, StatusCode::OK, None),
        Ok(None) => see_other("/oidc/login"),
        Err(error) => failed(&error, None),
    }
}

fn code_form(identity: &Identity, browser: &Browser, status: StatusCode, words: Option<&str>) -> Response {
    let content = html! {
        (alert(words))
        form method="post" action="/oidc/login/code" {
            (token(&browser.token(identity)))
            label for="code" {
                "Code"
                span.hint { "of your authenticator, or one of your recovery codes" }
                input #code type="text" name="code" autocomplete="one-time-code" autocapitalize="none" spellcheck="false" required maxlength="32" autofocus;
            }
            button.primary { "Go on" }
        }
        p { a href="/oidc/login" { "Begin again" } }
    };
    small(status, "Second step", None, &content)
}

/// `POST /login/code`
pub(super) async fn enter_code(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Form(sent): Form<Code>,
) -> Response {
    let Some(browser) = door_form(&identity, &headers, &sent.csrf) else { return foreign_form() };
    let half = match identity.half_way(&browser.secret).await {
        Ok(Some(half)) => half,
        Ok(None) => return see_other("/oidc/login"),
        Err(error) => return failed(&error, None),
    };
    let caller = caller(&identity, &headers, &peer);
    match identity.finish_with_code(&half, &sent.code, &browser.secret, &caller).await {
        Ok(secret) => signed_in(&identity, see_other(own_path(&half.next)), &half.name, secret.expose()),
        Err(error) => {
            let (status, words) = told(&error);
            retry_after(code_form(&identity, &browser, status, Some(&words)), &error)
        }
    }
}

#[derive(Deserialize)]
pub(super) struct FormToken {
    #[serde(default)]
    csrf: String,
}

/// `POST /logout-session`
pub(super) async fn leave(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Form(sent): Form<FormToken>,
) -> Response {
    if viewer(&identity, &headers).await.is_some() {
        if let Err(refused) = signed_in_form(&identity, &headers, &sent.csrf).await {
            return refused;
        }
        if let Some(secret) = identity.session_secret(&headers)
            && let Err(error) = identity.end_session(&secret).await
        {
            return failed(&error.into(), None);
        }
    }
    signed_out(&identity, see_other("/oidc/login"))
}
