//! What an account may not do, however it asks: read homes as an administrator of the lake alone, act as others, write into
//! scopes of others, go around limits, approval and locks.

mod support;

use dte_base::secret::Secret;
use dte_protocol_rucio::{Attachment, Did, NewDid};
use http::Method;
use serde_json::{Value, json};
use support::{Answer, Mood, World, id, rule, state, worlds};

/// Somebody who has come once.
async fn person(world: &World, name: &str) -> Secret {
    let token = world.engine.token_for(name, &[]).await;
    assert_eq!(world.call(&token, Method::GET, "/accounts/whoami", None).await.status, 303);
    token
}

/// Somebody who administers the lake, and not the engine.
async fn steward(world: &World, name: &str) -> Secret {
    let token = person(world, name).await;
    let path = format!("/accounts/{name}/attr/admin");
    assert_eq!(world.post(&path, json!({"value": "true"})).await.status, 201);
    token
}

fn denied(answer: &Answer) {
    assert_eq!(answer.class, "AccessDenied", "{answer:?}");
}

fn protocol(world: &World, prefix: &str) -> Value {
    let all = json!({"read": 1, "write": 1, "delete": 1, "third_party_copy_read": 1, "third_party_copy_write": 1});
    json!({"hostname": world.engine.url.host_str(), "port": world.engine.url.port(), "prefix": prefix,
        "impl": "rucio.rse.protocols.webdav.Default", "domains": {"wan": all, "lan": all}})
}

#[tokio::test]
async fn administrators_of_the_lake_do_not_reach_homes() {
    for world in worlds().await {
        let carol = steward(&world, "carol").await;
        world.files("bob", &["secret.txt"]).await;
        let call = |method: Method, path: String, body: Value| {
            let (world, carol) = (&world, &carol);
            async move { world.call(carol, method, &path, Some(&body)).await }
        };
        assert_eq!(call(Method::POST, "/rses/TRAP".into(), json!({})).await.status, 201);
        let attribute = json!({"value": "identity"});
        assert_eq!(call(Method::POST, "/rses/TRAP/attr/lfn2pfn_algorithm".into(), attribute.clone()).await.status, 201);
        denied(&call(Method::POST, "/rses/LOCAL/attr/lfn2pfn_algorithm".into(), attribute).await);
        let scheme = world.engine.url.scheme();
        let dav = if scheme == "https" { "davs" } else { "dav" };
        for scheme in [scheme, dav] {
            let path = format!("/rses/TRAP/protocols/{scheme}");
            denied(&call(Method::POST, path, protocol(&world, "/dav/home/")).await);
        }
        // The host may be put together of two parts.
        let mut split = protocol(&world, "/");
        split["extended_attributes"] = json!({"web_service_path": format!(".0.0.1:{}/dav/home",
            world.engine.url.port().expect("a port"))});
        (split["hostname"], split["port"]) = (json!("127"), json!(0));
        denied(&call(Method::POST, format!("/rses/TRAP/protocols/{scheme}"), split).await);
        denied(&call(Method::PUT, format!("/rses/LOCAL/protocols/{scheme}"), json!({"prefix": "/dav/home/"})).await);
        denied(&call(Method::DELETE, format!("/rses/LOCAL/protocols/{scheme}"), json!({})).await);
        let mut document = protocol(&world, "/dav/home/");
        document["scheme"] = json!(scheme);
        denied(&call(Method::POST, "/import".into(), json!({"rses": {"TRAP": {"protocols": [document]}}})).await);
        // What leads elsewhere is theirs to say.
        let mut elsewhere = protocol(&world, "/data/");
        elsewhere["hostname"] = json!("far.example.org");
        assert_eq!(call(Method::POST, "/rses/TRAP/protocols/davs".into(), elsewhere).await.status, 201);
        assert_eq!(call(Method::PUT, "/rses/TRAP/protocols/davs".into(), json!({"prefix": "/d/"})).await.status, 200);
    }
}

