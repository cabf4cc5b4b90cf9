//! Erasing one's own account.

use axum::extract::State;
use axum::response::Response;
use dte_http::Form;
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::account::told_on_page;
use super::door::{Peer, caller};
use super::form::{present_password, token};
use super::{Viewer, page, signed_in_form};
use crate::Identity;
use crate::accounts::AccountError;
use crate::erasure::Erasure;

/// The card on the account's page.
pub(super) fn card(viewer: &Viewer, asks: bool) -> Markup {
    html! {
        section.card aria-labelledby="erase-h" {
            h2 #erase-h { "Erase my account" }
            p {
                "Your account, profile, groups, and all that programs may do for you are gone at once and for good. "
                "What must be kept as evidence is kept under a pseudonym; the next page says what that is."
            }
            p.note { "A copy of all that is kept about you: " code { "GET /policy/v1/me/export" } " with a token of yours." }
            form method="post" action="/oidc/account/erase" {
                (token(&viewer.csrf))
                @if asks { (present_password("erase-current")) }
                label for="erase-name" {
                    "Type " strong { (viewer.principal.name()) } " to say that you mean it"
                    input #erase-name name="confirm" autocomplete="off" required;
                }
                button.danger { "Erase my account" }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Confirmed {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    current: String,
    #[serde(default)]
    confirm: String,
}

/// `POST /account/erase`
pub(super) async fn erase(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Form(sent): Form<Confirmed>,
) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let name = viewer.principal.name();
    let erasing = async {
        if sent.confirm.trim() != name {
            return Err(AccountError::refused("type the name of your account to say that you mean it"));
        }
        identity.confirm_password(&viewer.principal, &sent.current, &caller(&identity, &headers, &peer)).await?;
        Ok(identity.erase(name, name).await?)
    };
    match erasing.await {
        Ok(erasure) => page(StatusCode::OK, "Your account is erased", None, &outcome(&erasure)),
        Err(error) => told_on_page(&identity, &headers, &viewer, &error).await,
    }
}

fn outcome(erasure: &Erasure) -> Markup {
    html! {
        p role="status" { "You are signed out everywhere. What is kept stands under " strong { (erasure.pseudonym) } "." }
        section.card aria-labelledby="remains-h" {
            h2 #remains-h { "What is kept, and why" }
            table {
                thead { tr { th scope="col" { "What" } th scope="col" { "Records" } th scope="col" { "Why" } } }
                tbody {
                    @for one in &erasure.remains {
                        tr {
                            td { (one.what) }
                            td { @if let Some(records) = one.records { (records) } }
                            td { (one.why) }
                        }
                    }
                }
            }
        }
    }
}
