//! `/device`: a person types the code that a device shows, sees who asks for what, and decides (RFC 8628 section 3.3).

use axum::extract::State;
use axum::response::Response;
use dte_base::time::Timestamp;
use dte_http::{Form, Query};
use http::{HeaderMap, StatusCode};
use maud::html;
use serde::Deserialize;
use serde_json::json;

use super::consent::what_it_wants;
use super::{authorize, device, to_obstacle};
use crate::Identity;
use crate::audit::Entry;
use crate::issuer::grant::Granted;
use crate::issuer::model::user_code;
use crate::issuer::refusal::Refusal;
use crate::issuer::store::codes::{self, Device, DeviceState};
use crate::pages::{self, Viewer};

const TITLE: &str = "Connect a device";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    user_code: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    csrf: String,
    user_code: String,
    decision: String,
}

pub(super) async fn get(
    State(identity): State<Identity>,
    headers: HeaderMap,
    typed: Result<Query<Typed>, dte_http::Problem>,
) -> Response {
    let typed = typed.map(|Query(typed)| typed).unwrap_or_default();
    // Only what can be a code goes into the address of the sign-in page.
    let code = user_code::read(&typed.user_code);
    let Some(viewer) = pages::viewer(&identity, &headers).await else {
        let next = code.map_or_else(|| "/oidc/device".to_owned(), |code| format!("/oidc/device?user_code={code}"));
        return pages::to_login(&next);
    };
    if typed.user_code.is_empty() {
        return entry_page(&viewer, None);
    }
    match find(&identity, &viewer, &typed.user_code).await {
        Err(response) => response,
        Ok((code, device)) => confirmation(&identity, &viewer, &code, &device).await,
    }
}

fn entry_page(viewer: &Viewer, mistake: Option<&str>) -> Response {
    let content = html! {
        @if let Some(mistake) = mistake { p role="alert" { (mistake) } }
        form method="get" action="/oidc/device" {
            p {
                label for="user_code" { "Type the code that your device or command line shows" } " "
                input id="user_code" name="user_code" autocomplete="off" autocapitalize="characters" spellcheck="false"
                    maxlength="16" required autofocus;
            }
            p { button type="submit" { "Continue" } }
        }
    };
    let status = if mistake.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    pages::page(status, TITLE, Some(viewer), &content)
}

/// The device of a code. Wrong codes are counted for each account: there are 2^34, and few may be tried.
async fn find(identity: &Identity, viewer: &Viewer, typed: &str) -> Result<(String, Device), Response> {
    let guesses = &identity.0.issuing.guesses;
    let name = viewer.principal.name();
    if guesses.is_reached(name).is_some() {
        let detail = "You have typed too many wrong codes. Wait ten minutes.";
        return Err(pages::refusal(StatusCode::TOO_MANY_REQUESTS, TITLE, detail, Some(viewer)));
    }
    let wrong = || {
        guesses.note(name);
        entry_page(viewer, Some("This code is not known, or it has expired."))
    };
    let code = user_code::read(typed).ok_or_else(wrong)?;
    let hash = device::user_hash(identity, &code);
    let found = identity.0.store.read(move |tx| codes::find_device_of_user(tx, &hash)).await.map_err(|error| {
        tracing::error!(%error, "a device code cannot be read");
        pages::refusal(StatusCode::INTERNAL_SERVER_ERROR, TITLE, "The engine cannot look it up now.", Some(viewer))
    })?;
    let waits = |device: &Device| matches!(device.state, DeviceState::Waiting) && device.expires > Timestamp::now();
    found.filter(waits).map(|device| (code, device)).ok_or_else(wrong)
}

async fn confirmation(identity: &Identity, viewer: &Viewer, code: &str, device: &Device) -> Response {
    let Ok(Some(client)) = identity.find_client(&device.client_id).await else {
        return entry_page(viewer, Some("The program that asks is not registered here any more."));
    };
    let scopes = identity.scopes_for(viewer.principal.name(), &client, &device.scopes);
    let content = html! {
        p { "The device shows the code " strong { (code) } "." }
        (what_it_wants(identity, &client, &scopes, &device.audiences))
        p role="note" {
            "Go on only if you began this yourself, just now, and your own device shows this code. Whoever sent you a link or a "
            "code would get in as " strong { (viewer.principal.name()) } "."
        }
        form method="post" action="/oidc/device" {
            input type="hidden" name="csrf" value=(viewer.csrf);
            input type="hidden" name="user_code" value=(code);
            p {
                button type="submit" name="decision" value="allow" { "Allow" } " "
                button type="submit" name="decision" value="deny" { "Do not allow" }
            }
        }
    };
    pages::page(StatusCode::OK, TITLE, Some(viewer), &content)
}

pub(super) async fn post(
    State(identity): State<Identity>,
    headers: HeaderMap,
    form: Result<Form<Decision>, dte_http::Problem>,
) -> Response {
    let Ok(Form(decision)) = form else {
        return pages::refusal(StatusCode::BAD_REQUEST, "Not accepted", "The form is not whole.", None);
    };
    let viewer = match pages::signed_in_form(&identity, &headers, &decision.csrf).await {
        Ok(viewer) => viewer,
        Err(response) => return response,
    };
    let (code, device) = match find(&identity, &viewer, &decision.user_code).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let name = viewer.principal.name();
    if let Some(obstacle) = identity.obstacle(name) {
        return to_obstacle(&obstacle, &format!("/oidc/device?user_code={code}"));
    }
    let allowed = decision.decision == "allow";
    match decide(&identity, &viewer, &code, &device, allowed).await {
        Ok(true) => {
            let said = if allowed { "Done. Your device goes on by itself." } else { "The device does not get in." };
            pages::page(StatusCode::OK, TITLE, Some(&viewer), &html! { p role="status" { (said) } })
        }
        Ok(false) => entry_page(&viewer, Some("This code was used already.")),
        Err(refusal) => pages::refusal(refusal.status, TITLE, &refusal.detail, Some(&viewer)),
    }
}

async fn decide(
    identity: &Identity,
    viewer: &Viewer,
    code: &str,
    device: &Device,
    allowed: bool,
) -> Result<bool, Refusal> {
    let name = viewer.principal.name();
    let gone = || Refusal::request("The program that asks is not registered here any more.");
    let client = identity.find_client(&device.client_id).await?.ok_or_else(gone)?;
    let scopes = identity.scopes_for(name, &client, &device.scopes);
    if allowed && scopes.is_empty() {
        return Err(Refusal::request("You may not give it any of what it asks for."));
    }
    let granted = allowed.then(|| Granted {
        user: name.to_owned(),
        scopes,
        audiences: device.audiences.clone(),
        auth_time: authorize::signed_in(viewer),
        approved: Timestamp::now().as_seconds(),
        nonce: None,
        act: None,
    });
    let hash = device::user_hash(identity, code);
    let audit = identity.audit().clone();
    let detail = json!({"allowed": allowed, "scopes": granted.as_ref().map(|granted| &granted.scopes)});
    let entry = Entry::change(name, "device.decide", &device.client_id, detail);
    let write = identity.0.store.write(move |tx| -> Result<bool, dte_store::Error> {
        let decided = codes::decide_device(tx, &hash, granted.as_ref())?;
        if decided {
            audit.append(tx, std::slice::from_ref(&entry))?;
        }
        Ok(decided)
    });
    Ok(write.await?)
}