#[tokio::test]
async fn tokens_are_for_areas_that_the_engine_gave() {
    for world in worlds().await {
        let token = async |name: &str| {
            let body = json!({"dids": [{"scope": "bob", "name": name}]});
            world.post("/credentials/storage", body).await.json()["token"].clone()
        };
        world.files("bob", &["here.txt"]).await;
        assert!(token("here.txt").await.is_string(), "the engine's own area");
        assert_eq!(world.post("/rses/AREA", json!({})).await.status, 201);
        let path = format!("/rses/AREA/protocols/{}", world.engine.url.scheme());
        assert_eq!(world.post(&path, protocol(&world, "/dav/area/")).await.status, 201);
        let copy = json!({"rse": "AREA", "files": [{"scope": "bob", "name": "there.txt", "bytes": 1,
            "adler32": "00000001"}]});
        assert_eq!(world.post("/replicas", copy).await.status, 201);
        assert!(token("there.txt").await.is_string(), "an administrator of the engine gave it");
        // As of a time when anybody who administered the lake could say so.
        let forget = "UPDATE lake_rse_protocols SET by_engine = 0 WHERE rse = 'AREA'";
        world.engine.store.write(move |tx| tx.execute(forget, &[])).await.expect("forgotten");
        assert!(token("there.txt").await.is_null());
        assert_eq!(world.call(&world.root, Method::PUT, &path, Some(&json!({}))).await.status, 200);
        assert!(token("there.txt").await.is_string(), "said again");
    }
}

#[tokio::test]
async fn administrators_of_the_lake_do_not_act_as_others() {
    for world in worlds().await {
        world.rse("FAR").await;
        let (bob, carol) = (person(&world, "bob").await, steward(&world, "carol").await);
        world.files("enso", &["a", "b"]).await;
        denied(&rule(&world, &carol, "enso:a", "LOCAL", json!({"account": "bob"})).await);
        id(&rule(&world, &carol, "enso:a", "LOCAL", json!({})).await);
        let his = id(&rule(&world, &bob, "enso:a", "LOCAL|FAR", json!({"copies": 2})).await);
        let put = json!({"options": {"account": "carol"}});
        denied(&world.call(&carol, Method::PUT, &format!("/rules/{his}"), Some(&put)).await);
        let moving = json!({"rse_expression": "FAR", "override": {}});
        denied(&world.call(&carol, Method::POST, &format!("/rules/{his}/move"), Some(&moving)).await);
        let fewer = json!({"copies": 1});
        denied(&world.call(&carol, Method::POST, &format!("/rules/{his}/reduce"), Some(&fewer)).await);
        for (account, rule_account) in [("bob", None), ("carol", Some("bob"))] {
            let rules = json!([{"copies": 1, "rse_expression": "FAR", "account": rule_account}]);
            let body = json!({"options": {"filter": {"scope": ["enso"]}, "replication_rules": rules}});
            let path = format!("/subscriptions/{account}/all");
            assert_ne!(world.call(&carol, Method::POST, &path, Some(&body)).await.status, 201, "{account}");
            assert_eq!(world.post(&path, body).await.status, 201, "administrators of the engine do");
        }
        let put = json!({"options": {"filter": {"scope": ["carol"]}}});
        assert_ne!(world.call(&carol, Method::PUT, "/subscriptions/bob/all", Some(&put)).await.status, 201);
        id(&rule(&world, &world.root, "enso:b", "LOCAL", json!({"account": "bob"})).await);
    }
}

