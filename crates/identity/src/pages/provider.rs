//! Signing in through another provider, and linking an identity there to one's own account.

use axum::extract::{Path, State};
use axum::response::Response;
use dte_http::{Form, Query};
use http::{HeaderMap, StatusCode};
use maud::html;
use serde::Deserialize;

use super::door::{Browser, Peer, caller, door_form, foreign_form, own_path, see_other, signed_in};
use super::form::failed;
use super::frame::small;
use super::{refusal, signed_in_form, viewer};
use crate::Identity;
use crate::accounts::AccountError;
use crate::accounts::provider::{Person, Provider};
use crate::accounts::registration::Asked;
use crate::accounts::sign_in::Entered;
use crate::accounts::upstream::{Answer, Purpose};
use crate::config::Register;

fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "Not found", "There is no such provider.", None)
}

#[derive(Deserialize)]
pub(super) struct Begin {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    next: String,
}

/// `POST /login/with/{provider}`
pub(super) async fn begin(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Path(name): Path<String>,
    Form(sent): Form<Begin>,
) -> Response {
    let Some(provider) = identity.login_provider(&name) else { return unknown() };
    let Some(browser) = door_form(&identity, &headers, &sent.csrf) else { return foreign_form() };
    let purpose = Purpose::SignIn { next: own_path(&sent.next).to_owned() };
    let caller = caller(&identity, &headers, &peer);
    match identity.begin_login(provider, purpose, &browser.secret, &caller).await {
        Ok(there) => see_other(&there),
        Err(error) => failed(&error, None),
    }
}

#[derive(Deserialize)]
pub(super) struct LinkForm {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    current: String,
}

/// `POST /account/link`
pub(super) async fn begin_link(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Form(sent): Form<LinkForm>,
) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let Some(provider) = identity.login_provider(&sent.provider) else { return unknown() };
    let caller = caller(&identity, &headers, &peer);
    let browser = Browser::of(&identity, &headers);
    let purpose = Purpose::Link { name: viewer.principal.name().to_owned() };
    let begun = match identity.confirm_password(&viewer.principal, &sent.current, &caller).await {
        Ok(()) => identity.begin_login(provider, purpose, &browser.secret, &caller).await,
        Err(error) => Err(error),
    };
    match begun {
        Ok(there) => browser.with(&identity, see_other(&there)),
        Err(error) => failed(&error, Some(&viewer)),
    }
}

/// `GET /login/callback/{provider}`
pub(super) async fn callback(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Path(name): Path<String>,
    Query(answer): Query<Answer>,
) -> Response {
    let Some(provider) = identity.login_provider(&name) else { return unknown() };
    let browser = Browser::known(&identity, &headers);
    let returned = match identity.finish_login(provider, &answer, browser.as_deref()).await {
        Ok(returned) => returned,
        Err(error) => return failed(&error, viewer(&identity, &headers).await.as_ref()),
    };
    match returned.purpose {
        Purpose::Link { name } => link(&identity, &headers, provider, &returned.person, &name).await,
        Purpose::SignIn { next } => {
            let browser = browser.unwrap_or_default();
            sign_in(&identity, &headers, &peer, provider, &returned.person, &next, &browser).await
        }
    }
}

async fn link(identity: &Identity, headers: &HeaderMap, provider: &Provider, person: &Person, name: &str) -> Response {
    let viewer = viewer(identity, headers).await;
    let Some(viewer) = viewer.filter(|viewer| viewer.principal.name() == name) else {
        let words = "You are not signed in any more as the one who began to link this identity.";
        return refusal(StatusCode::FORBIDDEN, "Not linked", words, None);
    };
    match identity.link(name, provider, person).await {
        Ok(()) => see_other("/oidc/account?done=linked"),
        Err(error) => failed(&error, Some(&viewer)),
    }
}

async fn sign_in(
    identity: &Identity,
    headers: &HeaderMap,
    peer: &Peer,
    provider: &Provider,
    person: &Person,
    next: &str,
    browser: &str,
) -> Response {
    let name = match account_for(identity, provider, person).await {
        Ok(Ok(name)) => name,
        Ok(Err(answer)) => return answer,
        Err(error) => return failed(&error, None),
    };
    let caller = caller(identity, headers, peer);
    match identity.enter(&name, &provider.title, next, browser, &caller).await {
        Ok(Entered::Session(secret)) => signed_in(identity, see_other(own_path(next)), &name, secret.expose()),
        Ok(Entered::NeedsCode) => see_other("/oidc/login/code"),
        Err(error) => failed(&error, None),
    }
}

/// The account of somebody whom a provider knows, or the page that says why there is none.
async fn account_for(
    identity: &Identity,
    provider: &Provider,
    person: &Person,
) -> Result<Result<String, Response>, AccountError> {
    let suspended = || refusal(StatusCode::FORBIDDEN, "Suspended", "This identity may not sign in here.", None);
    if identity.is_banned_elsewhere(&provider.issuer, &person.subject) {
        return Ok(Err(suspended()));
    }
    if let Some(name) = identity.linked_account(&provider.issuer, &person.subject) {
        let is_welcome = identity.is_welcome(&identity.user_ref(&name));
        return Ok(if is_welcome { Ok(name) } else { Err(suspended()) });
    }
    match provider.register {
        Register::Automatic => Ok(Ok(identity.register_now(provider, person).await?)),
        Register::Closed => {
            let words = "No account here belongs to this identity.";
            Ok(Err(refusal(StatusCode::FORBIDDEN, "No account", words, None)))
        }
        Register::Approval => Ok(Err(match identity.ask_for_account(provider, person).await? {
            Asked::Waits => small(
                StatusCode::OK,
                "Almost there",
                None,
                &html! {
                    p role="status" { "You are known to " (provider.title) " as " strong { (person.shown) } "." }
                    p { "There is no account here for you yet. An administrator has been asked for one; sign in again when they have decided." }
                },
            ),
            Asked::Rejected => {
                let words = "An administrator has decided that you get no account here.";
                refusal(StatusCode::FORBIDDEN, "No account", words, None)
            }
        })),
    }
}
