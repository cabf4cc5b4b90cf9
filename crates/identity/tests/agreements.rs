//! Terms of use: published, asked for, accepted, on every way there is.

mod wire;

use dte_base::secret::Secret;
use dte_identity::testing::TestEngine;
use dte_identity::{Mount, Require, Routes};
use http::header::{COOKIE, LOCATION};
use serde_json::{Value, json};
use wire::{engines, send};

/// A service where things are begun.
fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo")
        .get("/things", Require::Authenticated, async || "all")
        .post("/things", Require::Authenticated, async || "begun")
        .delete("/things", Require::Authenticated, async || "gone")
        .post("/pods", Require::Scope("compute.create"), async || "begun");
    vec![Mount { prefix: "/demo", routes }]
}

fn terms(class: &str) -> Value {
    json!({
        "change_class": class, "name": "Ocean infrastructure", "purpose": "research on the ocean",
        "security_contact": "security@example.org", "privacy_notices": ["https://example.org/privacy"],
    })
}

/// Drafts and publishes; gives the version's id.
async fn publish(engine: &TestEngine, token: &Secret, owner: &str, wanted: &Value) -> String {
    let versions = format!("/policy/v1/aups/{owner}/versions");
    let (status, draft) = send(engine, token, "POST", &versions, Some(wanted)).await;
    assert_eq!(status, 201, "{draft}");
    let reviewed = json!({"text_sha256": draft["text_sha256"]});
    let path = format!("{versions}/{}:publish", draft["version"].as_str().expect("a version"));
    let (status, published) = send(engine, token, "POST", &path, Some(&reviewed)).await;
    assert_eq!((status, &published["status"]), (200, &json!("published")), "{published}");
    published["id"].as_str().expect("an id").to_owned()
}

async fn begins(engine: &TestEngine, token: &Secret) -> u16 {
    send(engine, token, "POST", "/demo/things", None).await.0
}

