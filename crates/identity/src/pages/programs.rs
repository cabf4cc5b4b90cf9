//! The card of one's account that shows which programs may act for the person, each with a button that ends it.

use axum::extract::State;
use axum::response::Response;
use dte_http::Form;
use http::HeaderMap;
use maud::{Markup, html};
use serde::Deserialize;

use super::account::{minute, told_on_page};
use super::door::see_other;
use super::form::token;
use super::{Viewer, signed_in_form};
use crate::Identity;
use crate::accounts::AccountError;
use crate::issuer::model::scope;
use crate::issuer::programs::Program;

pub(super) fn card(viewer: &Viewer, programs: &[Program]) -> Markup {
    html! {
        section.card aria-labelledby="programs-h" {
            h2 #programs-h { "Programs that may act for you" }
            @if programs.is_empty() { p.soft { "None." } }
            @else {
                table {
                    thead { tr { th scope="col" { "Program" } th scope="col" { "May" } th scope="col" { "Last used" } th scope="col" { } } }
                    tbody { @for program in programs { (row(viewer, program)) } }
                }
                p.note { "Ended at once: what the program holds is void, and next time it has to ask you again." }
            }
        }
    }
}

fn row(viewer: &Viewer, program: &Program) -> Markup {
    html! {
        tr {
            td.long {
                (program.title)
                @if program.title != program.client_id { " " code { (program.client_id) } }
            }
            td.long {
                ul { @for wanted in &program.scopes { li { (scope::in_words(wanted)) " " code { (wanted) } } } }
            }
            td {
                @match program.used {
                    Some(used) => (minute(used)),
                    None => "not now",
                }
                @if program.is_lasting { " " span.pill { "also while you are away" } }
            }
            td {
                form method="post" action="/oidc/account/programs/end" {
                    (token(&viewer.csrf))
                    input type="hidden" name="client" value=(program.client_id);
                    button.danger aria-label={ "End what " (program.title) " may do" } { "End" }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Ended {
    #[serde(default)]
    csrf: String,
    client: String,
}

/// `POST /account/programs/end`
pub(super) async fn end(State(identity): State<Identity>, headers: HeaderMap, Form(sent): Form<Ended>) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let name = viewer.principal.name();
    let error = match identity.end_program(name, &sent.client, name).await {
        Ok(true) => return see_other("/oidc/account?done=program"),
        Ok(false) => AccountError::refused("this program may do nothing for you any more"),
        Err(error) => AccountError::Identity(error),
    };
    told_on_page(&identity, &headers, &viewer, &error).await
}
