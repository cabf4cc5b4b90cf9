//! Every route of a running engine, asked by those who have no business there; and what a page in a browser tab could try.

mod harness;

use std::time::Duration;

use dte_http::{Client, HttpConfig};
use harness::{Engine, dte};
use serde_json::Value;

fn client() -> Client {
    Client::new(&HttpConfig::default(), "http://nobody.invalid".parse().expect("a URL"))
}

/// `/rses/{rse}` with something harmless in place of what is in braces.
fn concrete(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push('x');
        rest = after.split_once('}').map_or("", |(_, tail)| tail);
    }
    out + rest
}

fn routes(engine: &Engine) -> Vec<Value> {
    let output = dte().args(["auth", "routes", "--json", "--data-dir"]).arg(&engine.data_dir).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A token as an attacker would write it: base64 of header and claims, and a signature that nobody made.
fn forged(algorithm: &str, issuer: &str) -> String {
    fn base64url(text: &str) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        text.as_bytes()
            .chunks(3)
            .flat_map(|chunk| {
                let word =
                    chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
                (0..=chunk.len()).map(move |i| char::from(DIGITS[(word >> (18 - 6 * i) & 63) as usize]))
            })
            .collect()
    }
    let claims = format!(
        r#"{{"iss":"{issuer}","sub":"admin","aud":"https://wlcg.cern.ch/jwt/v1/any","exp":4102444800,"iat":1,"scope":"storage.modify:/ compute.create","wlcg.ver":"1.0","jti":"1"}}"#
    );
    format!(
        "{}.{}.{}",
        base64url(&format!(r#"{{"alg":"{algorithm}","kid":"x"}}"#)),
        base64url(&claims),
        base64url("no signature")
    )
}

#[tokio::test]
async fn no_route_opens_to_those_who_do_not_belong() {
    let folder = tempfile::tempdir().expect("folder");
    let engine = Engine::start(&folder.path().join("d"), &["up"], &[]);
    let issuer = format!("{}/oidc", engine.url);
    let short = engine.token_with(&["--lifetime", "1s"]);
    let elsewhere = engine.token_with(&["--audience", "https://elsewhere.example"]);
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let tokens = [
        ("none", None),
        ("garbage", Some("garbage".to_owned())),
        ("unsigned", Some(forged("none", &issuer))),
        ("keyed with a guess", Some(forged("HS256", &issuer))),
        ("badly signed", Some(forged("ES256", &issuer))),
        ("of an unknown issuer", Some(forged("ES256", "https://evil.example"))),
        ("expired", Some(short)),
        ("for another audience", Some(elsewhere)),
        ("oversized", Some("x".repeat(20_000))),
    ];
    let routes = routes(&engine);
    let client = client();
    let mut asked = 0;
    for route in &routes {
        let text = |key: &str| route[key].as_str().expect("text");
        // Pages of people are asked with sessions, and send those who have none to the login page.
        if text("requirement").starts_with("public") {
            continue;
        }
        for (what, token) in &tokens {
            let method = if text("method") == "*" { "GET" } else { text("method") };
            let url = format!("{}{}", engine.url, concrete(text("path")));
            let mut request = client.request(method.parse().expect("a method"), &url);
            if let Some(token) = token {
                request = request.bearer(token);
            }
            let reply = request.send().await.expect("answers");
            let status = reply.status.as_u16();
            // Rucio answers 400 where the header with the token is missing.
            let missing = *what == "none" && text("service") == "lake" && status == 400;
            assert!(matches!(status, 401 | 431) || missing, "{method} {url} with a token {what}: {status}");
            asked += 1;
        }
    }
    assert!(asked > 400, "only {asked} requests were made");
    // A good token still works, so the above is not an engine that refuses everybody.
    assert!(engine.api().get("/twins/api/v1/twins").await["items"].is_array());
    engine.stop();
}

#[tokio::test]
async fn a_foreign_page_cannot_use_the_browser() {
    let folder = tempfile::tempdir().expect("folder");
    let engine = Engine::start(&folder.path().join("d"), &["up"], &[]);
    let reply =
        client().get(format!("{}/healthz", engine.url)).header("host", "evil.example").send().await.expect("answers");
    assert!(reply.status.is_client_error(), "a foreign Host (DNS rebinding) got {}", reply.status);
    let reply = client()
        .post(format!("{}/ui/login", engine.url))
        .header("origin", "https://evil.example")
        .form(&[("code", "x")])
        .send()
        .await
        .expect("answers");
    assert!(reply.status.is_client_error(), "a foreign Origin got {}", reply.status);
    engine.stop();
}

/// What a route answers to somebody.
async fn ask(client: &Client, engine: &Engine, route: &Value, token: Option<&str>) -> (u16, String) {
    let text = |key: &str| route[key].as_str().expect("text");
    let method = if text("method") == "*" { "GET" } else { text("method") };
    let url = format!("{}{}", engine.url, concrete(text("path")));
    let mut request = client.request(method.parse().expect("a method"), &url);
    if let Some(token) = token {
        request = request.bearer(token);
    }
    let reply = tokio::time::timeout(Duration::from_secs(30), request.send()).await.expect("in time").expect("answers");
    (reply.status.as_u16(), format!("{method} {url} ({})", text("requirement")))
}

#[tokio::test]
async fn the_table_of_routes_is_true() {
    let folder = tempfile::tempdir().expect("folder");
    let engine = Engine::start(&folder.path().join("d"), &["up"], &[]);
    let made = dte().args(["user", "add", "eve", "--data-dir"]).arg(&engine.data_dir).output().expect("runs");
    assert!(made.status.success());
    let eve = engine.token_with(&["--user", "eve"]);
    // Tokens with a capability that has nothing to do with what is asked for; an administrator's is no better.
    let foreign = [
        engine.token_with(&["--user", "eve", "--scope", "storage.poll:/nowhere"]),
        engine.token_with(&["--scope", "storage.poll:/nowhere openid"]),
    ];
    let routes = routes(&engine);
    let client = client();
    let mut tokens = std::collections::HashMap::new();
    let (mut public, mut admin, mut others) = (0, 0, 0);
    for route in &routes {
        let requirement = route["requirement"].as_str().expect("text");
        let (status, what) = ask(&client, &engine, route, None).await;
        if requirement.starts_with("public: ") {
            // It is there, and open: what a stranger gets is no demand for a token of this gate.
            if status == 404 {
                let path = concrete(route["path"].as_str().expect("text"));
                let reply = client.get(format!("{}{path}", engine.url)).send().await.expect("answers");
                let body = reply.bytes(64 << 10).await.expect("a body");
                let is_nowhere = String::from_utf8_lossy(&body).contains("there is nothing at this path");
                assert!(!is_nowhere, "{what} is in the table and not mounted");
            }
            public += 1;
            continue;
        }
        let missing = route["service"] == "lake" && status == 400;
        assert!(status == 401 || missing, "{what} without a token: {status}");
        for token in &foreign {
            let (status, what) = ask(&client, &engine, route, Some(token)).await;
            // Storage says of an area that is not there that it is not there.
            let nowhere = requirement.starts_with("storage scopes") && status == 404;
            assert!(status == 403 || nowhere, "{what} with a token that is confined to something else: {status}");
        }
        if requirement == "admin" {
            let (status, what) = ask(&client, &engine, route, Some(&eve)).await;
            assert_eq!(status, 403, "{what} with a user's token");
            admin += 1;
        }
        // Whatever scope is named is one that `dte token` gives, and it opens the route.
        if let Some(scopes) = requirement.strip_prefix("scope ") {
            let scopes = scopes.split(';').next().unwrap_or(scopes);
            for scope in scopes.split(" or ") {
                assert!(dte_identity::is_known_scope(scope), "{what}");
                if !what.contains("/stream") {
                    let token =
                        tokens.entry(scope.to_owned()).or_insert_with(|| engine.token_with(&["--scope", scope]));
                    let (status, what) = ask(&client, &engine, route, Some(token)).await;
                    // Rucio says 401 of what its own policy forbids.
                    assert!(status != 401 || route["service"] == "lake", "{what} with {scope}: {status}");
                }
            }
        }
        others += 1;
    }
    println!("{public} public, {others} others, {admin} of them for administrators");
    assert!(public > 5 && others > 100 && admin >= 5);
    engine.stop();
}

/// A port that is free now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

#[tokio::test]
async fn every_listener_checks_host_and_origin() {
    let folder = tempfile::tempdir().expect("folder");
    let data_dir = folder.path().join("d");
    std::fs::create_dir_all(&data_dir).expect("folder");
    let own: Vec<(&str, u16)> = ["interlink", "ui", "dav", "rucio"].map(|name| (name, free_port())).to_vec();
    let listen: String = own.iter().map(|(name, port)| format!("{name} = \"127.0.0.1:{port}\"\n")).collect();
    std::fs::write(data_dir.join("dte.toml"), format!("[listen]\n{listen}")).expect("writes");
    let engine = Engine::start(&data_dir, &["up"], &[]);
    let client = client();
    let at = |name: &str| own.iter().find(|(own, _)| *own == name).map(|(_, port)| format!("http://127.0.0.1:{port}"));
    let token = engine.token();

    // A session, as a browser gets it.
    let link = dte().arg("ui").arg("--data-dir").arg(&engine.data_dir).output().expect("runs");
    let link = String::from_utf8(link.stdout).expect("text");
    let code = link.trim().split_once("code=").expect("a code").1.to_owned();
    let login = format!("{}/ui/login", engine.url);
    let reply = client.post(&login).header("origin", engine.url.as_str()).form(&[("code", code.as_str())]).send().await;
    let reply = reply.expect("answers");
    let cookie = reply.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    assert!(reply.header("set-cookie").expect("a cookie").contains("SameSite=Lax"));

    let main = (engine.url.clone(), "/ui/", "/ui/twins/x");
    let of_ui = (at("ui").expect("a listener"), "/", "/twins/x");
    for (base, page, change) in [&main, &of_ui] {
        let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
            let mut request = client.request(method.parse().expect("a method"), format!("{base}{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            async move { request.send().await.expect("answers").status.as_u16() }
        };
        assert_eq!(ask("GET", page, &[("cookie", &cookie)]).await, 200, "{base}");
        assert_eq!(ask("GET", page, &[("cookie", &cookie), ("host", "evil.example")]).await, 421, "{base}");
        assert_ne!(ask("GET", page, &[]).await, 200, "{base}: pages are for those who are signed in");
        // A page of another site or of another port of this host sends the cookie too.
        for origin in ["https://evil.example", "http://127.0.0.1:1", "null"] {
            let logout = change.replace("twins/x", "logout");
            let status = ask("POST", &logout, &[("cookie", &cookie), ("origin", origin)]).await;
            assert_eq!(status, 403, "{base}{logout} from {origin}");
        }
    }
    // The other listeners check the host as well, and know no cookies.
    for (name, path) in [("interlink", "/pods"), ("dav", "/home/admin/"), ("rucio", "/rses/")] {
        let url = format!("{}{path}", at(name).expect("a listener"));
        let get = || client.get(&url);
        assert_eq!(get().bearer(token.as_str()).send().await.expect("answers").status.as_u16(), 200, "{url}");
        for foreign in ["evil.example", "127.0.0.1:1", "localhost"] {
            let reply = get().bearer(token.as_str()).header("host", foreign).send().await.expect("answers");
            assert_eq!(reply.status.as_u16(), 421, "{url} as {foreign}");
        }
        let status = get().header("cookie", cookie.as_str()).send().await.expect("answers").status.as_u16();
        assert!(matches!(status, 400 | 401), "{url} with a cookie only: {status}");
    }
    engine.stop();
}
