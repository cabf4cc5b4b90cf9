//! A browser for tests: keeps cookies, fills in forms as they stand in the page, and follows nothing by itself.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;

use dte_http::{Client, Reply};
use dte_identity::testing::TestEngine;
use dte_identity::{Mount, Principal, Require, Routes};
use http::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};

pub const PASSWORD: &str = "correct horse battery";

pub fn mounts() -> Vec<Mount> {
    let whoami = async |principal: Principal| format!("{}|{}", principal.issuer, principal.name());
    let peer = async |peer: Option<axum::extract::Extension<dte_http::PeerAddress>>| format!("{peer:?}");
    let routes = Routes::new("demo")
        .sessions()
        .get("/peer", Require::Public("a test"), peer)
        .get("/me", Require::Authenticated, whoami)
        .get("/admin", Require::Admin, async || "ok");
    vec![Mount { prefix: "/demo", routes }]
}

pub struct Browser {
    pub client: Client,
    pub origin: String,
    pub cookies: BTreeMap<String, String>,
}

pub struct Page {
    pub status: u16,
    pub location: Option<String>,
    pub text: String,
}

impl Page {
    /// The value of a hidden field of the form that leads to `action`.
    pub fn hidden(&self, action: &str, name: &str) -> String {
        let form = self.text.split("<form").find(|form| form.contains(&format!("method=\"post\" action=\"{action}\"")));
        let form = form.unwrap_or_else(|| panic!("no form to {action} in {}", self.text));
        let field = format!("name=\"{name}\" value=\"");
        let value = form.split(&field).nth(1).unwrap_or_else(|| panic!("no field {name} in {form}"));
        value.split('"').next().expect("a value").replace("&amp;", "&")
    }

    pub fn alert(&self) -> &str {
        let text = self.text.split("role=\"alert\">").nth(1).unwrap_or_default();
        text.split('<').next().unwrap_or_default()
    }

    /// The text between `before` and the next tag.
    pub fn after(&self, before: &str) -> String {
        let text = self.text.split(before).nth(1).unwrap_or_else(|| panic!("no {before} in {}", self.text));
        text.split('<').next().expect("a text").to_owned()
    }
}

impl Browser {
    pub fn new(engine: &TestEngine) -> Browser {
        let origin = engine.url.as_str().trim_end_matches('/').to_owned();
        Browser { client: engine.client.clone(), origin, cookies: BTreeMap::new() }
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.origin) }
    }

    fn cookie_header(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    async fn took(&mut self, reply: Reply) -> Page {
        for value in reply.headers.get_all(SET_COOKIE) {
            let text = value.to_str().expect("a text");
            assert!(text.contains("HttpOnly") && text.contains("SameSite=Lax"), "{text}");
            let (name, value) = text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page {
            status: reply.status.as_u16(),
            location: reply.header(LOCATION).map(str::to_owned),
            text: reply.text().await.expect("a text"),
        }
    }

    pub async fn get(&mut self, path: &str) -> Page {
        let request = self.client.get(self.url(path)).header(COOKIE, self.cookie_header());
        let reply = request.send().await.expect("an answer");
        self.took(reply).await
    }

    pub async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        self.post_from(&self.origin.clone(), path, form).await
    }

    pub async fn post_from(&mut self, origin: &str, path: &str, form: &[(&str, &str)]) -> Page {
        let request = self.client.post(self.url(path)).header(COOKIE, self.cookie_header()).header(ORIGIN, origin);
        let reply = request.form(form).send().await.expect("an answer");
        self.took(reply).await
    }

    /// Fills in the sign-in form.
    pub async fn sign_in(&mut self, name: &str, password: &str) -> Page {
        self.sign_in_to("/demo/me", name, password).await
    }

    pub async fn sign_in_to(&mut self, next: &str, name: &str, password: &str) -> Page {
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let page = self.get(&format!("/oidc/login?next={next}")).await;
        assert_eq!(page.status, 200);
        let (csrf, next) = (page.hidden("/oidc/login", "csrf"), page.hidden("/oidc/login", "next"));
        self.post("/oidc/login", &[("csrf", &csrf), ("next", &next), ("name", name), ("password", password)]).await
    }

    /// Sends a form of a page, with its form token.
    pub async fn submit(&mut self, page: &str, action: &str, form: &[(&str, &str)]) -> Page {
        let page = self.get(page).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let csrf = page.hidden(action, "csrf");
        let fields: Vec<(&str, &str)> = std::iter::once(("csrf", csrf.as_str())).chain(form.iter().copied()).collect();
        self.post(action, &fields).await
    }

    pub async fn me(&mut self) -> (u16, String) {
        let page = self.get("/demo/me").await;
        (page.status, page.text)
    }

    pub async fn is_in(&mut self) -> bool {
        self.me().await.0 == 200
    }
}

/// Engines on each store that is at hand, with alice who has a password.
pub async fn engines(config: &str) -> Vec<TestEngine> {
    let mut engines = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        let setup = dte_identity::testing::TestSetup {
            config: config.to_owned(),
            store: Some(store),
            ..dte_identity::testing::TestSetup::default()
        };
        let engine = TestEngine::start_with(setup, async |_| Ok(mounts())).await;
        engine.identity.add_user("alice", false, "test").await.expect("made");
        engine.identity.set_password("alice", PASSWORD, None, "test").await.expect("set");
        engines.push(engine);
    }
    engines
}
