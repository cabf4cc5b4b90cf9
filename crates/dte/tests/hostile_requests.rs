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
