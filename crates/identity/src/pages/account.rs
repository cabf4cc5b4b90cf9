//! One's own account: password, second factor, identities elsewhere, programs, sessions.

use axum::extract::State;
use axum::response::Response;
use dte_base::secret::Secret;
use dte_http::{Form, Query};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::door::{Peer, caller, see_other};
use super::form::{alert, done, failed, must_be_in, new_password, present_password, retry_after, token, told};
use super::{Viewer, erase, page, programs, signed_in_form};
use crate::Identity;
use crate::accounts::second::Factor;
use crate::accounts::sessions::OwnSession;
use crate::accounts::{AccountError, password};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    done: String,
}

fn done_words(done: &str) -> Option<&'static str> {
    match done {
        "password" => Some("Your password is changed. Your other sessions are over."),
        "linked" => Some("The identity is linked to your account."),
        "unlinked" => Some("The identity is not linked to your account any more."),
        "program" => Some("The program may not act for you any more."),
        "ended" => Some("The session is over."),
        "factor-off" => Some("The second factor is off."),
        _ => None,
    }
}

/// `GET /account`
pub(super) async fn show(State(identity): State<Identity>, headers: HeaderMap, Query(shown): Query<Shown>) -> Response {
    let viewer = match must_be_in(&identity, &headers, "/oidc/account").await {
        Ok(viewer) => viewer,
        Err(elsewhere) => return elsewhere,
    };
    draw(&identity, &headers, &viewer, StatusCode::OK, None, done_words(&shown.done)).await
}

async fn draw(
    identity: &Identity,
    headers: &HeaderMap,
    viewer: &Viewer,
    status: StatusCode,
    wrong: Option<&str>,
    good: Option<&str>,
) -> Response {
    match content(identity, headers, viewer).await {
        Ok(content) => {
            let whole = html! { (alert(wrong)) (done(good)) (content) };
            page(status, "Your account", Some(viewer), &whole)
        }
        Err(error) => failed(&error, Some(viewer)),
    }
}

async fn content(identity: &Identity, headers: &HeaderMap, viewer: &Viewer) -> Result<Markup, AccountError> {
    let name = viewer.principal.name();
    let has_password = identity.has_password(name).await?;
    let factor = identity.second_factor(name).await?;
    let secret = identity.session_secret(headers);
    let sessions = identity.sessions_of(name, secret.as_deref()).await?;
    let asks = identity.asks_password(name, secret.as_deref()).await?;
    let programs = identity.programs_of(name).await?;
    Ok(html! {
        p.soft { "You are " strong { (name) } @if viewer.principal.is_admin() { ", an administrator" } "." }
        (password_card(viewer, has_password, asks))
        (factor_card(viewer, factor, asks))
        (identities_card(identity, viewer, asks))
        (programs::card(viewer, &programs))
        (sessions_card(viewer, &sessions))
        (erase::card(viewer, asks))
    })
}

fn password_card(viewer: &Viewer, has_password: bool, asks: bool) -> Markup {
    html! {
        section.card aria-labelledby="password-h" {
            h2 #password-h { "Password" }
            form method="post" action="/oidc/account/password" {
                (token(&viewer.csrf))
                input type="hidden" name="username" value=(viewer.principal.name()) autocomplete="username";
                @if asks { (present_password("password-current")) }
                @else if has_password { p { "You came with a link, so your present password is not asked for." } }
                @else { p { "You have no password yet." } }
                (new_password("password-new", "new", "New password"))
                (new_password("password-again", "again", "New password once more"))
                p.note { "At least " (password::SHORTEST) " characters; a few words are better than a few signs. Your other sessions end." }
                button { @if has_password { "Change password" } @else { "Set password" } }
            }
        }
    }
}

fn factor_card(viewer: &Viewer, factor: Factor, asks: bool) -> Markup {
    html! {
        section.card aria-labelledby="factor-h" {
            h2 #factor-h { "Second factor" }
            @match factor {
                Factor::On { recovery_codes } => {
                    p { span.pill.good { "on" } " Signing in takes a code of your authenticator. Recovery codes left: " (recovery_codes) "." }
                    form method="post" action="/oidc/account/second-factor/remove" {
                        (token(&viewer.csrf))
                        @if asks { (present_password("factor-current")) }
                        button.danger { "Turn off" }
                    }
                }
                Factor::None | Factor::Offered => {
                    p { span.pill { "off" } " With an authenticator on your telephone, a stolen password is of no use." }
                    form method="post" action="/oidc/account/second-factor" {
                        (token(&viewer.csrf))
                        @if asks { (present_password("factor-current")) }
                        button { "Set up an authenticator" }
                    }
                }
            }
        }
    }
}

