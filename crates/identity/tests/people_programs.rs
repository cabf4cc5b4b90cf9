//! Which programs may act for a person: shown on the account's page, and ended there.

mod issuer_support;

use dte_identity::testing::TestEngine;
use issuer_support::*;
use serde_json::json;

const ACCOUNT: &str = "/oidc/account";
const END: &str = "/oidc/account/programs/end";

async fn engines() -> Vec<TestEngine> {
    let mut engines = Vec::new();
    for store in dte_store::testing::stores().await.expect("stores") {
        engines.push(start_with("[identity.issuer]\nregistrations_per_minute = 1000\n", Some(store)).await);
    }
    engines
}

async fn end(browser: &Browser<'_>, client_id: &str) -> Page {
    let csrf = browser.get(ACCOUNT).await.field("csrf");
    browser.post(END, &[("csrf", &csrf), ("client", client_id)]).await
}

#[tokio::test]
async fn programs_are_shown_and_ended() {
    for engine in engines().await {
        engine.identity.add_user("bob", false, "test").await.expect("made");
        let (alice, bob) = (Browser::signed_in(&engine, "alice").await, Browser::signed_in(&engine, "bob").await);
        assert!(alice.get(ACCOUNT).await.body.contains("Programs that may act for you"));
        let lasting = register(&engine, json!({"client_name": "Night <shift>"})).await;
        let passing = register(&engine, json!({"client_name": "Day trip"})).await;
        let held = alice.tokens(&lasting, "openid wlcg offline_access").await;
        let (_, begun) = call(&engine, "/oidc/devicecode", &lasting, &[("scope", "openid wlcg")]).await;
        let csrf = alice.get(text(&begun, "verification_uri_complete")).await.field("csrf");
        let allow = [("csrf", csrf.as_str()), ("user_code", text(&begun, "user_code")), ("decision", "allow")];
        assert_eq!(alice.post("/oidc/device", &allow).await.status, 200);
        let short = alice.tokens(&passing, "openid wlcg").await;
        assert!(short["refresh_token"].is_null());
        let of_bob = bob.tokens(&lasting, "openid wlcg offline_access").await;
        let code = alice.code(&lasting, "openid wlcg offline_access", &[]).await;

        let page = alice.get(ACCOUNT).await;
        for shown in
            ["Night &lt;shift&gt;", "Day trip", &lasting.id, &passing.id, "offline_access", "while you are away"]
        {
            assert!(page.body.contains(shown), "{shown} in {}", page.body);
        }
        assert_eq!(page.body.matches("while you are away</span>").count(), 1, "one of the two");
        // With the form of this session only, and for oneself only.
        let stranger = Browser::anonymous(&engine);
        assert_eq!(stranger.post(END, &[("csrf", "0"), ("client", &lasting.id)]).await.status, 403);
        assert_eq!(alice.post(END, &[("csrf", "0"), ("client", &lasting.id)]).await.status, 403);
        assert_eq!(end(&bob, &passing.id).await.status, 422);
        assert_eq!(get_with(&engine, "/demo/me", text(&short, "access_token")).await, 200);

        let done = end(&alice, &lasting.id).await;
        assert_eq!((done.status, done.location.as_deref()), (303, Some("/oidc/account?done=program")), "{}", done.body);
        assert_eq!(get_with(&engine, "/demo/me", text(&held, "access_token")).await, 401);
        let (status, answer) = refresh(&engine, &lasting, text(&held, "refresh_token"), &[]).await;
        assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"));
        // What was agreed to and not fetched yet is over, too.
        assert_eq!(redeem(&engine, &lasting, &code, &[]).await.0, 400);
        let poll = [("grant_type", DEVICE_GRANT), ("device_code", text(&begun, "device_code"))];
        assert_eq!(token(&engine, &lasting, &poll).await.0, 400);
        let page = alice.get("/oidc/account?done=program").await;
        assert!(page.body.contains("may not act for you any more") && !page.body.contains(&lasting.id));
        assert!(page.body.contains(&passing.id), "the other program stays");
        assert_eq!(end(&alice, &lasting.id).await.status, 422, "once");
        // Others are not touched.
        assert_eq!(get_with(&engine, "/demo/me", text(&of_bob, "access_token")).await, 200);
        assert_eq!(refresh(&engine, &lasting, text(&of_bob, "refresh_token"), &[]).await.0, 200);
        assert!(bob.get(ACCOUNT).await.body.contains(&lasting.id));
        // A token that came alone ends with its program all the same.
        assert_eq!(get_with(&engine, "/demo/me", text(&short, "access_token")).await, 200);
        assert_eq!(end(&alice, &passing.id).await.status, 303);
        assert_eq!(get_with(&engine, "/demo/me", text(&short, "access_token")).await, 401);
        // It asks again, and then it may again.
        let asked = alice.authorize(&lasting, "openid wlcg offline_access", &[]).await;
        assert!(asked.location.is_none() && asked.body.contains("Let this program in?"));
        let again = alice.decide(&asked, "allow").await.answer()["code"].clone();
        let (status, tokens) = redeem(&engine, &lasting, &again, &[]).await;
        assert_eq!(status, 200, "{tokens}");
        assert_eq!(get_with(&engine, "/demo/me", text(&tokens, "access_token")).await, 200);

        let trail = engine.identity.audit().trace("alice", 0, 1_000).await.expect("read");
        let ends: Vec<_> = trail.iter().filter(|record| record.body["action"] == "program.end").collect();
        assert_eq!(ends.len(), 2);
        assert_eq!((&ends[0].body["object"], &ends[0].body["by"]), (&json!(lasting.id), &json!("alice")));
        assert!(engine.stop().await);
    }
}