#[tokio::test]
async fn archives_make_nothing_in_scopes_of_others() {
    for world in worlds().await {
        let alice = person(&world, "alice").await;
        world.files("enso", &["known"]).await;
        let hers = world.client(&alice);
        hers.ensure_scope("alice", "user.alice").await.expect("scope");
        let archive = Did::new("user.alice", "a.zip");
        hers.add_replicas("LOCAL", &[dte_protocol_rucio::NewReplica::new(&archive, 9, "0a1b2c3d")]).await.expect("zip");
        let attach = async |scope: &str, name: &str| {
            let child = json!({"scope": scope, "name": name, "bytes": 3, "adler32": "00000003"});
            let one = json!({"dids": [child]});
            let bulk = json!([{"scope": "user.alice", "name": "a.zip", "dids": [child]}]);
            let first = world.call(&alice, Method::POST, "/dids/user.alice/a.zip/dids", Some(&one)).await;
            let second = world.call(&alice, Method::POST, "/dids/attachments", Some(&bulk)).await;
            (first, second)
        };
        let (first, second) = attach("enso", "planted").await;
        denied(&first);
        denied(&second);
        assert_eq!(world.get("/dids/enso/planted").await.status, 404);
        let (first, second) = attach("nowhere", "planted").await;
        assert_eq!((first.class.as_str(), second.class.as_str()), ("ScopeNotFound", "ScopeNotFound"));
        assert_eq!(attach("user.alice", "inside").await.0.status, 201);
        assert_eq!(attach("enso", "known").await.0.status, 201, "what is there can be named");
        assert_eq!(world.get("/dids/enso/known/meta").await.json()["constituent"], Value::Null);
        assert_eq!(world.get("/dids/user.alice/inside/meta").await.json()["constituent"], true);
        assert_eq!(world.get("/archives/user.alice/a.zip/files").await.lines().len(), 2);
    }
}

#[tokio::test]
async fn approval_is_for_one_rule() {
    for world in worlds().await {
        world.rse("FAR").await;
        world.fts.set(Mood::Hold);
        let alice = person(&world, "alice").await;
        world.files("enso", &["a"]).await;
        for rse in ["LOCAL", "FAR"] {
            assert_eq!(
                world.post(&format!("/accounts/alice/limits/local/{rse}"), json!({"bytes": 5})).await.status,
                201
            );
        }
        let asked = id(&rule(&world, &alice, "enso:a", "LOCAL", json!({"ask_approval": true})).await);
        let path = format!("/rules/{asked}");
        let change = async |token: &Secret, options: Value| {
            world.call(token, Method::PUT, &path, Some(&json!({"options": options}))).await
        };
        // Nobody resumes what waits.
        for options in [json!({"state": "SUSPENDED"}), json!({"state": "STUCK"}), json!({"boost_rule": true})] {
            assert_eq!(change(&alice, options).await.class, "UnsupportedOperation");
        }
        assert_eq!(state(&world, &asked).await, "WAITING_APPROVAL");
        assert_eq!(change(&world.root, json!({"approve": true})).await.status, 200);
        assert_eq!(state(&world, &asked).await, "OK");
        let moving = json!({"rse_expression": "FAR", "override": {}});
        let moved = world.call(&alice, Method::POST, &format!("{path}/move"), Some(&moving)).await;
        assert_eq!(moved.class, "InsufficientAccountLimit", "{moved:?}");
        assert_eq!(state(&world, &asked).await, "OK");
    }
}

#[tokio::test]
async fn what_was_attached_while_a_rule_slept_has_its_locks() {
    for world in worlds().await {
        let files = world.files("enso", &["a"]).await;
        let (lake, dataset) = (world.lake(), Did::new("enso", "ds"));
        lake.ensure_dids(&[NewDid::dataset(&dataset)]).await.expect("dataset");
        let slept = id(&rule(&world, &world.root, "enso:ds", "LOCAL", json!({})).await);
        let path = format!("/rules/{slept}");
        let change = async |state: &str| {
            let body = json!({"options": {"state": state}});
            assert_eq!(world.call(&world.root, Method::PUT, &path, Some(&body)).await.status, 200);
        };
        change("SUSPENDED").await;
        lake.attach(&[Attachment::new(&dataset, files)]).await.expect("attach");
        assert!(lake.list_locks(&slept).await.expect("locks").is_empty());
        change("STUCK").await;
        assert_eq!(lake.list_locks(&slept).await.expect("locks").len(), 1);
        assert_eq!(state(&world, &slept).await, "OK");
    }
}