#[tokio::test]
async fn nothing_new_begins_before_it_is_accepted() {
    for engine in engines(mounts).await {
        let admin = engine.admin_token();
        let alice = engine.token_for("alice", &[]).await;
        let bob = engine.token_for("bob", &[]).await;
        assert_eq!(begins(&engine, &alice).await, 200);
        let first = publish(&engine, &admin, "infrastructure", &terms("material")).await;
        // Refused with a link; all else goes on.
        let (status, problem) = send(&engine, &alice, "POST", "/demo/things", None).await;
        assert_eq!((status, &problem["reason"]), (403, &json!("aup-required")), "{problem}");
        assert_eq!(problem["link"], engine.url_of("/oidc/aup"));
        for (method, path) in [("GET", "/demo/things"), ("DELETE", "/demo/things"), ("GET", "/policy/v1/me/groups")] {
            assert_eq!(send(&engine, &alice, method, path, None).await.0, 200, "{method} {path}");
        }
        // Programs accept nothing; a service finishes what runs and begins nothing new.
        let secret = engine.identity.add_client("robot", &["compute.create"], &[], "test").await.expect("a client");
        let robot = engine.identity.client_token("robot", secret.expose(), None, None).expect("a token").token;
        assert_eq!(send(&engine, &robot, "POST", "/demo/pods", None).await.0, 200);
        let acting = engine.identity.acting_token(&engine.user_ref("alice"), "workflow", &[], None).expect("a token");
        assert_eq!(begins(&engine, &acting).await, 200);
        assert_eq!(send(&engine, &acting, "POST", "/demo/pods", None).await.0, 403);

        let (_, scopes) = send(&engine, &alice, "GET", "/policy/v1/me/scopes", None).await;
        assert_eq!(scopes["obstacle"]["reason"], "aup_acceptance_required", "no grant acts for alice");
        let (_, mine) = send(&engine, &alice, "GET", "/policy/v1/me/requirements", None).await;
        assert_eq!((&mine["items"][0]["need"], &mine["items"][0]["id"]), (&json!("required"), &json!(first)));
        assert!(mine["items"][0]["text"].as_str().expect("a text").contains("research on the ocean"));
        let path = "/policy/v1/acceptances";
        let accept = json!({"versions": [first]});
        // Nobody accepts for others, with a confined token, or what is not there.
        let confined = engine.token_for("alice", &["compute.create"]).await;
        for (token, body, wanted) in [
            (&bob, json!({"versions": [first], "subject": "alice"}), 403),
            (&confined, accept.clone(), 403),
            (&robot, accept.clone(), 403),
            (&acting, accept.clone(), 403),
            (&alice, json!({"versions": []}), 400),
            (&alice, json!({"versions": [first, "nothing"]}), 404),
            (&admin, json!({"versions": [first], "subject": "nobody"}), 404),
        ] {
            assert_eq!(send(&engine, token, "POST", path, Some(&body)).await.0, wanted, "{body}");
        }
        assert_eq!(begins(&engine, &alice).await, 403);
        let (status, made) = send(&engine, &alice, "POST", path, Some(&accept)).await;
        assert_eq!((status, &made["items"][0]["method"]), (201, &json!("api")), "{made}");
        assert_eq!((begins(&engine, &alice).await, begins(&engine, &bob).await), (200, 403));
        assert_eq!(send(&engine, &acting, "POST", "/demo/pods", None).await.0, 200);
        let on_behalf = json!({"versions": [first], "subject": "bob"});
        assert_eq!(send(&engine, &admin, "POST", path, Some(&on_behalf)).await.1["items"][0]["method"], "on_behalf");
        assert_eq!(begins(&engine, &bob).await, 200);

        // An editorial change asks nobody, a material one everybody, at once.
        publish(&engine, &admin, "infrastructure", &terms("editorial")).await;
        assert_eq!(begins(&engine, &alice).await, 200);
        let mut wanted = terms("material");
        wanted["extra_clauses"] = json!(["Cite the data."]);
        let third = publish(&engine, &admin, "infrastructure", &wanted).await;
        assert_eq!((begins(&engine, &alice).await, begins(&engine, &bob).await), (403, 403));
        send(&engine, &alice, "POST", path, Some(&json!({"versions": [third]}))).await;
        assert_eq!(begins(&engine, &alice).await, 200);
        // With grace those who accepted before have time, others have none.
        let mut gracious = terms("material");
        gracious["grace_days"] = json!(3);
        publish(&engine, &admin, "infrastructure", &gracious).await;
        let carol = engine.token_for("carol", &[]).await;
        assert_eq!((begins(&engine, &alice).await, begins(&engine, &carol).await), (200, 403));
        let (_, mine) = send(&engine, &alice, "GET", "/policy/v1/me/requirements", None).await;
        assert_eq!(mine["items"][0]["need"], "grace");
        // Exempt by name and with a reason, or not at all.
        assert_eq!(
            send(&engine, &alice, "PUT", "/policy/v1/exemptions/carol", Some(&json!({"reason": "x"}))).await.0,
            403
        );
        assert_eq!(
            send(&engine, &admin, "PUT", "/policy/v1/exemptions/carol", Some(&json!({"reason": " "}))).await.0,
            400
        );
        assert_eq!(
            send(&engine, &admin, "PUT", "/policy/v1/exemptions/carol", Some(&json!({"reason": "bob's robot"})))
                .await
                .0,
            204
        );
        assert_eq!(begins(&engine, &carol).await, 200);
        assert_eq!(send(&engine, &admin, "DELETE", "/policy/v1/exemptions/carol", None).await.0, 204);
        assert_eq!(begins(&engine, &carol).await, 403);
        // Taken back.
        let revoke = json!({"version": third});
        assert_eq!(send(&engine, &alice, "POST", "/policy/v1/acceptances:revoke", Some(&revoke)).await.0, 200);
        assert_eq!(send(&engine, &alice, "POST", "/policy/v1/acceptances:revoke", Some(&revoke)).await.0, 404);
        // Who sees what; nothing was ever overwritten.
        let (_, own) = send(&engine, &alice, "GET", path, None).await;
        assert_eq!(own["items"].as_array().expect("a list").len(), 3, "{own}");
        let (_, all) = send(&engine, &admin, "GET", path, None).await;
        assert_eq!(all["items"].as_array().expect("a list").len(), 4, "{all}");
        assert_eq!(send(&engine, &bob, "GET", &format!("{path}?subject=alice"), None).await.0, 403);
        assert_eq!(send(&engine, &bob, "GET", &format!("{path}:export"), None).await.0, 403);
        let reply = engine.client.get(engine.url_of(&format!("{path}:export?format=csv"))).bearer(&admin).send().await;
        let reply = reply.expect("an answer");
        assert!(reply.header("dte-signature").is_some_and(|text| text.matches('.').count() == 2));
        assert_eq!(reply.text().await.expect("a text").lines().count(), 5);
        assert!(engine.identity.audit().verify().await.expect("read").broken_at.is_none());
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn versions_are_published_once_and_stay() {
    for engine in engines(mounts).await {
        let admin = engine.admin_token();
        let alice = engine.token_for("alice", &[]).await;
        let all = "/policy/v1/aups/infrastructure/versions";
        assert_eq!(send(&engine, &alice, "POST", all, Some(&terms("material"))).await.0, 403);
        assert_eq!(
            send(&engine, &admin, "POST", "/policy/v1/aups/nobody/versions", Some(&terms("material"))).await.0,
            404
        );
        for missing in ["purpose", "security_contact", "privacy_notices", "name"] {
            let mut bad = terms("material");
            bad.as_object_mut().expect("an object").remove(missing);
            let (status, body) = send(&engine, &admin, "POST", all, Some(&bad)).await;
            assert_eq!(status, 400);
            assert!(body["detail"].as_str().expect("a text").contains(missing), "{body}");
        }
        let (_, draft) = send(&engine, &admin, "POST", all, Some(&terms("material"))).await;
        assert_eq!(draft["version"], "1.0.0");
        assert_eq!(send(&engine, &alice, "GET", &format!("{all}/1.0.0"), None).await.0, 403, "a draft is for keepers");
        assert_eq!(send(&engine, &alice, "GET", "/policy/v1/aups/infrastructure", None).await.0, 404);
        let wrong = json!({"text_sha256": "0".repeat(64)});
        assert_eq!(send(&engine, &admin, "POST", &format!("{all}/1.0.0:publish"), Some(&wrong)).await.0, 409);
        let mut better = terms("material");
        better["purpose"] = json!("better");
        assert_eq!(send(&engine, &admin, "PUT", &format!("{all}/1.0.0"), Some(&better)).await.0, 200);
        assert_eq!(send(&engine, &alice, "POST", &format!("{all}/1.0.0:publish"), None).await.0, 403);
        assert_eq!(send(&engine, &admin, "POST", &format!("{all}/1.0.0:publish"), None).await.0, 200);
        let (status, body) = send(&engine, &admin, "PUT", &format!("{all}/1.0.0"), Some(&terms("editorial"))).await;
        assert_eq!(status, 409, "a published text stays: {body}");
        let (status, body) = send(&engine, &admin, "POST", &format!("{all}/1.0.0:publish"), None).await;
        assert_eq!((status, &body["allowed"]), (409, &json!(["retired"])));
        let mut same = terms("material");
        same["version"] = json!("1.0.0");
        assert_eq!(send(&engine, &admin, "POST", all, Some(&same)).await.0, 409);
        assert_eq!(send(&engine, &alice, "GET", "/policy/v1/aups/infrastructure", None).await.1["purpose"], "better");
        // A community's own terms are kept by its managers, and asked of its members.
        let (_, vo) =
            send(&engine, &admin, "POST", "/policy/v1/groups", Some(&json!({"path": "/ocean", "managers": ["alice"]})))
                .await;
        let own = publish(&engine, &alice, "vo:ocean", &terms("material")).await;
        assert_eq!(
            send(&engine, &alice, "POST", "/policy/v1/aups/vo:sea/versions", Some(&terms("material"))).await.0,
            403
        );
        let bob = engine.token_for("bob", &[]).await;
        let needs = async |token: &Secret| {
            let (_, mine) = send(&engine, token, "GET", "/policy/v1/me/requirements", None).await;
            mine["items"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| one["owner"].as_str().expect("an owner").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(needs(&bob).await, ["infrastructure"]);
        let members = format!("/policy/v1/groups/{}/members", vo["id"].as_str().expect("an id"));
        send(&engine, &alice, "POST", &members, Some(&json!({"members": [{"name": "bob"}]}))).await;
        assert_eq!(needs(&bob).await, ["infrastructure", "vo:ocean"]);
        assert_eq!(send(&engine, &alice, "POST", "/policy/v1/aups/vo:ocean/versions/1.0.0:retire", None).await.0, 200);
        assert_eq!(needs(&bob).await, ["infrastructure"]);
        let late = json!({"versions": [own]});
        assert_eq!(send(&engine, &bob, "POST", "/policy/v1/acceptances", Some(&late)).await.0, 409);
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn as_in_indigo_iam() {
    let engine = TestEngine::start(async |_| Ok(mounts())).await;
    let admin = engine.admin_token();
    let alice = engine.token_for("alice", &[]).await;
    let aup = "/oidc/iam/aup";
    let body = json!({"url": "https://example.org/aup", "signatureValidityInDays": 0, "description": "use it well"});
    assert_eq!(send(&engine, &alice, "GET", aup, None).await.0, 404);
    assert_eq!(send(&engine, &alice, "POST", aup, Some(&body)).await.0, 403);
    for url in ["", "  ", "nothing", "https://example.org/aup?x=1", &format!("https://example.org/{}", "x".repeat(128))]
    {
        let (status, error) =
            send(&engine, &admin, "POST", aup, Some(&json!({"url": url, "signatureValidityInDays": 0}))).await;
        assert!(status == 400 && error["error"].is_string(), "{url}: {status} {error}");
    }
    assert_eq!(
        send(
            &engine,
            &admin,
            "POST",
            aup,
            Some(&json!({"url": "https://example.org/aup", "signatureValidityInDays": -1}))
        )
        .await
        .0,
        400
    );
    assert_eq!(send(&engine, &alice, "POST", &format!("{aup}/signature"), None).await.0, 404);
    let (status, made) = send(&engine, &admin, "POST", aup, Some(&body)).await;
    assert_eq!((status, &made["url"], &made["aupRemindersInDays"]), (201, &body["url"], &json!("30,15,1")), "{made}");
    assert_eq!(send(&engine, &admin, "POST", aup, Some(&body)).await.0, 409);
    let signature = format!("{aup}/signature");
    assert_eq!(send(&engine, &alice, "GET", &signature, None).await.0, 404);
    assert_eq!(begins(&engine, &alice).await, 403);
    assert_eq!(send(&engine, &alice, "POST", &signature, None).await.0, 201);
    let (status, signed) = send(&engine, &alice, "GET", &signature, None).await;
    assert_eq!((status, &signed["account"]["uuid"], &signed["aup"]["url"]), (200, &json!("alice"), &body["url"]));
    assert!(signed["signatureTime"].is_string());
    assert_eq!(begins(&engine, &alice).await, 200);
    // A changed text does not ask again; a touch does.
    let (status, changed) = send(&engine, &admin, "PATCH", aup, Some(&json!({"description": "use it better"}))).await;
    assert_eq!(
        (status, &changed["description"], &changed["lastUpdateTime"]),
        (200, &json!("use it better"), &made["lastUpdateTime"])
    );
    assert_eq!(begins(&engine, &alice).await, 200);
    let (status, touched) = send(&engine, &admin, "POST", &format!("{aup}/touch"), None).await;
    assert!(status == 200 && touched["lastUpdateTime"] != made["lastUpdateTime"], "{touched}");
    assert_eq!(begins(&engine, &alice).await, 403);
    // On behalf, by administrators.
    let bob = engine.token_for("bob", &[]).await;
    let of_alice = format!("{signature}/alice");
    for (method, wanted) in [("GET", 403), ("PATCH", 403), ("DELETE", 403)] {
        assert_eq!(send(&engine, &bob, method, &of_alice, None).await.0, wanted, "{method}");
    }
    assert_eq!(send(&engine, &admin, "PATCH", &of_alice, None).await.0, 201);
    assert_eq!(begins(&engine, &alice).await, 200);
    assert_eq!(send(&engine, &alice, "GET", &of_alice, None).await.0, 200);
    assert_eq!(send(&engine, &admin, "DELETE", &of_alice, None).await.0, 204);
    assert_eq!(send(&engine, &admin, "DELETE", &of_alice, None).await.0, 404);
    assert_eq!(begins(&engine, &alice).await, 403);
    assert_eq!(send(&engine, &admin, "GET", &format!("{signature}/nobody"), None).await.0, 404);
    assert_eq!(send(&engine, &admin, "DELETE", aup, None).await.0, 204);
    assert_eq!(send(&engine, &admin, "DELETE", aup, None).await.0, 404);
    assert_eq!(begins(&engine, &alice).await, 200);
}

#[tokio::test]
async fn one_page_for_all_terms() {
    let engine = TestEngine::start(async |_| Ok(mounts())).await;
    let admin = engine.admin_token();
    let alice = engine.token_for("alice", &[]).await;
    let (_, vo) = send(&engine, &admin, "POST", "/policy/v1/groups", Some(&json!({"path": "/ocean"}))).await;
    let members = format!("/policy/v1/groups/{}/members", vo["id"].as_str().expect("an id"));
    send(&engine, &admin, "POST", &members, Some(&json!({"members": [{"name": "alice"}]}))).await;
    publish(&engine, &admin, "infrastructure", &terms("material")).await;
    let mut own = terms("material");
    own["name"] = json!("Ocean <community>");
    own["extra_clauses"] = json!(["Cite the data."]);
    publish(&engine, &admin, "vo:ocean", &own).await;

    let page = engine.url_of("/oidc/aup?next=/oidc/device");
    let stranger = engine.client.get(&page).send().await.expect("an answer");
    assert_eq!(stranger.status, 303);
    assert!(stranger.header(LOCATION).is_some_and(|to| to.starts_with("/oidc/login?next=")));
    let code = engine.identity.login_code("alice", "test").await.expect("a code");
    let secret = engine.identity.begin_session(code.expose()).await.expect("read").expect("a session");
    let cookie = format!("{}={}", engine.identity.session_cookie_name(), secret.expose());
    let shown = engine.client.get(&page).header(COOKIE, cookie.clone()).send().await.expect("an answer");
    let text = shown.text().await.expect("a text");
    assert!(
        text.contains("all 2 of them") && text.contains("Ocean &lt;community&gt;") && text.contains("Cite the data.")
    );
    assert_eq!(text.matches("Protect what proves who you are").count(), 1, "base clauses once");
    let hidden = |name: &str| {
        let from = text.split_once(&format!("name=\"{name}\" value=\"")).expect("a field").1;
        from.split_once('"').expect("closed").0.to_owned()
    };
    let csrf = hidden("csrf");
    let post = async |fields: &[(&str, &str)]| {
        let request = engine.client.post(engine.url_of("/oidc/aup")).header(COOKIE, cookie.clone()).form(fields);
        request.send().await.expect("an answer")
    };
    let versions = hidden("versions");
    let answer = |csrf: &str, versions: &str, answer: &str, next: &str| {
        [("csrf", csrf), ("versions", versions), ("answer", answer), ("next", next)]
            .map(|(name, value)| (name, value.to_owned()))
    };
    let post_owned = async |fields: [(&str, String); 4]| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        post(&fields).await
    };
    assert_eq!(post_owned(answer("0".repeat(32).as_str(), &versions, "accept", "/ui")).await.status, 403);
    let refused = post_owned(answer(&csrf, &versions, "refuse", "/ui")).await;
    assert_eq!(refused.status, 200);
    assert_eq!(begins(&engine, &alice).await, 403);
    // Something else was shown than what is asked for.
    let stale = post_owned(answer(&csrf, versions.split_once(',').expect("two").0, "accept", "/ui")).await;
    assert!(stale.header(LOCATION).is_some_and(|to| to.starts_with("/oidc/aup")));
    assert_eq!(begins(&engine, &alice).await, 403);
    let done = post_owned(answer(&csrf, &versions, "accept", "/oidc/device")).await;
    assert_eq!((done.status.as_u16(), done.header(LOCATION)), (303, Some("/oidc/device")));
    assert_eq!(begins(&engine, &alice).await, 200);
    let away = post_owned(answer(&csrf, &versions, "accept", "//evil.example")).await;
    assert_eq!(away.header(LOCATION), Some("/ui"));
    let (_, list) = send(&engine, &alice, "GET", "/policy/v1/acceptances", None).await;
    assert_eq!(list["items"].as_array().expect("a list").len(), 2, "one click, two records: {list}");
    assert_eq!(list["items"][1]["method"], "web");
}
