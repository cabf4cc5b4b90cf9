//! Signing in and out, through the routes.

use axum::body::Body;
use dte_dashboard::Service;
use dte_identity::testing::{TestEngine, TestSetup};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};

async fn engine() -> TestEngine {
    engine_on(TestSetup::default()).await
}

async fn engine_on(setup: TestSetup) -> TestEngine {
    TestEngine::start_with(setup, async |ctx| Ok(Service::open(ctx.for_service("dashboard")).await?.mounts())).await
}

struct Browser<'e> {
    engine: &'e TestEngine,
    cookie: Option<String>,
}

impl Browser<'_> {
    fn new(engine: &TestEngine) -> Browser<'_> {
        Browser { engine, cookie: None }
    }

    fn origin(&self) -> String {
        self.engine.url.as_str().trim_end_matches('/').to_owned()
    }

    async fn send(&self, method: Method, path: &str, origin: Option<&str>, form: &str) -> Response<Body> {
        let mut request =
            Request::builder().method(method).uri(self.engine.url_of(path)).header(HOST, self.engine.url.authority());
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, format!("other=1; {cookie}"));
        }
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let request =
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(Body::from(form.to_owned()));
        self.engine.client.send(request.expect("a request")).await.expect("an answer")
    }

    async fn get(&self, path: &str) -> Response<Body> {
        self.send(Method::GET, path, None, "").await
    }

    async fn post(&self, path: &str, form: &str) -> Response<Body> {
        self.send(Method::POST, path, Some(&self.origin()), form).await
    }

    async fn sign_in(&mut self, code: &str) -> Response<Body> {
        let response = self.post("/ui/login", &format!("code={code}")).await;
        if let Some(cookie) = response.headers().get(SET_COOKIE) {
            self.cookie = cookie.to_str().expect("text").split(';').next().map(str::to_owned);
        }
        response
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    String::from_utf8(bytes.to_vec()).expect("text")
}

async fn code(engine: &TestEngine) -> String {
    engine.identity.login_code("admin", "test").await.expect("a code").expose().to_owned()
}

#[tokio::test]
async fn a_link_signs_in_once() {
    for store in dte_store::testing::stores().await.expect("stores") {
        signs_in_once(&engine_on(TestSetup { store: Some(store), ..TestSetup::default() }).await).await;
    }
}

async fn signs_in_once(engine: &TestEngine) {
    let code = code(engine).await;
    assert_eq!(code.len(), 32);
    let mut browser = Browser::new(engine);
    assert_eq!(browser.get("/ui").await.status(), StatusCode::UNAUTHORIZED);

    // Looking at the link, even often, does not use it up.
    for _ in 0..3 {
        let page = browser.get(&format!("/ui/login?code={code}")).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(page.headers().get(SET_COOKIE).is_none());
        assert!(text(page).await.contains(&format!("value=\"{code}\"")));
    }
    let answer = browser.sign_in(&code).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()[LOCATION], "/ui");
    let cookie = answer.headers()[SET_COOKIE].to_str().expect("text").to_owned();
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let page = browser.get("/ui").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()[CONTENT_SECURITY_POLICY].to_str().expect("text").contains("default-src 'none'"));
    assert_eq!(page.headers()["x-frame-options"], "DENY");
    assert!(text(page).await.contains("<a href=\"/oidc/account\">admin</a>"));

    // The code is used up; so is every other.
    let mut second = Browser::new(engine);
    assert_eq!(second.sign_in(&code).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(second.sign_in("0123456789abcdef0123456789abcdef").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(second.sign_in(&"f".repeat(4_000)).await.status(), StatusCode::FORBIDDEN);
    assert!(second.cookie.is_none());
}

#[tokio::test]
async fn other_pages_cannot_send_our_forms() {
    let engine = engine().await;
    let code = code(&engine).await;
    let mut browser = Browser::new(&engine);
    for origin in [None, Some("http://evil.example"), Some("null")] {
        let answer = browser.send(Method::POST, "/ui/login", origin, &format!("code={code}")).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{origin:?}");
    }
    assert_eq!(browser.sign_in(&code).await.status(), StatusCode::SEE_OTHER);

    assert_eq!(browser.post("/ui/logout", "csrf=wrong").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/ui").await.status(), StatusCode::OK);
    let page = text(browser.get("/ui").await).await;
    let token = page
        .split("name=\"csrf\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a token")
        .to_owned();
    assert_eq!(
        browser.send(Method::POST, "/ui/logout", Some("http://evil.example"), &format!("csrf={token}")).await.status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(browser.post("/ui/logout", &format!("csrf={token}")).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.get("/ui").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_cookie_is_for_pages_only_and_ends_with_the_account() {
    let engine = engine().await;
    engine.token_for("alice", &[]).await;
    let code = engine.identity.login_code("alice", "test").await.expect("a code");
    let mut browser = Browser::new(&engine);
    browser.sign_in(code.expose()).await;
    assert_eq!(browser.get("/ui").await.status(), StatusCode::OK);
    // The secret is no token, here or elsewhere.
    let secret = browser
        .cookie
        .clone()
        .and_then(|pair| pair.split_once('=').map(|(_, secret)| secret.to_owned()))
        .expect("a secret");
    let reply = engine.client.get(engine.url_of("/ui")).bearer(&secret).send().await.expect("an answer");
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);

    engine.identity.set_user("alice", false, false, "test").await.expect("changed");
    assert_eq!(browser.get("/ui").await.status(), StatusCode::UNAUTHORIZED);
    assert!(engine.identity.login_code("alice", "test").await.is_err());
    assert!(engine.identity.login_code("nobody", "test").await.is_err());
}

#[tokio::test]
async fn files_and_refusals() {
    let engine = engine().await;
    let browser = Browser::new(&engine);
    let closed = browser.get("/ui").await;
    assert_eq!(closed.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    let page = text(closed).await;
    let style = page
        .split("href=\"")
        .find_map(|rest| rest.split('"').next().filter(|path| path.ends_with("style.css")))
        .expect("a style sheet");
    let file = browser.get(style).await;
    assert_eq!(file.headers()[CONTENT_TYPE], "text/css; charset=utf-8");
    assert!(file.headers()["cache-control"].to_str().expect("text").contains("immutable"));
    assert_eq!(browser.get("/ui/assets/x/passwd").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/ui/nothing").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(browser.post("/ui", "").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    // A program with a token may look, too.
    let reply = engine.client.get(engine.url_of("/ui")).bearer(&engine.admin_token()).send().await.expect("an answer");
    assert_eq!(reply.status, StatusCode::OK);
}
