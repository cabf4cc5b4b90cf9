//! Limits, approval, replacement, loss and recovery, subscriptions, and the end of data: on every store that is at hand.

mod support;

use dte_base::secret::Secret;
use http::Method;
use serde_json::json;
use support::{Mood, id, rule, state, worlds};

#[tokio::test]
async fn limits_hold() {
    for world in worlds().await {
        let alice = world.engine.token_for("alice", &[]).await;
        world.files("enso", &["a", "b", "c"]).await;
        assert_eq!(world.call(&alice, Method::GET, "/accounts/whoami", None).await.status, 303);
        assert_eq!(rule(&world, &alice, "a", "LOCAL", json!({})).await.status, 201, "without limits there is room");
        let limit = "/accounts/alice/limits/local/LOCAL";
        assert_eq!(world.call(&alice, Method::POST, limit, Some(&json!({"bytes": 99}))).await.class, "AccessDenied");
        assert_eq!(world.post(limit, json!({"bytes": 25})).await.status, 201);
        assert_eq!(rule(&world, &alice, "b", "LOCAL", json!({})).await.status, 201);
        let full = rule(&world, &alice, "c", "LOCAL", json!({})).await;
        assert_eq!((full.status, full.class.as_str()), (409, "InsufficientAccountLimit"), "{full:?}");
        let usage = world.call(&alice, Method::GET, "/accounts/alice/usage/local", None).await.lines();
        assert_eq!((&usage[0]["bytes"], &usage[0]["bytes_remaining"]), (&json!(20), &json!(5)));
        assert_eq!(world.post(limit, json!({"bytes": -1})).await.status, 201);
        assert!(world.get(limit).await.text.contains("Infinity"));
        assert_eq!(world.post("/accounts/alice/limits/global/LOCAL", json!({"bytes": 25})).await.status, 201);
        let full = rule(&world, &alice, "c", "LOCAL", json!({})).await;
        assert_eq!(full.class, "InsufficientAccountLimit", "the limit over an expression holds as well");
        assert_eq!(
            rule(&world, &world.root, "c", "LOCAL", json!({})).await.status,
            201,
            "administrators have no limit"
        );
        // What was approved does not count the limit.
        let asked = rule(&world, &alice, "c", "LOCAL", json!({"ask_approval": true})).await;
        let asked = id(&asked);
        assert_eq!(state(&world, &asked).await, "WAITING_APPROVAL");
        let approve = json!({"options": {"approve": true}});
        let own = world.call(&alice, Method::PUT, &format!("/rules/{asked}"), Some(&approve)).await;
        assert_eq!((own.status, own.class.as_str()), (403, "AccessDenied"));
        assert_eq!(world.call(&world.root, Method::PUT, &format!("/rules/{asked}"), Some(&approve)).await.status, 200);
        assert_eq!(state(&world, &asked).await, "OK");
        // A suspended account may do nothing.
        let suspended = Some(json!({"status": "SUSPENDED"}));
        assert_eq!(world.call(&world.root, Method::PUT, "/accounts/alice", suspended.as_ref()).await.status, 200);
        assert_eq!(world.call(&alice, Method::GET, "/scopes/", None).await.status, 403);
        assert_eq!(world.call(&world.root, Method::PUT, "/accounts/root", suspended.as_ref()).await.status, 403);
    }
}

