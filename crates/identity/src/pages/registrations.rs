//! People who ask for an account: approve or reject.

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
use crate::accounts::store::people::{Decision, Registration};

/// Requests on one page.
const PAGE: i64 = 50;
/// Rejected ones that are shown.
const REJECTED: i64 = 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    before: String,
    done: String,
}

/// `GET /admin/registrations`
pub(super) async fn list(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    match must_be_admin(&identity, &headers, "/oidc/admin/registrations").await {
        Ok(viewer) => draw(&identity, &viewer, &wanted, StatusCode::OK, None).await,
        Err(elsewhere) => elsewhere,
    }
}

async fn draw(
    identity: &Identity,
    viewer: &Viewer,
    wanted: &Wanted,
    status: StatusCode,
    wrong: Option<&str>,
) -> Response {
    let words = match wanted.done.as_str() {
        "approved" => Some("The account is there."),
        "rejected" => Some("The request is rejected."),
        _ => None,
    };
    match content(identity, viewer, wanted).await {
        Ok(content) => {
            let whole = html! { (tabs("registrations")) (alert(wrong)) (done(words)) (content) };
            page(status, "Requests for accounts", Some(viewer), &whole)
        }
        Err(error) => failed(&error, Some(viewer)),
    }
}

async fn content(identity: &Identity, viewer: &Viewer, wanted: &Wanted) -> Result<Markup, AccountError> {
    let before = Some(wanted.before.as_str()).filter(|id| !id.is_empty());
    let mut open = identity.registrations(Decision::Open, before, PAGE + 1).await?;
    let more = i64::try_from(open.len()).unwrap_or(i64::MAX) > PAGE;
    if more {
        open.pop();
    }
    let last = open.last().map(|asked| asked.id.clone()).unwrap_or_default();
    let rejected = identity.registrations(Decision::Rejected, None, REJECTED).await?;
    Ok(html! {
        @if open.is_empty() { p.soft { "Nobody waits." } }
        @for asked in &open { (card(identity, viewer, asked)) }
        @if more { p { a href={ "/oidc/admin/registrations?before=" (last) } rel="next" { "Older" } } }
        @if !rejected.is_empty() {
            h2 { "Rejected" }
            @for asked in &rejected { (card(identity, viewer, asked)) }
        }
    })
}

fn card(identity: &Identity, viewer: &Viewer, asked: &Registration) -> Markup {
    let proposed = identity.free_name(&asked.wanted).unwrap_or_default();
    let field = format!("name-{}", asked.id);
    html! {
        section.card aria-label={ "Request of " (asked.shown) } {
            dl.pairs {
                dt { "Person" } dd { (asked.shown) }
                dt { "Subject" } dd { code { (asked.subject) } }
                dt { "Issuer" } dd { (asked.issuer) }
                dt { "Asked" } dd { (asked.asked.day()) }
                @if let Some(by) = &asked.decided_by { dt { "Rejected by" } dd { (by) } }
            }
            form.row method="post" action={ "/oidc/admin/registrations/" (asked.id) } {
                (token(&viewer.csrf))
                label for=(field) {
                    "Name of the account"
                    input id=(field) type="text" name="name" value=(proposed) autocomplete="off" autocapitalize="none" spellcheck="false" required maxlength="64";
                }
                button.primary name="action" value="approve" { "Approve" }
                @if asked.decision == Decision::Open { button.danger name="action" value="reject" { "Reject" } }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Decided {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    action: String,
}

/// `POST /admin/registrations/{id}`
pub(super) async fn decide(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Form(sent): Form<Decided>,
) -> Response {
    let viewer = match admin_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let by = viewer.principal.name();
    let (outcome, word) = match sent.action.as_str() {
        "approve" => (identity.approve(&id, sent.name.trim(), by).await, "approved"),
        "reject" => (identity.reject(&id, by).await, "rejected"),
        _ => (Err(AccountError::refused("this page does not know what to do")), ""),
    };
    match outcome {
        Ok(()) => see_other(&format!("/oidc/admin/registrations?done={word}")),
        Err(error) => {
            let (status, words) = told(&error);
            draw(&identity, &viewer, &Wanted::default(), status, Some(&words)).await
        }
    }
}
