//! Setting up an authenticator, and taking it away.

use axum::extract::State;
use axum::response::Response;
use dte_http::Form;
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use qrcode::{Color, QrCode};
use serde::Deserialize;

use super::door::{Peer, caller, see_other};
use super::form::{alert, failed, must_be_in, retry_after, token, told};
use super::{Viewer, page, signed_in_form};
use crate::Identity;
use crate::accounts::second::Offer;

/// Modules of white around the code (ISO/IEC 18004 wants four).
const QUIET: usize = 4;

#[derive(Deserialize)]
pub(super) struct Confirmed {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    current: String,
}

/// `POST /account/second-factor`: makes a new secret.
pub(super) async fn offer(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Form(sent): Form<Confirmed>,
) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let caller = caller(&identity, &headers, &peer);
    let offered = match identity.confirm_password(&viewer.principal, &sent.current, &caller).await {
        Ok(()) => identity.offer_factor(viewer.principal.name()).await,
        Err(error) => Err(error),
    };
    match offered {
        Ok(_) => see_other("/oidc/account/second-factor"),
        Err(error) => failed(&error, Some(&viewer)),
    }
}

/// `GET /account/second-factor`: shows what is offered.
pub(super) async fn show(State(identity): State<Identity>, headers: HeaderMap) -> Response {
    let viewer = match must_be_in(&identity, &headers, "/oidc/account").await {
        Ok(viewer) => viewer,
        Err(elsewhere) => return elsewhere,
    };
    draw(&identity, &viewer, StatusCode::OK, None).await
}

async fn draw(identity: &Identity, viewer: &Viewer, status: StatusCode, wrong: Option<&str>) -> Response {
    match identity.offered_factor(viewer.principal.name()).await {
        Ok(Some(offer)) => page(status, "Set up an authenticator", Some(viewer), &offer_form(viewer, &offer, wrong)),
        Ok(None) => see_other("/oidc/account"),
        Err(error) => failed(&error, Some(viewer)),
    }
}

fn offer_form(viewer: &Viewer, offer: &Offer, wrong: Option<&str>) -> Markup {
    let groups: Vec<String> =
        offer.key.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    html! {
        (alert(wrong))
        section.card {
            p { "Scan this with the authenticator on your telephone, or type the key into it." }
            (picture(&offer.address))
            dl.pairs { dt { "Key" } dd { code #key { (groups.join(" ")) } } dt { "Kind" } dd { "by time, 6 digits, 30 seconds" } }
            form method="post" action="/oidc/account/second-factor/confirm" {
                (token(&viewer.csrf))
                label for="code" {
                    "Code"
                    span.hint { "that the authenticator shows now" }
                    input #code type="text" name="code" inputmode="numeric" autocomplete="one-time-code" required maxlength="12" autofocus;
                }
                button.primary { "Turn on" }
            }
        }
        p { a href="/oidc/account" { "Not now" } }
    }
}

/// The address as a QR code; nothing when it does not fit into one.
fn picture(address: &str) -> Markup {
    let Ok(code) = QrCode::new(address) else { return html! {} };
    let (width, modules) = (code.width(), code.to_colors());
    let mut path = String::new();
    for (index, _) in modules.iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        path.push_str(&format!("M{},{}h1v1h-1z", index % width + QUIET, index / width + QUIET));
    }
    let size = width + 2 * QUIET;
    html! {
        svg.qr role="img" aria-label="The key as a QR code" viewBox={ "0 0 " (size) " " (size) } shape-rendering="crispEdges" {
            path d=(path) {}
        }
    }
}

#[derive(Deserialize)]
pub(super) struct FirstCode {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    code: String,
}

/// `POST /account/second-factor/confirm`: shows the recovery codes, once.
pub(super) async fn confirm(
    State(identity): State<Identity>,
    headers: HeaderMap,
    Form(sent): Form<FirstCode>,
) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    match identity.confirm_factor(viewer.principal.name(), &sent.code).await {
        Ok(codes) => {
            let content = html! {
                p role="status" { "The second factor is on." }
                section.card aria-labelledby="codes-h" {
                    h2 #codes-h { "Recovery codes" }
                    p { "Each of these signs you in once when the authenticator is lost. Print them or write them down; they are not shown again." }
                    ul.codes { @for code in &codes { li { (code) } } }
                }
                p { a href="/oidc/account" { "To your account" } }
            };
            page(StatusCode::OK, "Second factor", Some(&viewer), &content)
        }
        Err(error) => {
            let (status, words) = told(&error);
            retry_after(draw(&identity, &viewer, status, Some(&words)).await, &error)
        }
    }
}

/// `POST /account/second-factor/remove`
pub(super) async fn remove(
    State(identity): State<Identity>,
    headers: HeaderMap,
    peer: Peer,
    Form(sent): Form<Confirmed>,
) -> Response {
    let viewer = match signed_in_form(&identity, &headers, &sent.csrf).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused,
    };
    let caller = caller(&identity, &headers, &peer);
    let name = viewer.principal.name();
    let removed = match identity.confirm_password(&viewer.principal, &sent.current, &caller).await {
        Ok(()) => identity.remove_factor(name, name).await,
        Err(error) => Err(error),
    };
    match removed {
        Ok(_) => see_other("/oidc/account?done=factor-off"),
        Err(error) => failed(&error, Some(&viewer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_for_telephones() {
        let drawn = picture("otpauth://totp/twin:alice?secret=ABCDEFGHIJKLMNOP&issuer=twin").into_string();
        assert!(drawn.contains("viewBox=\"0 0 ") && drawn.matches("h1v1h-1z").count() > 200);
        assert!(!drawn.contains("style="), "the content policy takes no inline styles");
        assert!(picture(&"x".repeat(10_000)).into_string().is_empty());
    }
}