#[tokio::test]
async fn rules_replace_each_other() {
    for world in worlds().await {
        world.rse("FAR").await;
        world.files("enso", &["a"]).await;
        world.fts.set(Mood::Hold);
        let old = id(&rule(&world, &world.root, "a", "LOCAL", json!({})).await);
        let moved = world.post(&format!("/rules/{old}/move"), json!({"rse_expression": "FAR", "override": {}})).await;
        let new = id(&moved);
        assert_eq!(state(&world, &old).await, "OK", "it stays until the other is OK");
        let denied = world.call(&world.root, Method::DELETE, &format!("/rules/{old}"), None).await;
        assert_eq!(denied.class, "UnsupportedOperation", "{denied:?}");
        world.until("the job", || async { world.fts.count() == 1 }).await;
        let job = world.fts.jobs.lock().expect("lock").keys().next().cloned().expect("a job");
        world.fts.tell(&job, true).await;
        world.until("the move", || async { state(&world, &old).await == "gone" }).await;
        assert_eq!(state(&world, &new).await, "OK");
        let history = world.get("/rules/enso/a/history").await.lines();
        assert_eq!(history.len(), 2, "the old one is remembered");
        let past = world.get("/requests/history/enso/a/FAR").await.json();
        assert_eq!((&past["state"], &past["dest_rse"]), (&json!("DONE"), &json!("FAR")));
        // Fewer copies.
        let both = id(&rule(&world, &world.root, "a", "LOCAL|FAR", json!({"copies": 2})).await);
        let fewer =
            world.post(&format!("/rules/{both}/reduce"), json!({"copies": 1, "exclude_expression": "FAR"})).await;
        assert_eq!(fewer.status, 200, "{fewer:?}");
        assert_eq!(state(&world, &both).await, "gone");
        let more = world.post(&format!("/rules/{new}/reduce"), json!({"copies": 1})).await;
        assert_eq!((more.status, more.class.as_str()), (409, "RuleReplaceFailed"));
    }
}

#[tokio::test]
async fn bad_copies_are_brought_again_or_are_lost() {
    for world in worlds().await {
        world.rse("FAR").await;
        world.files("enso", &["a", "b"]).await;
        let held = id(&rule(&world, &world.root, "a", "FAR", json!({})).await);
        world.until("the copy", || async { state(&world, &held).await == "OK" }).await;
        let bad = |name: &str, rse: &str| json!({"replicas": [{"scope": "enso", "name": name, "rse": rse}], "reason": "checksum"});
        assert_eq!(world.post("/replicas/bad", bad("a", "FAR")).await.json(), json!({}));
        world.until("the recovery", || async { world.fts.count() == 2 && state(&world, &held).await == "OK" }).await;
        let said = world.get("/replicas/bad/states?state=R").await.lines();
        assert_eq!((&said[0]["name"], &said[0]["rse"]), (&json!("a"), &json!("FAR")));
        // The last copy of `b` is lost, and so is its place in the dataset.
        world.post("/dids/enso/ds", json!({"type": "DATASET", "dids": [{"scope": "enso", "name": "b"}]})).await;
        let held = id(&rule(&world, &world.root, "ds", "LOCAL", json!({})).await);
        assert_eq!(world.post("/replicas/bad", bad("b", "LOCAL")).await.json(), json!({}));
        assert_eq!(world.get("/dids/enso/b/meta").await.json()["availability"], "LOST");
        assert_eq!(world.get("/dids/enso/ds/dids").await.lines().len(), 0);
        assert_eq!(world.get(&format!("/rules/{held}")).await.json()["locks_ok_cnt"], 0);
        let again = world.post("/replicas/bad", bad("b", "LOCAL")).await;
        assert!(again.text.contains("Already declared"), "{again:?}");
        let back = world.post("/dids/enso/ds/dids", json!({"dids": [{"scope": "enso", "name": "b"}]})).await;
        assert_eq!(back.class, "UnsupportedOperation");
        assert_eq!(world.told("org.dte.lake.file.lost", 1).await[0].data["name"], "b");
    }
}

