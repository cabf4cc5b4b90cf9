//! The consent page: which program, where it is, and what it wants, in words.

use axum::extract::State;
use axum::response::Response;
use dte_http::Form;
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::authorize::{self, Ask};
use super::to_obstacle;
use crate::Identity;
use crate::audit::Entry;
use crate::issuer::clients::Registration;
use crate::issuer::model::params::Params;
use crate::issuer::model::scope;
use crate::issuer::refusal::Refusal;
use crate::issuer::store::clients as table;
use crate::model::plain::plain;
use crate::pages::{self, Viewer};

/// What the person sends back.
#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    csrf: String,
    /// The request that this is about, as it came.
    request: String,
    decision: String,
}

/// Stands in the form's request: what the page showed, which nobody else can write.
const SHOWN: &str = "shown";

/// A program may change its registration while the page is open; what it is given is what the person saw.
fn seal(identity: &Identity, ask: &Ask, user: &str, scopes: &[String]) -> String {
    let metadata = &ask.client.metadata;
    let seen = serde_json::json!([
        user,
        ask.client.client_id,
        ask.client.title(),
        metadata.client_uri,
        ask.redirect_uri,
        scopes,
        ask.audiences
    ]);
    hex::encode(&identity.0.vault.hash_secret(&format!("consent page {seen}"))[..16])
}

pub(super) fn page(identity: &Identity, ask: &Ask, viewer: &Viewer, scopes: &[String], params: &Params) -> Response {
    let shown = seal(identity, ask, viewer.principal.name(), scopes);
    let request = format!("{}&{SHOWN}={shown}", params.query_without(&[SHOWN]));
    let place = url::Url::parse(&ask.redirect_uri).ok();
    let place = place.as_ref().and_then(url::Url::host_str).unwrap_or("a program on your computer").to_owned();
    let content = html! {
        (what_it_wants(identity, &ask.client, scopes, &ask.audiences))
        p { "You go back to " strong { (place) } ". Signed in as " strong { (viewer.principal.name()) } "." }
        form method="post" action="/oidc/consent" {
            input type="hidden" name="csrf" value=(viewer.csrf);
            input type="hidden" name="request" value=(request);
            p {
                button type="submit" name="decision" value="allow" { "Allow" } " "
                button type="submit" name="decision" value="deny" { "Do not allow" }
            }
        }
    };
    pages::page(StatusCode::OK, "Let this program in?", Some(viewer), &content)
}

/// Whether an audience is this engine.
fn is_here(identity: &Identity, audience: &str) -> bool {
    identity.0.own_policy.audiences.iter().any(|own| own == audience)
}

/// Whether the person must see where tokens will be good: a program that nobody checked asks for other services.
pub(super) fn must_show_audiences(identity: &Identity, client: &Registration, audiences: &[String]) -> bool {
    client.registered_by.is_none() && audiences.iter().any(|audience| !is_here(identity, audience))
}

/// Who asks, for what, and where it will be good.
pub(super) fn what_it_wants(
    identity: &Identity,
    client: &Registration,
    scopes: &[String],
    audiences: &[String],
) -> Markup {
    html! {
        p { strong { (plain(client.title())) } " wants to:" }
        ul { @for scope in scopes { li { (scope::in_words(scope)) " " code { (scope) } } } }
        @if audiences.iter().any(|audience| !is_here(identity, audience)) {
            p { "What it gets for that is good at these services, and nowhere else:" }
            ul { @for audience in audiences { li { code { (plain(audience)) } @if is_here(identity, audience) { " (this engine)" } } } }
        }
        p {
            "Program " code { (client.client_id) }
            @if let Some(uri) = &client.metadata.client_uri { ", which says it is of " (uri) }
            @if client.registered_by.is_none() { ". It registered itself; nobody has checked its name." }
        }
    }
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
    let (ask, params) = match authorize::read(&identity, decision.request.as_bytes()).await {
        Ok(read) => read,
        Err(wrong) => return wrong.response(&identity),
    };
    if decision.decision != "allow" {
        return ask.refuse_agreed(&identity, "access_denied", "the person said no");
    }
    let user = viewer.principal.name();
    if let Some(obstacle) = identity.obstacle(user) {
        return to_obstacle(&obstacle, &format!("/oidc/authorize?{}", params.query_without(&[SHOWN])));
    }
    if let Err(refusal) = identity.check_person(user) {
        return ask.refuse_agreed(&identity, refusal.error, &refusal.detail);
    }
    let scopes = identity.scopes_for(user, &ask.client, &ask.scopes);
    if scopes.is_empty() {
        return ask.refuse_agreed(&identity, "invalid_scope", "none of the scopes is permitted");
    }
    let shown = seal(&identity, &ask, user, &scopes);
    if !params.get(SHOWN).is_some_and(|text| bool::from(text.as_bytes().ct_eq(shown.as_bytes()))) {
        return page(&identity, &ask, &viewer, &scopes, &params);
    }
    match remember(&identity, user, &ask.client.client_id, &scopes).await {
        Ok(()) => authorize::give_code(&identity, &ask, &viewer, scopes).await,
        Err(refusal) => ask.refuse_agreed(&identity, refusal.error, &refusal.detail),
    }
}

async fn remember(identity: &Identity, user: &str, client_id: &str, scopes: &[String]) -> Result<(), Refusal> {
    let entry = Entry::change(user, "consent.give", client_id, serde_json::json!({"scopes": scopes}));
    let audit = identity.audit().clone();
    let (user, client_id, scopes) = (user.to_owned(), client_id.to_owned(), scopes.to_vec());
    let write = identity.0.store.write(move |tx| -> Result<(), dte_store::Error> {
        let mut all = table::consent(tx, &user, &client_id)?;
        all.extend(
            scopes
                .iter()
                .filter(|scope| !scope::is_subset(std::slice::from_ref(scope), &all))
                .cloned()
                .collect::<Vec<_>>(),
        );
        table::remember_consent(tx, &user, &client_id, &all, dte_base::time::Timestamp::now())?;
        audit.append(tx, std::slice::from_ref(&entry))
    });
    Ok(write.await?)
}
