//! Bans: who is kept out at once, and lifting that.

use axum::extract::{Path, State};
use axum::response::Response;
use dte_http::{Form, Query};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::admin::tabs;
use super::door::see_other;
use super::form::{admin_form, alert, done, failed, must_be_admin, token, told};
use super::{Viewer, page};
use crate::Identity;
use crate::accounts::AccountError;
use crate::directory::{Ban, NewBan, Suspect};

/// Lifted bans that are shown.
const LIFTED: usize = 50;
/// Longer texts are nobody's.
const LONGEST: usize = 1_024;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    done: String,
}

/// `GET /admin/bans`
pub(super) async fn list(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    match must_be_admin(&identity, &headers, "/oidc/admin/bans").await {
        Ok(viewer) => draw(&identity, &viewer, &wanted.done, StatusCode::OK, None).await,
        Err(elsewhere) => elsewhere,
    }
}

async fn draw(identity: &Identity, viewer: &Viewer, word: &str, status: StatusCode, wrong: Option<&str>) -> Response {
    let bans = match identity.bans(true).await {
        Ok(bans) => bans,
        Err(error) => return failed(&error.into(), Some(viewer)),
    };
    let words = match word {
        "banned" => Some("The ban is in force."),
        "lifted" => Some("The ban is lifted."),
        _ => None,
    };
    let in_force: Vec<&Ban> = bans.iter().rev().filter(|ban| ban.lifted.is_none()).collect();
    let lifted: Vec<&Ban> = bans.iter().rev().filter(|ban| ban.lifted.is_some()).take(LIFTED).collect();
    let content = html! {
        (tabs("bans")) (alert(wrong)) (done(words))
        section.card aria-labelledby="force-h" {
            h2 #force-h { "In force" }
            @if in_force.is_empty() { p.soft { "Nobody is banned." } } @else { (table(viewer, &in_force)) }
        }
        (add_form(viewer))
        @if !lifted.is_empty() {
            section.card aria-labelledby="lifted-h" { h2 #lifted-h { "Lifted" } (table(viewer, &lifted)) }
        }
    };
    page(status, "Bans", Some(viewer), &content)
}

fn who(ban: &NewBan) -> Vec<(&'static str, &str)> {
    let parts = [
        ("subject", &ban.subject),
        ("issuer", &ban.issuer),
        ("client", &ban.client_id),
        ("organisation", &ban.vo),
        ("group", &ban.group),
        ("token", &ban.token_id),
    ];
    parts.into_iter().filter_map(|(name, part)| part.as_deref().map(|part| (name, part))).collect()
}

fn table(viewer: &Viewer, bans: &[&Ban]) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Who" } th scope="col" { "Reason" } th scope="col" { "Since" } th scope="col" { "By" } th scope="col" { } } }
            tbody {
                @for ban in bans {
                    tr {
                        td.long { @for (name, part) in who(&ban.who) { (name) " " strong { (part) } br; } }
                        td.long { (ban.who.reason) }
                        td { (ban.created.day()) }
                        td { (ban.created_by) }
                        td {
                            @if let Some(lifted) = ban.lifted { (lifted.day()) " by " (ban.lifted_by.as_deref().unwrap_or("?")) }
                            @else {
                                form method="post" action={ "/oidc/admin/bans/" (ban.id) "/lift" } {
                                    (token(&viewer.csrf))
                                    button aria-label={ "Lift the ban of " (who(&ban.who).first().map_or("?", |(_, part)| part)) } { "Lift" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn add_form(viewer: &Viewer) -> Markup {
    let fields = [
        ("subject", "Subject", "the name of an account here, or what another issuer calls somebody"),
        ("issuer", "Issuer", "empty: whatever issuer"),
        ("client_id", "Client", ""),
        ("vo", "Organisation", ""),
        ("group", "Group", "/vo/group, here or at another issuer, with all beneath it"),
    ];
    html! {
        section.card aria-labelledby="ban-h" {
            h2 #ban-h { "Ban" }
            p.note { "A ban hits everybody who has all that is named. It acts at once: sessions, tokens, and work in their name stop." }
            form method="post" action="/oidc/admin/bans" {
                (token(&viewer.csrf))
                @for (name, words, hint) in fields {
                    label for={ "ban-" (name) } {
                        (words)
                        @if !hint.is_empty() { span.hint { (hint) } }
                        input id={ "ban-" (name) } type="text" name=(name) autocomplete="off" autocapitalize="none" spellcheck="false" maxlength=(LONGEST);
                    }
                }
                label for="ban-reason" { "Reason" input #ban-reason type="text" name="reason" autocomplete="off" required maxlength=(LONGEST); }
                button.danger { "Ban" }
            }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sent {
    csrf: String,
    subject: String,
    issuer: String,
    client_id: String,
    vo: String,
    group: String,
    reason: String,
}

impl Sent {
    fn ban(&self) -> NewBan {
        let part = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        NewBan {
            subject: part(&self.subject),
            issuer: part(&self.issuer),
            client_id: part(&self.client_id),
            vo: part(&self.vo),
            group: part(&self.group),
            token_id: None,
            reason: self.reason.trim().to_owned(),
        }
    }

    /// Too long, or with signs that no text has.
    fn is_no_text(&self) -> bool {
        [&self.subject, &self.issuer, &self.client_id, &self.vo, &self.group, &self.reason]
            .iter()
            .any(|text| text.len() > LONGEST || text.chars().any(char::is_control))
    }
}

/// `POST /admin/bans`
pub(super) async fn add(State(identity): State<Identity>, headers: HeaderMap, Form(sent): Form<Sent>) -> Response {
    let viewer = match admin_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    match ban(&identity, &viewer, &sent).await {
        Ok(()) => see_other("/oidc/admin/bans?done=banned"),
        Err(error) => {
            let (status, words) = told(&error);
            draw(&identity, &viewer, "", status, Some(&words)).await
        }
    }
}

async fn ban(identity: &Identity, viewer: &Viewer, sent: &Sent) -> Result<(), AccountError> {
    if sent.is_no_text() {
        return Err(AccountError::refused("one of the texts is too long or has control characters"));
    }
    let ban = sent.ban();
    if ban.reason.is_empty() {
        return Err(AccountError::refused("a ban needs a reason"));
    }
    let own = Suspect {
        issuer: identity.issuer(),
        subject: viewer.principal.name(),
        client_id: None,
        vo: None,
        token_id: None,
    };
    if ban.names_somebody() && ban.hits(&own, &identity.known_groups(&own, &[])) {
        return Err(AccountError::refused("this ban would hit yourself"));
    }
    identity.ban(ban, viewer.principal.name()).await?;
    Ok(())
}

#[derive(Deserialize)]
pub(super) struct FormToken {
    #[serde(default)]
    csrf: String,
}

/// `POST /admin/bans/{id}/lift`
pub(super) async fn lift(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Form(sent): Form<FormToken>,
) -> Response {
    let viewer = match admin_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    match identity.lift_ban(&id, viewer.principal.name()).await {
        Ok(()) => see_other("/oidc/admin/bans?done=lifted"),
        Err(error) => {
            let (status, words) = told(&error.into());
            draw(&identity, &viewer, "", status, Some(&words)).await
        }
    }
}