fn identities_card(identity: &Identity, viewer: &Viewer, asks: bool) -> Markup {
    let providers = &identity.0.accounts.providers;
    let links = identity.links_of(viewer.principal.name());
    html! {
        @if !providers.is_empty() || !links.is_empty() {
            section.card aria-labelledby="identities-h" {
                h2 #identities-h { "Identities elsewhere" }
                @if links.is_empty() { p.soft { "None is linked." } }
                @else {
                    table {
                        thead { tr { th scope="col" { "Known as" } th scope="col" { "Issuer" } th scope="col" { "Since" } th scope="col" { } } }
                        tbody {
                            @for link in &links {
                                tr {
                                    td.long { (link.shown) }
                                    td.long { (link.issuer) }
                                    td { (link.made.day()) }
                                    td {
                                        form method="post" action="/oidc/account/unlink" {
                                            (token(&viewer.csrf))
                                            input type="hidden" name="issuer" value=(link.issuer);
                                            input type="hidden" name="subject" value=(link.subject);
                                            button aria-label={ "Unlink " (link.shown) } { "Unlink" }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                @if !providers.is_empty() {
                    form method="post" action="/oidc/account/link" {
                        (token(&viewer.csrf))
                        label for="link-provider" {
                            "Link an identity of"
                            select #link-provider name="provider" {
                                @for provider in providers { option value=(provider.name) { (provider.title) } }
                            }
                        }
                        @if asks { (present_password("link-current")) }
                        button { "Link" }
                    }
                }
            }
        }
    }
}

fn sessions_card(viewer: &Viewer, sessions: &[OwnSession]) -> Markup {
    html! {
        section.card aria-labelledby="sessions-h" {
            h2 #sessions-h { "Sessions" }
            table {
                thead { tr { th scope="col" { "Begun" } th scope="col" { "Last used" } th scope="col" { "By" } th scope="col" { "Browser" } th scope="col" { } } }
                tbody {
                    @for session in sessions {
                        tr {
                            td { (minute(session.begun)) }
                            td { (minute(session.used)) }
                            td { (session.way) }
                            td.long { (session.agent) }
                            td {
                                @if session.is_this { span.pill.good { "this one" } }
                                @else { (end_form(viewer, &session.id, "End", &format!("End the session of {}", minute(session.begun)))) }
                            }
                        }
                    }
                }
            }
            @if sessions.len() > 1 { (end_form(viewer, OTHERS, "End all others", "End all other sessions")) }
        }
    }
}

fn end_form(viewer: &Viewer, id: &str, words: &str, label: &str) -> Markup {
    html! {
        form method="post" action="/oidc/account/sessions/end" {
            (token(&viewer.csrf))
            input type="hidden" name="id" value=(id);
            button aria-label=(label) { (words) }
        }
    }
}

pub(super) fn minute(at: dte_base::time::Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M UTC")
}

/// In place of a session's id.
const OTHERS: &str = "others";

#[derive(Deserialize)]
pub(super) struct NewPassword {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    current: String,
    new: Secret,
    again: Secret,
}

/// `POST /account/password`
pub(super) async fn set_password(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Form(sent): Form<NewPassword>,
) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let change = async {
        if sent.new != sent.again {
            return Err(AccountError::refused("the new password is not the same both times"));
        }
        let caller = caller(&identity, &headers, &peer);
        identity.confirm_password(&viewer.principal, &sent.current, &caller).await?;
        let name = viewer.principal.name();
        identity.set_password(name, sent.new.expose(), caller.session.as_deref(), name).await
    };
    match change.await {
        Ok(()) => see_other("/oidc/account?done=password"),
        Err(error) => told_on_page(&identity, &headers, &viewer, &error).await,
    }
}

pub(super) async fn told_on_page(
    identity: &Identity,
    headers: &HeaderMap,
    viewer: &Viewer,
    error: &AccountError,
) -> Response {
    let (status, words) = told(error);
    retry_after(draw(identity, headers, viewer, status, Some(&words), None).await, error)
}

#[derive(Deserialize)]
pub(super) struct Unlink {
    #[serde(default)]
    csrf: String,
    issuer: String,
    subject: String,
}

/// `POST /account/unlink`
pub(super) async fn unlink(State(identity): State<Identity>, headers: HeaderMap, Form(sent): Form<Unlink>) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let name = viewer.principal.name();
    match identity.unlink(name, &sent.issuer, &sent.subject, name).await {
        Ok(()) => see_other("/oidc/account?done=unlinked"),
        Err(error) => told_on_page(&identity, &headers, &viewer, &error).await,
    }
}

#[derive(Deserialize)]
pub(super) struct EndSession {
    #[serde(default)]
    csrf: String,
    id: String,
}

/// `POST /account/sessions/end`
pub(super) async fn end_session(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Form(sent): Form<EndSession>,
) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let name = viewer.principal.name();
    let ended = if sent.id == OTHERS {
        let this = identity.session_secret(&headers);
        identity.end_other_sessions(name, this.as_deref(), name).await.map(drop)
    } else {
        identity.end_session_of(name, &sent.id, name).await.map(drop)
    };
    match ended {
        Ok(()) => see_other("/oidc/account?done=ended"),
        Err(error) => told_on_page(&identity, &headers, &viewer, &error).await,
    }
}