#[tokio::test]
async fn subscriptions_place_what_is_new() {
    for world in worlds().await {
        world.files("enso", &["a"]).await;
        let options = json!({"options": {"filter": {"scope": ["enso"], "project": ["el.*"]}, "comments": "c",
            "replication_rules": [{"copies": "*", "rse_expression": "LOCAL", "lifetime": 1000},
                {"copies": 1, "rse_expression": "NOWHERE"}], "lifetime": 5, "retroactive": false}});
        assert_eq!(world.post("/subscriptions/root/mine", options.clone()).await.status, 201);
        let twice = world.post("/subscriptions/root/mine", options).await;
        assert_eq!((twice.status, twice.class.as_str()), (409, "SubscriptionDuplicate"));
        world.post("/dids/enso/one", json!({"type": "DATASET", "meta": {"project": "elnino"}})).await;
        world.post("/dids/enso/two", json!({"type": "DATASET", "meta": {"project": "other"}})).await;
        let made = world.get("/dids/enso/one/rules").await.lines();
        assert_eq!(made.len(), 1, "what can be made is made");
        assert_eq!((&made[0]["rse_expression"], &made[0]["state"]), (&json!("LOCAL"), &json!("OK")));
        assert_eq!(world.get("/dids/enso/two/rules").await.lines().len(), 0);
        let states = world.get("/subscriptions/root/mine/rules/states").await.lines();
        assert_eq!(states, [json!(["root", "mine", "OK", 1])]);
        let bad = json!({"options": {"filter": {"pattern": "("}}});
        let refused = world.call(&world.root, Method::PUT, "/subscriptions/root/mine", Some(&bad)).await;
        assert_eq!((refused.status, refused.class.as_str()), (400, "InvalidObject"));
    }
}

#[tokio::test]
async fn data_come_to_their_end() {
    for world in worlds().await {
        world.files("enso", &["a", "b"]).await;
        let files = json!([{"scope": "enso", "name": "a"}, {"scope": "enso", "name": "b"}]);
        for name in ["kept", "over"] {
            world.post(&format!("/dids/enso/{name}"), json!({"type": "DATASET", "dids": files})).await;
        }
        world.post("/dids/enso/box", json!({"type": "CONTAINER", "dids": [{"scope": "enso", "name": "over"}]})).await;
        let kept = id(&rule(&world, &world.root, "kept", "LOCAL", json!({})).await);
        let over = id(&rule(&world, &world.root, "over", "LOCAL", json!({})).await);
        world.post("/dids/enso/over/meta/lifetime", json!({"value": 0})).await;
        world.until("the end", || async { world.get("/dids/enso/over").await.status == 404 }).await;
        assert_eq!(state(&world, &over).await, "gone");
        assert_eq!(state(&world, &kept).await, "OK", "the other dataset's rule holds its files");
        assert_eq!(world.get("/dids/enso/a").await.status, 200);
        assert_eq!(world.get("/dids/enso/box/dids").await.lines().len(), 0);
        assert_eq!(world.told("org.dte.lake.did.erased", 1).await[0].data["name"], "over");
        let usage = world.get("/accounts/root/usage/local/LOCAL").await.lines();
        assert_eq!(usage[0]["files"], 2);
    }
}

#[tokio::test]
async fn a_name_and_a_password_give_a_token() {
    for world in worlds().await {
        world.engine.identity.add_user("walker", false, "admin").await.expect("a user");
        let password = "correct horse battery 4711";
        world.engine.identity.set_password("walker", password, None, "admin").await.expect("a password");
        let login = async |name: &str, password: &str, account: Option<&str>| {
            let url = world.engine.url_of("/rucio/auth/userpass");
            let mut request = world.engine.client.get(url).header("x-rucio-username", name);
            request = request.header("x-rucio-password", password);
            if let Some(account) = account {
                request = request.header("x-rucio-account", account);
            }
            let reply = request.send().await.expect("an answer");
            let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            (
                reply.status.as_u16(),
                header("x-rucio-auth-token"),
                header("x-rucio-auth-account"),
                header("exceptionclass"),
            )
        };
        let (status, token, account, _) = login("walker", password, Some("walker")).await;
        assert_eq!((status, account.as_deref()), (200, Some("walker")));
        let token = Secret::new(token.expect("a token"));
        assert_eq!(world.call(&token, Method::GET, "/accounts/walker", None).await.status, 200);
        for (name, password, account) in
            [("walker", "wrong", None), ("nobody", password, None), ("walker", password, Some("root"))]
        {
            let (status, token, _, class) = login(name, password, account).await;
            assert_eq!(
                (status, token, class.as_deref()),
                (401, None, Some("CannotAuthenticate")),
                "{name} {account:?}"
            );
        }
    }
}
