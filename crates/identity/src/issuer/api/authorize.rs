//! `GET|POST /authorize`: the authorisation endpoint (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2).
//!
//! Nothing is redirected before the client and the exact address are known; until then a mistake is a page of ours.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use dte_base::time::Timestamp;
use http::{HeaderMap, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use subtle::ConstantTimeEq;

use super::{consent, see_other, to_obstacle};
use crate::Identity;
use crate::issuer::clients::Registration;
use crate::issuer::grant::{Granted, grant_id};
use crate::issuer::model::client::Grant;
use crate::issuer::model::params::Params;
use crate::issuer::model::{pkce, redirect, scope};
use crate::issuer::refusal::Refusal;
use crate::issuer::store::clients as table;
use crate::issuer::store::codes::{self, Code};
use crate::pages::{self, Viewer};
use crate::session::SESSION_LONGEST;

/// How long a code may be redeemed.
const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// Used codes are remembered for so long, so that a replay is noticed.
const CODE_MEMORY: Duration = Duration::from_secs(86_400);
const LONGEST_STATE: usize = 4_096;
const LONGEST_NONCE: usize = 512;
/// Our own mark in the address that a person comes back to after signing in again: not before this second.
const SINCE: &str = "signed_in_since";

/// A request that may be answered at its address.
pub(super) struct Ask {
    pub(super) client: Arc<Registration>,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) audiences: Vec<String>,
    nonce: Option<String>,
    challenge: Option<String>,
    prompt: Vec<String>,
    max_age: Option<i64>,
    since: Option<i64>,
}

/// Why a request is not answered with a code.
pub(super) enum Wrong {
    /// Told to the person: there is no address that could be trusted.
    Page(&'static str),
    /// Told to the client.
    Client(Box<(Arc<Registration>, String, Option<String>, Refusal)>),
}

impl Wrong {
    pub(super) fn response(self, identity: &Identity) -> Response {
        match self {
            Wrong::Page(detail) => pages::refusal(StatusCode::BAD_REQUEST, "This link is not right", detail, None),
            Wrong::Client(told) => {
                let (client, redirect_uri, state, refusal) = *told;
                tell(identity, &client, &redirect_uri, state.as_deref(), &refusal)
            }
        }
    }
}

impl Ask {
    /// Refuses before the person has seen who asks.
    pub(super) fn refuse(&self, identity: &Identity, error: &'static str, detail: &str) -> Response {
        tell(identity, &self.client, &self.redirect_uri, self.state.as_deref(), &Refusal::new(error, detail))
    }

    /// Refuses after the person has seen who asks and where the program is.
    pub(super) fn refuse_agreed(&self, identity: &Identity, error: &'static str, detail: &str) -> Response {
        answer(identity, &self.redirect_uri, self.state.as_deref(), Err(&Refusal::new(error, detail)))
    }

    fn prompts(&self, name: &str) -> bool {
        self.prompt.iter().any(|prompt| prompt == name)
    }