#[tokio::test]
async fn a_refused_rule_of_a_subscription_leaves_nothing() {
    for world in worlds().await {
        person(&world, "alice").await;
        let files = json!(world.files("enso", &["a", "b"]).await);
        assert_eq!(world.post("/accounts/alice/limits/local/LOCAL", json!({"bytes": 5})).await.status, 201);
        for grouping in ["DATASET", "NONE"] {
            let rules = json!([{"copies": 1, "rse_expression": "LOCAL", "grouping": grouping}]);
            let body = json!({"options": {"filter": {"scope": ["enso"]}, "replication_rules": rules}});
            assert_eq!(world.post(&format!("/subscriptions/alice/{grouping}"), body).await.status, 201);
        }
        let made = world.post("/dids/enso/ds", json!({"type": "DATASET", "dids": files})).await;
        assert_eq!(made.status, 201, "the collection stands: {made:?}");
        assert_eq!(world.get("/dids/enso/ds/dids").await.lines().len(), 2);
        assert_eq!(world.get("/rules/").await.lines(), Vec::<Value>::new());
        let usage = world.get("/accounts/alice/usage").await.lines();
        assert!(usage.iter().all(|row| row["files"] == 0), "{usage:?}");
    }
}

#[tokio::test]
async fn locked_rules_and_scopes_stay_as_they_are() {
    for world in worlds().await {
        world.rse("FAR").await;
        let alice = person(&world, "alice").await;
        person(&world, "bob").await;
        world.files("enso", &["a"]).await;
        let hers = id(&rule(&world, &alice, "enso:a", "LOCAL|FAR", json!({"copies": 2})).await);
        world.until("the rule is OK", || async { state(&world, &hers).await == "OK" }).await;
        let lock = json!({"options": {"locked": true}});
        assert_eq!(world.call(&world.root, Method::PUT, &format!("/rules/{hers}"), Some(&lock)).await.status, 200);
        let reduce = format!("/rules/{hers}/reduce");
        denied(&world.call(&alice, Method::POST, &reduce, Some(&json!({"copies": 1}))).await);
        assert_eq!(world.lake().list_locks(&hers).await.expect("locks").len(), 2);
        // A scope is given by administrators.
        world.client(&alice).ensure_scope("alice", "user.alice").await.expect("scope");
        denied(&world.call(&alice, Method::PUT, "/scopes/bob/user.alice", None).await);
        assert_eq!(world.call(&world.root, Method::PUT, "/scopes/bob/user.alice", None).await.status, 201);
    }
}

#[tokio::test]
async fn a_tree_is_told_once() {
    /// Each level is in the one above by two ways: 2^20 ways to the last.
    const LEVELS: usize = 20;
    for world in worlds().await {
        let lake = world.lake();
        lake.ensure_scope("root", "enso").await.expect("scope");
        let name = |level: usize, way: &str| Did::new("enso", format!("{way}{level}"));
        for level in 0..LEVELS {
            let pair = [name(level, "l"), name(level, "r")];
            lake.ensure_dids(&pair.clone().map(|did| NewDid::container(&did))).await.expect("containers");
            if level > 0 {
                for above in ["l", "r"] {
                    lake.attach(&[Attachment::new(&name(level - 1, above), pair.clone())]).await.expect("attach");
                }
            }
        }
        let told = world.get("/dids/enso/?name=l0&recursive=True").await.lines();
        // The first, and each of the edges below it once.
        assert_eq!(told.len(), 1 + 2 + (LEVELS - 2) * 4);
    }
}

#[tokio::test]
async fn broken_collections_do_not_hold_up_the_others() {
    for world in worlds().await {
        let lake = world.lake();
        lake.ensure_scope("root", "enso").await.expect("scope");
        // More than one look takes.
        let broken: Vec<NewDid> = (0..120).map(|n| NewDid::dataset(&Did::new("enso", format!("broken{n}")))).collect();
        lake.ensure_dids(&broken).await.expect("datasets");
        lake.ensure_dids(&[NewDid::dataset(&Did::new("enso", "over"))]).await.expect("dataset");
        let spoil = "UPDATE lake_dids SET kind = '?', expired_at = 1 WHERE name LIKE 'broken%'";
        world.engine.store.write(move |tx| tx.execute(spoil, &[])).await.expect("spoilt");
        world.post("/dids/enso/over/meta/lifetime", json!({"value": 0})).await;
        world.until("the end", || async { world.get("/dids/enso/over").await.status == 404 }).await;
    }
}
