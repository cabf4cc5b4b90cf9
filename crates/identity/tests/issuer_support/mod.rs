//! What the tests of the issuer share: an engine, a client, a person with a browser.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dte_http::Reply;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Mount, Require, Routes};
use dte_store::testing::TemporaryStore;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const CALLBACK: &str = "https://rp.example/cb";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub const EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

pub fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo")
        .get("/me", Require::Authenticated, async |principal: dte_identity::Principal| principal.name().to_owned())
        .get("/work", Require::Scope("compute.create"), async || "ok")
        .get("/checked", Require::HandlerChecks("nothing more"), async || "ok")
        .get("/endless", Require::Authenticated, async || {
            axum::body::Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>())
        })
        .get("/home", Require::Storage("one's own area"), home)
        .get("/admin", Require::Admin, async || "ok");
    vec![Mount { prefix: "/demo", routes }]
}

/// What storage would say of the caller's own area.
async fn home(principal: dte_identity::Principal) -> Result<&'static str, dte_identity::Denial> {
    principal.may_storage(dte_identity::StorageOp::Modify, "/home/alice/x")?;
    Ok("ok")
}

pub async fn start_with(config: &str, store: Option<TemporaryStore>) -> TestEngine {
    let setup = TestSetup { config: config.to_owned(), store, ..TestSetup::default() };
    let engine = TestEngine::start_with(setup, async |_| Ok(mounts())).await;
    engine.identity.add_user("alice", false, "test").await.expect("made");
    engine
}

pub async fn start() -> TestEngine {
    start_with("[identity.issuer]\nregistrations_per_minute = 1000\n", None).await
}

/// A registered client.
pub struct App {
    pub id: String,
    pub secret: Option<String>,
    pub registration: Value,
}

pub async fn register_raw(engine: &TestEngine, metadata: Value) -> (u16, Value) {
    let reply = engine.client.post(engine.url_of("/oidc/register")).json(&metadata).send().await.expect("an answer");
    let status = reply.status.as_u16();
    (status, reply.json().await.expect("JSON"))
}

pub async fn register(engine: &TestEngine, changes: Value) -> App {
    let mut metadata = json!({
        "client_name": "Test program", "redirect_uris": [CALLBACK], "post_logout_redirect_uris": ["https://rp.example/bye"],
        "grant_types": ["authorization_code", "refresh_token", DEVICE_GRANT],
    });
    for (name, value) in changes.as_object().expect("an object") {
        metadata[name] = value.clone();
    }
    let (status, registration) = register_raw(engine, metadata).await;
    assert_eq!(status, 201, "{registration}");
    app(registration)
}

/// A client with grants of its own, which only an administrator can register.
pub async fn register_trusted(engine: &TestEngine, metadata: Value) -> App {
    let request = engine.client.post(engine.url_of("/oidc/register")).bearer(&engine.admin_token()).json(&metadata);
    let reply = request.send().await.expect("an answer");
    assert_eq!(reply.status, 201);
    app(reply.json().await.expect("JSON"))
}

fn app(registration: Value) -> App {
    App {
        id: registration["client_id"].as_str().expect("an id").to_owned(),
        secret: registration["client_secret"].as_str().map(str::to_owned),
        registration,
    }
}

pub async fn public_app(engine: &TestEngine) -> App {
    register(engine, json!({"token_endpoint_auth_method": "none"})).await
}

/// Calls an endpoint as a client.
pub async fn call(engine: &TestEngine, path: &str, app: &App, fields: &[(&str, &str)]) -> (u16, Value) {
    let mut form: Vec<(&str, &str)> = fields.to_vec();
    form.push(("client_id", &app.id));
    if let Some(secret) = &app.secret {
        form.push(("client_secret", secret));
    }
    let reply = engine.client.post(engine.url_of(path)).form(&form).send().await.expect("an answer");
    let status = reply.status.as_u16();
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    (status, reply.json().await.expect("JSON"))
}

pub async fn token(engine: &TestEngine, app: &App, fields: &[(&str, &str)]) -> (u16, Value) {
    call(engine, "/oidc/token", app, fields).await
}

pub async fn refresh(engine: &TestEngine, app: &App, token_text: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", token_text)];
    fields.extend_from_slice(more);
    token(engine, app, &fields).await
}

pub async fn get_with(engine: &TestEngine, path: &str, token: &str) -> u16 {
    let request = engine.client.get(engine.url_of(path)).header("authorization", format!("Bearer {token}"));
    request.send().await.expect("an answer").status.as_u16()
}

pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

/// The claims of a token, unchecked.
pub fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).expect("a token");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).expect("base64")).expect("JSON")
}

/// A person with a browser that is signed in.
pub struct Browser<'a> {
    pub engine: &'a TestEngine,
    pub cookie: String,
}

pub struct Page {
    pub status: u16,
    pub location: Option<String>,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Page {
    /// What the address that the browser is sent to says.
    pub fn answer(&self) -> HashMap<String, String> {
        let shown = self.body.split_once("id=\"go-on\" href=\"").and_then(|(_, rest)| rest.split_once('"'));
        let shown = shown.map(|(place, _)| place.replace("&amp;", "&"));
        let place = self.location.as_deref().or(shown.as_deref());
        let place = place.unwrap_or_else(|| panic!("no redirect but {} {}", self.status, self.body));
        let query = place.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// A hidden field of the form.
    pub fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let rest = self.body.split_once(&mark).unwrap_or_else(|| panic!("no {name} in {}", self.body)).1;
        rest.split_once('"').expect("an end").0.replace("&amp;", "&").replace("&quot;", "\"")
    }
}

async fn page(reply: Reply) -> Page {
    Page {
        status: reply.status.as_u16(),
        location: reply.header("location").map(str::to_owned),
        headers: reply.headers.clone(),
        body: reply.text().await.expect("text"),
    }
}

impl<'a> Browser<'a> {
    pub async fn signed_in(engine: &'a TestEngine, user: &str) -> Self {
        let code = engine.identity.login_code(user, "test").await.expect("a code");
        let secret = engine.identity.begin_session(code.expose()).await.expect("a session").expect("good");
        let cookie = format!("{}={}", engine.identity.session_cookie_name(), secret.expose());
        Browser { engine, cookie }
    }

    pub fn anonymous(engine: &'a TestEngine) -> Self {
        Browser { engine, cookie: String::new() }
    }

    pub async fn get(&self, path: &str) -> Page {
        let url = if path.starts_with("http") { path.to_owned() } else { self.engine.url_of(path) };
        page(self.engine.client.get(url).header("cookie", self.cookie.as_str()).send().await.expect("an answer")).await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let request = self.engine.client.post(self.engine.url_of(path)).header("cookie", self.cookie.as_str());
        page(request.form(fields).send().await.expect("an answer")).await
    }

    /// Opens the authorisation endpoint.
    pub async fn authorize(&self, app: &App, scope: &str, more: &[(&str, &str)]) -> Page {
        self.get(&authorize_path(app, scope, more)).await
    }

    /// Presses a button on the consent page.
    pub async fn decide(&self, page: &Page, decision: &str) -> Page {
        let (csrf, request) = (page.field("csrf"), page.field("request"));
        self.post("/oidc/consent", &[("csrf", &csrf), ("request", &request), ("decision", decision)]).await
    }

    /// The whole way to a code.
    pub async fn code(&self, app: &App, scope: &str, more: &[(&str, &str)]) -> String {
        let mut page = self.authorize(app, scope, more).await;
        if page.location.is_none() {
            page = self.decide(&page, "allow").await;
        }
        let answer = page.answer();
        answer.get("code").unwrap_or_else(|| panic!("no code in {answer:?}")).clone()
    }

    /// The whole way to tokens.
    pub async fn tokens(&self, app: &App, scope: &str) -> Value {
        let code = self.code(app, scope, &[]).await;
        let (status, answer) = redeem(self.engine, app, &code, &[]).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// With PKCE, state and nonce; `more` takes the place of what has the same name, and an empty value leaves it out.
pub fn authorize_path(app: &App, scope: &str, more: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut pairs: Vec<(&str, &str)> = vec![
        ("response_type", "code"),
        ("client_id", &app.id),
        ("redirect_uri", CALLBACK),
        ("scope", scope),
        ("state", "the state"),
        ("nonce", "the nonce"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in more {
        pairs.retain(|(known, _)| known != name);
        pairs.push((name, value));
    }
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/oidc/authorize?{query}")
}

/// Redeems a code; `more` takes the place of what has the same name.
pub async fn redeem(engine: &TestEngine, app: &App, code: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let mut fields: Vec<(&str, &str)> = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in more {
        fields.retain(|(known, _)| known != name);
        fields.push((name, value));
    }
    token(engine, app, &fields).await
}