    /// Whether the person must sign in (again) before this is answered.
    fn wants_sign_in(&self, signed_in: i64, now: i64) -> bool {
        match self.since {
            Some(since) => signed_in < since,
            None => self.prompts("login") || self.max_age.is_some_and(|most| now - signed_in > most),
        }
    }
}

pub(super) async fn get(State(identity): State<Identity>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    begin(&identity, &headers, query.unwrap_or_default().as_bytes()).await
}

pub(super) async fn post(State(identity): State<Identity>, headers: HeaderMap, body: Bytes) -> Response {
    begin(&identity, &headers, &body).await
}

async fn begin(identity: &Identity, headers: &HeaderMap, text: &[u8]) -> Response {
    let (ask, params) = match read(identity, text).await {
        Ok(read) => read,
        Err(wrong) => return wrong.response(identity),
    };
    let again = || format!("/oidc/authorize?{}", params.query_without(&[SINCE]));
    let now = Timestamp::now().as_seconds();
    let Some(viewer) = pages::viewer(identity, headers).await else {
        if ask.prompts("none") {
            return ask.refuse(identity, "login_required", "nobody is signed in");
        }
        // The person signs in now, which is all that `prompt=login` wants.
        return pages::to_login(&format!("{}&{SINCE}={}", again(), seal(identity, now)));
    };
    if ask.wants_sign_in(signed_in(&viewer), now) {
        if ask.prompts("none") {
            return ask.refuse(identity, "login_required", "the person has to sign in again");
        }
        let next = format!("{}&{SINCE}={}", again(), seal(identity, now));
        return see_other(&format!("/oidc/login?next={}&again=true", utf8_percent_encode(&next, NON_ALPHANUMERIC)));
    }
    let user = viewer.principal.name();
    if let Some(obstacle) = identity.obstacle(user) {
        if ask.prompts("none") {
            return ask.refuse(identity, "interaction_required", obstacle.reason);
        }
        return to_obstacle(&obstacle, &again());
    }
    let scopes = identity.scopes_for(user, &ask.client, &ask.scopes);
    if scopes.is_empty() {
        return ask.refuse(identity, "invalid_scope", "none of the scopes is permitted");
    }
    match agreed(identity, &ask, user, &scopes).await {
        Ok(true) => give_code(identity, &ask, &viewer, scopes).await,
        Ok(false) if ask.prompts("none") => ask.refuse(identity, "consent_required", "the person has to agree first"),
        Ok(false) => consent::page(identity, &ask, &viewer, &scopes, &params),
        Err(refusal) => tell(identity, &ask.client, &ask.redirect_uri, ask.state.as_deref(), &refusal),
    }
}

/// Whether the person once agreed to all of it. What other programs of the same computer could receive is asked each time,
/// unless the client has a secret of its own.
async fn agreed(identity: &Identity, ask: &Ask, user: &str, scopes: &[String]) -> Result<bool, Refusal> {
    let is_new = consent::must_show_audiences(identity, &ask.client, &ask.audiences);
    if is_new || ask.prompts("consent") || (ask.client.is_public() && redirect::is_shared(&ask.redirect_uri)) {
        return Ok(false);
    }
    let (user, client_id) = (user.to_owned(), ask.client.client_id.clone());
    let known = identity.0.store.read(move |tx| table::consent(tx, &user, &client_id)).await?;
    Ok(scope::is_subset(scopes, &known))
}

/// When the person signed in.
pub(super) fn signed_in(viewer: &Viewer) -> i64 {
    (viewer.principal.expires - SESSION_LONGEST).as_seconds()
}

/// Checks a request, the address first.
pub(super) async fn read(identity: &Identity, text: &[u8]) -> Result<(Ask, Params), Wrong> {
    let params = Params::parse(text).map_err(|_| Wrong::Page("Its parameters cannot be read, or one stands twice."))?;
    let client_id = params.get("client_id").ok_or(Wrong::Page("It does not say which program asks (client_id)."))?;
    let found = identity.find_client(client_id).await.map_err(|error| {
        tracing::error!(%error, "a client cannot be read");
        Wrong::Page("The engine cannot look the program up now. Try again.")
    })?;
    let client = found.ok_or(Wrong::Page("The program that asks is not registered here, or is suspended."))?;
    let redirect_uri = params
        .get("redirect_uri")
        .ok_or(Wrong::Page("It does not say where to go back to (redirect_uri)."))?
        .to_owned();
    let metadata = &client.metadata;
    if !redirect::is_registered(&redirect_uri, &metadata.redirect_uris, metadata.application_type) {
        return Err(Wrong::Page("The address to go back to is not one that the program registered (redirect_uri)."));
    }
    let state = params.get("state").map(str::to_owned);
    if state.as_ref().is_some_and(|state| state.len() > LONGEST_STATE) {
        return Err(Wrong::Page("Its state is too long."));
    }
    let back =
        |refusal: Refusal| Wrong::Client(Box::new((Arc::clone(&client), redirect_uri.clone(), state.clone(), refusal)));
    let wrong = |error: &'static str, detail: &str| back(Refusal::new(error, detail));
    if !client.may(Grant::Code) {
        return Err(wrong("unauthorized_client", "the client is not registered for authorization_code"));
    }
    match params.get("response_type") {
        Some("code") => {}
        None => return Err(wrong("invalid_request", "response_type is missing")),
        Some(_) => return Err(wrong("unsupported_response_type", "the only response_type is code")),
    }
    if params.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(wrong("invalid_request", "the only response_mode is query"));
    }
    for (name, error) in [("request", "request_not_supported"), ("request_uri", "request_uri_not_supported")] {
        if params.get(name).is_some() {
            return Err(wrong(error, "request objects are not taken"));
        }
    }
    let challenge = params.get("code_challenge").map(str::to_owned);
    match (&challenge, params.get("code_challenge_method")) {
        (None, None) if !client.is_public() => {}
        (None, _) => return Err(wrong("invalid_request", "code_challenge is missing (PKCE with S256)")),
        (Some(text), Some("S256")) if pkce::is_challenge(text) => {}
        (Some(_), _) => return Err(wrong("invalid_request", "code_challenge_method must be S256")),
    }
    let nonce = params.get("nonce").map(str::to_owned);
    if nonce.as_ref().is_some_and(|nonce| nonce.len() > LONGEST_NONCE) {
        return Err(wrong("invalid_request", "nonce is too long"));
    }
    let scopes = params.words("scope");
    scope::check(&scopes).map_err(|bad| wrong("invalid_scope", &bad.to_string()))?;
    let scopes = scope::narrow(&scopes, &metadata.scopes);
    if scopes.is_empty() {
        return Err(wrong("invalid_scope", "none of the scopes is one that the client registered for"));
    }
    let prompt = params.words("prompt");
    if prompt.len() > 1 && prompt.iter().any(|prompt| prompt == "none") {
        return Err(wrong("invalid_request", "prompt=none goes with nothing else"));
    }
    let number = |name: &str| params.get(name).map(str::parse::<i64>).transpose();
    let max_age = number("max_age").map_err(|_| wrong("invalid_request", "max_age is not a number"))?;
    let since = params.get(SINCE).and_then(|text| unseal(identity, text));
    let audiences = params.audiences().map_err(|bad| back(bad.into()))?;
    let ask = Ask { client, redirect_uri, state, scopes, audiences, nonce, challenge, prompt, max_age, since };
    Ok((ask, params))
}

