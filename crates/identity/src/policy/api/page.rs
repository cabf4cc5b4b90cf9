//! `/oidc/aup`: all terms that a person must accept, on one page, accepted with one click.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use dte_http::{Form, Query};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::acceptances::signature;
use crate::Identity;
use crate::pages::{Viewer, own_path, page, refusal, signed_in_form, to_login, viewer};
use crate::policy::AUP_PAGE;
use crate::policy::agreements::{Method, Requirement};
use crate::policy::model::aup::{Need, Owner, base_clauses};
use crate::routes::{Require, Routes};

const PAGE: Require = Require::Public("the page looks for the session itself, and sends strangers to sign in");
pub(super) fn routes() -> Routes<Identity> {
    Routes::new("policy").body_limit(super::BODY).get("/", PAGE, show).post("/", PAGE, answer)
}

#[derive(Deserialize)]
struct Asked {
    next: Option<String>,
}

async fn show(State(identity): State<Identity>, headers: HeaderMap, Query(asked): Query<Asked>) -> Response {
    let next = own_path(asked.next.as_deref().unwrap_or_default());
    let Some(viewer) = viewer(&identity, &headers).await else {
        return to_login(&format!("{AUP_PAGE}?next={}", utf8_percent_encode(next, NON_ALPHANUMERIC)));
    };
    let all = identity.requirements(&viewer.principal.issuer, &viewer.principal.subject);
    let (needed, accepted): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.need != Need::Covered);
    if needed.is_empty() {
        return page(StatusCode::OK, "Terms of use", Some(&viewer), &nothing_needed(&accepted, next));
    }
    page(StatusCode::OK, "Terms of use", Some(&viewer), &form(&viewer, &needed, next))
}

fn nothing_needed(accepted: &[Requirement], next: &str) -> Markup {
    html! {
        @if accepted.is_empty() {
            p { "There are no terms to accept." }
        } @else {
            p { "You have accepted all terms that apply to you:" }
            ul { @for one in accepted { li { (one.version.document.name) ", version " (one.version.version) } } }
        }
        p { a href=(next) { "Continue" } }
    }
}

fn form(viewer: &Viewer, needed: &[Requirement], next: &str) -> Markup {
    let ids: Vec<&str> = needed.iter().map(|one| one.version.id.as_str()).collect();
    html! {
        p {
            "Before you begin anything new here, please read and accept the following. You accept "
            @if needed.len() == 1 { "it" } @else { "all " (needed.len()) " of them" }
            " as " strong { (viewer.principal.name()) } "."
        }
        @for one in needed { (terms_of(one)) }
        section {
            h2 { "What applies to " @if needed.len() == 1 { "it" } @else { "all of them" } }
            ol { @for clause in base_clauses() { li { (clause) } } }
        }
        @for one in needed.iter().filter(|one| !one.version.document.extra_clauses.is_empty()) {
            section {
                h2 { "Further terms of " (one.version.document.name) }
                ol start="11" { @for clause in &one.version.document.extra_clauses { li { (clause) } } }
            }
        }
        form method="post" action=(AUP_PAGE) {
            input type="hidden" name="csrf" value=(viewer.csrf);
            input type="hidden" name="next" value=(next);
            input type="hidden" name="versions" value=(ids.join(","));
            button type="submit" name="answer" value="accept" { "Accept" }
            " "
            button type="submit" name="answer" value="refuse" { "Not now" }
        }
    }
}

fn terms_of(one: &Requirement) -> Markup {
    let (version, document) = (&one.version, &one.version.document);
    let what = match version.owner {
        Owner::Infrastructure => "Infrastructure",
        Owner::Vo(_) => "Community",
        Owner::Provider(_) => "Provider",
    };
    html! {
        section {
            h2 { (document.name) }
            dl {
                dt { (what) } dd { (version.owner) ", version " (version.version) }
                dt { "Purpose" } dd { (document.purpose) }
                dt { "Security contact" } dd { (document.security_contact) }
                @for url in &document.privacy_notices { dt { "Privacy notice" } dd { a href=(url) { (url) } } }
                @for sla in &document.sla { dt { "Service level" } dd { (sla) } }
                @if let Some(url) = &document.url { dt { "Published at" } dd { a href=(url) { (url) } } }
                @if let Need::Until(end) = one.need { dt { "To be accepted until" } dd { (end.day()) } }
                dt { "SHA-256 of the text" } dd { code { (version.text_sha256) } }
            }
        }
    }
}

#[derive(Deserialize)]
struct Answered {
    csrf: String,
    next: Option<String>,
    #[serde(default)]
    versions: String,
    answer: String,
}

async fn answer(State(identity): State<Identity>, headers: HeaderMap, Form(answered): Form<Answered>) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &answered.csrf).await {
        Ok(viewer) => viewer,
        Err(response) => return response,
    };
    let next = own_path(answered.next.as_deref().unwrap_or_default());
    if answered.answer != "accept" {
        let content = html! {
            p { "You have not accepted the terms. What you have stays readable; nothing new can be begun, and no new token is given." }
            p { a href=(own_path("")) { "Continue" } " or " a href=(AUP_PAGE) { "read the terms again" } "." }
        };
        return page(StatusCode::OK, "Not accepted", Some(&viewer), &content);
    }
    let principal = &viewer.principal;
    let asked: Vec<String> = identity
        .requirements(&principal.issuer, &principal.subject)
        .into_iter()
        .filter(|one| one.need != Need::Covered)
        .map(|one| one.version.id)
        .collect();
    let shown: Vec<String> = answered.versions.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    // What was shown is accepted, and only while it is what is asked for.
    if asked.iter().any(|id| !shown.contains(id)) {
        return Redirect::to(&format!("{AUP_PAGE}?next={}", utf8_percent_encode(next, NON_ALPHANUMERIC)))
            .into_response();
    }
    if !asked.is_empty() {
        let signature = signature(principal, &principal.issuer, &principal.subject, Method::Web, &headers);
        if let Err(error) = identity.accept(&asked, signature).await {
            let problem = dte_http::Problem::from(error);
            return refusal(problem.status(), "Not recorded", problem.detail(), Some(&viewer));
        }
    }
    Redirect::to(next).into_response()
}