/// Our mark with a moment, which nobody else can write.
fn seal(identity: &Identity, now: i64) -> String {
    let mark = identity.0.vault.hash_secret(&format!("signed in since {now}"));
    format!("{now}.{}", hex::encode(&mark[..16]))
}

/// The moment of a mark of ours; nothing for what somebody else wrote there.
fn unseal(identity: &Identity, text: &str) -> Option<i64> {
    let now = text.split_once('.')?.0.parse().ok()?;
    bool::from(seal(identity, now).as_bytes().ct_eq(text.as_bytes())).then_some(now)
}

/// Sends the browser back with a code that is good once, for a minute.
pub(super) async fn give_code(identity: &Identity, ask: &Ask, viewer: &Viewer, scopes: Vec<String>) -> Response {
    let text = hex::encode(rand::random::<[u8; 32]>());
    let hash = identity.0.vault.hash_secret(&format!("code {text}"));
    let granted = Granted {
        user: viewer.principal.name().to_owned(),
        scopes,
        audiences: ask.audiences.clone(),
        auth_time: signed_in(viewer),
        approved: Timestamp::now().as_seconds(),
        nonce: ask.nonce.clone(),
        act: None,
    };
    let now = Timestamp::now();
    let code = Code {
        grant_id: grant_id(),
        client_id: ask.client.client_id.clone(),
        redirect_uri: ask.redirect_uri.clone(),
        challenge: ask.challenge.clone(),
        granted,
        expires: now + CODE_LIFETIME,
        used: false,
    };
    let write = identity.0.store.write(move |tx| -> Result<(), dte_store::Error> {
        codes::sweep(tx, now - CODE_MEMORY, now)?;
        codes::insert_code(tx, &hash, &code)
    });
    let outcome = write.await.map_err(Refusal::from);
    let outcome = outcome.as_ref().map(|()| text.as_str());
    answer(identity, &ask.redirect_uri, ask.state.as_deref(), outcome)
}

/// Tells a program that it gets nothing. A program that registered itself may be anybody's who wants us to send people to
/// their page: the person sees where they would go, and goes there or not (RFC 9700 section 4.11).
fn tell(
    identity: &Identity,
    client: &Registration,
    redirect_uri: &str,
    state: Option<&str>,
    refusal: &Refusal,
) -> Response {
    if !redirect::must_be_shown(client.registered_by.is_some(), redirect_uri) {
        return answer(identity, redirect_uri, state, Err(refusal));
    }
    let place = address(identity, redirect_uri, state, Err(refusal));
    let words = format!("A program asked to be let in, and it cannot be: {}.", refusal.detail.trim_end_matches('.'));
    pages::leaving(StatusCode::BAD_REQUEST, "This program is not let in", &words, client.title(), &place)
}

/// Back to the client.
fn answer(identity: &Identity, redirect_uri: &str, state: Option<&str>, outcome: Result<&str, &Refusal>) -> Response {
    see_other(&address(identity, redirect_uri, state, outcome))
}

/// The client's address with the answer, and with who we are (RFC 9207).
fn address(identity: &Identity, redirect_uri: &str, state: Option<&str>, outcome: Result<&str, &Refusal>) -> String {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    match outcome {
        Ok(code) => pairs.push(("code", code)),
        Err(refusal) => {
            pairs.push(("error", refusal.error));
            pairs.push(("error_description", &refusal.detail));
            if let Some(page) = &refusal.page {
                pairs.push(("error_uri", page));
            }
        }
    }
    if let Some(state) = state {
        pairs.push(("state", state));
    }
    pairs.push(("iss", identity.issuer()));
    redirect::with_answer(redirect_uri, &pairs)
}
