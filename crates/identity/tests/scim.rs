//! SCIM 2.0 beneath the issuer, through the wire.

mod wire;

use dte_base::secret::Secret;
use dte_identity::testing::{TestEngine, TestSetup};
use serde_json::{Value, json};
use wire::{engines, send, start};

const USERS: &str = "/oidc/scim/v2/Users";
const GROUPS: &str = "/oidc/scim/v2/Groups";

fn encoded(filter: &str) -> String {
    filter
        .replace('%', "%25")
        .replace(' ', "%20")
        .replace('"', "%22")
        .replace('[', "%5B")
        .replace(']', "%5D")
        .replace('&', "%26")
}

async fn client_token(engine: &TestEngine, scope: &str) -> Secret {
    let id = format!("robot-{}", scope.replace([':', ' ', '.'], "-"));
    let secret = engine.identity.add_client(&id, &[scope], &[], "test").await.expect("a client");
    engine.identity.client_token(&id, secret.expose(), None, None).expect("a token").token
}

#[tokio::test]
async fn users_come_change_and_go() {
    for engine in engines(Vec::new).await {
        let admin = engine.admin_token();
        let alice = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "alice",
            "name": {"givenName": "Alice", "familyName": "Ång"}, "emails": [{"value": "alice@example.org", "primary": true}],
            "title": "ignored",
        });
        let (status, made) = send(&engine, &admin, "POST", USERS, Some(&alice)).await;
        assert_eq!((status, &made["id"], &made["displayName"]), (201, &json!("alice"), &json!("Alice Ång")), "{made}");
        let (status, twice) = send(&engine, &admin, "POST", USERS, Some(&alice)).await;
        assert_eq!((status, &twice["scimType"], &twice["status"]), (409, &json!("uniqueness"), &json!("409")));
        for bad in
            [json!({}), json!({"userName": "A B"}), json!({"userName": "x", "emails": [{"value": "no"}]}), json!([])]
        {
            let (status, body) = send(&engine, &admin, "POST", USERS, Some(&bad)).await;
            assert_eq!(status, 400, "{bad} {body}");
        }
        let token = engine.token_for("alice", &[]).await;
        let one = format!("{USERS}/alice");
        let patch = |operations: Value| json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        let change = async |operations: Value| send(&engine, &admin, "PATCH", &one, Some(&patch(operations))).await;
        let (status, body) = change(json!([
            {"op": "Replace", "path": "displayName", "value": "Al"}, {"op": "add", "value": {"name.givenName": "Alicia"}},
            {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "al@example.org"},
        ]))
        .await;
        assert_eq!(
            (status, &body["displayName"], &body["name"]["givenName"]),
            (200, &json!("Al"), &json!("Alicia")),
            "{body}"
        );
        assert_eq!(body["emails"][0]["value"], "al@example.org");
        for (bad, kind) in [
            (json!([{"op": "replace", "path": "userName", "value": "bob"}]), "mutability"),
            (json!([{"op": "replace", "path": "admin", "value": true}]), "invalidPath"),
            (json!([{"op": "grow", "path": "active", "value": true}]), "invalidSyntax"),
            (json!([{"op": "remove"}]), "noTarget"),
            (json!([{"op": "replace", "path": "active", "value": "perhaps"}]), "invalidValue"),
            (json!([{"op": "replace", "path": "emails[", "value": "x"}]), "invalidPath"),
        ] {
            let (status, body) = change(bad).await;
            assert_eq!((status, body["scimType"].as_str()), (400, Some(kind)), "{body}");
        }
        // Deactivating is suspending: the token that alice has is worth nothing.
        let me = "/oidc/scim/v2/Me";
        assert_eq!(send(&engine, &token, "GET", me, None).await.0, 200);
        assert_eq!(change(json!([{"op": "replace", "path": "active", "value": "False"}])).await.0, 200);
        assert_eq!(send(&engine, &token, "GET", me, None).await.0, 401);
        assert_eq!(change(json!([{"op": "replace", "value": {"active": true}}])).await.1["active"], true);
        assert_eq!(send(&engine, &token, "GET", me, None).await.0, 200);
        // About themselves people change names, and nothing else.
        let own = patch(json!([{"op": "replace", "path": "name.familyName", "value": "Berg"}]));
        assert_eq!(send(&engine, &token, "PATCH", me, Some(&own)).await.1["name"]["familyName"], "Berg");
        for sly in [
            json!([{"op": "replace", "path": "ACTIVE", "value": false}]),
            json!([{"op": "add", "value": {"Active": false}}]),
        ] {
            assert_eq!(send(&engine, &token, "PATCH", me, Some(&patch(sly))).await.0, 403);
        }
        let put = json!({"userName": "alice", "displayName": "A"});
        let (status, body) = send(&engine, &admin, "PUT", &one, Some(&put)).await;
        assert_eq!((status, &body["emails"]), (200, &Value::Null), "what is not sent is gone: {body}");
        assert_eq!(send(&engine, &admin, "DELETE", &one, None).await.0, 204);
        assert_eq!(send(&engine, &admin, "GET", &one, None).await.0, 404);
        assert_eq!(send(&engine, &admin, "DELETE", &one, None).await.0, 404);
        assert_eq!(send(&engine, &token, "GET", me, None).await.0, 401);
        assert_eq!(send(&engine, &admin, "POST", USERS, Some(&alice)).await.0, 409, "a name is never given again");
        assert_eq!(send(&engine, &admin, "DELETE", &format!("{USERS}/admin"), None).await.0, 409);
        let lock_out = patch(json!([{"op": "replace", "path": "active", "value": false}]));
        assert_eq!(send(&engine, &admin, "PATCH", &format!("{USERS}/admin"), Some(&lock_out)).await.0, 409);
        assert!(engine.identity.audit().verify().await.expect("read").broken_at.is_none());
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let engine = start(TestSetup::default(), Vec::new).await;
    let admin = engine.admin_token();
    for name in ["alice", "bob", "carol"] {
        let user =
            json!({"userName": name, "emails": [{"value": format!("{name}@example.org")}], "active": name != "carol"});
        assert_eq!(send(&engine, &admin, "POST", USERS, Some(&user)).await.0, 201);
    }
    let list = async |query: &str| send(&engine, &admin, "GET", &format!("{USERS}?{query}"), None).await;
    let names = |body: &Value| -> Vec<String> {
        let rows = body["Resources"].as_array().expect("a list");
        rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    for (filter, wanted) in [
        ("userName eq \"Bob\"", vec!["bob"]),
        ("userName eq \"nobody\"", vec![]),
        ("emails.value sw \"c\"", vec!["carol"]),
        ("active eq false", vec!["carol"]),
        ("emails pr and not (userName co \"o\")", vec!["alice"]),
        ("emails[value ew \"example.org\"] and userName gt \"alice\"", vec!["bob", "carol"]),
    ] {
        let (status, body) = list(&format!("filter={}", encoded(filter))).await;
        assert_eq!((status, names(&body)), (200, wanted.into_iter().map(str::to_owned).collect()), "{filter}");
    }
    for garbage in
        ["userName", "eq", "userName eq bob", "((((", "userName eq \"x\" or", "'; DROP TABLE identity_users; --"]
    {
        let (status, body) = list(&format!("filter={}", encoded(garbage))).await;
        assert_eq!((status, body["scimType"].as_str()), (400, Some("invalidFilter")), "{garbage}: {body}");
    }
    let (_, page) = list("startIndex=2&count=2").await;
    assert_eq!((names(&page), &page["totalResults"]), (vec!["alice".to_owned(), "bob".to_owned()], &json!(4)));
    let (_, none) = list("count=0").await;
    assert_eq!((none["totalResults"].as_i64(), names(&none).len()), (Some(4), 0));
    let (_, odd) = list("startIndex=-5&count=1").await;
    assert_eq!((names(&odd), &odd["startIndex"]), (vec!["admin".to_owned()], &json!(1)));
    assert_eq!(list("startIndex=x").await.0, 400);
    let (_, little) = list("attributes=userName,emails.value&count=2").await;
    let row = &little["Resources"][1];
    assert_eq!(
        row,
        &json!({"schemas": row["schemas"], "id": "alice", "userName": "alice", "emails": [{"value": "alice@example.org"}]})
    );
    let (_, less) =
        list("excludedAttributes=meta,groups,urn:ietf:params:scim:schemas:core:2.0:User:active&count=1").await;
    assert!(less["Resources"][0].get("meta").is_none() && less["Resources"][0].get("active").is_none());
}

#[tokio::test]
async fn groups_and_their_members() {
    for engine in engines(Vec::new).await {
        let admin = engine.admin_token();
        for name in ["alice", "bob"] {
            engine.token_for(name, &[]).await;
        }
        let wanted = json!({"displayName": "ocean", "members": [{"value": "alice"}]});
        let (status, ocean) = send(&engine, &admin, "POST", GROUPS, Some(&wanted)).await;
        assert_eq!((status, &ocean["members"][0]["value"]), (201, &json!("alice")), "{ocean}");
        let id = ocean["id"].as_str().expect("an id");
        let beneath =
            json!({"displayName": "enso", "urn:indigo-dc:scim:schemas:IndigoGroup": {"parentGroup": {"value": id}}});
        let (status, enso) = send(&engine, &admin, "POST", GROUPS, Some(&beneath)).await;
        assert_eq!((status, &enso["displayName"]), (201, &json!("ocean/enso")), "{enso}");
        assert_eq!(send(&engine, &admin, "POST", GROUPS, Some(&wanted)).await.0, 409);
        let nobody = json!({"displayName": "x", "members": [{"value": "nobody"}]});
        assert_eq!(send(&engine, &admin, "POST", GROUPS, Some(&nobody)).await.0, 400);
        let one = format!("{GROUPS}/{id}");
        let patch = async |operations: Value| {
            let (status, body) = send(&engine, &admin, "PATCH", &one, Some(&json!({"operations": operations}))).await;
            let list = body["members"].as_array().cloned().unwrap_or_default();
            (
                status,
                list.iter()
                    .map(|member| member["value"].as_str().expect("a name").to_owned())
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        let ok = |members: &str| (200, members.to_owned());
        assert_eq!(
            patch(json!([{"op": "add", "path": "members", "value": [{"value": "bob"}, {"value": "alice"}]}])).await,
            ok("alice bob")
        );
        assert_eq!(patch(json!([{"op": "remove", "path": "members[value eq \"alice\"]"}])).await, ok("bob"));
        assert_eq!(
            patch(json!([{"op": "replace", "path": "members", "value": [{"value": "alice"}]}])).await,
            ok("alice")
        );
        assert_eq!(patch(json!([{"op": "remove", "path": "members", "value": [{"value": "bob"}]}])).await, ok("alice"));
        assert_eq!(patch(json!([{"op": "add", "value": {"members": [{"value": "bob"}]}}])).await, ok("alice bob"));
        assert_eq!(patch(json!([{"op": "remove", "path": "members"}])).await, ok(""));
        for bad in [
            json!([{"op": "add", "path": "members", "value": [{"value": "nobody"}]}]),
            json!([{"op": "add", "path": "members", "value": [{"value": "x", "type": "Group"}]}]),
            json!([{"op": "replace", "path": "displayName", "value": "sea"}]),
            json!([{"op": "add", "path": "managers", "value": "bob"}]),
        ] {
            assert_eq!(patch(bad.clone()).await.0, 400, "{bad}");
        }
        assert_eq!(patch(json!([{"op": "add", "path": "members", "value": {"value": "alice"}}])).await, ok("alice"));
        let (_, user) = send(&engine, &admin, "GET", &format!("{USERS}/alice"), None).await;
        assert_eq!(user["groups"][0]["display"], "ocean");
        let by = async |filter: &str| {
            let (_, body) = send(&engine, &admin, "GET", &format!("{GROUPS}?filter={}", encoded(filter)), None).await;
            body["totalResults"].as_i64().expect("a number")
        };
        assert_eq!((by("displayName eq \"ocean/enso\"").await, by("displayName sw \"ocean\"").await), (1, 2));
        assert_eq!((by("members.value eq \"alice\"").await, by("members[value eq \"bob\"]").await), (1, 0));
        assert_eq!(send(&engine, &admin, "DELETE", &one, None).await.0, 409, "there is one beneath");
        let enso = format!("{GROUPS}/{}", enso["id"].as_str().expect("an id"));
        assert_eq!(send(&engine, &admin, "DELETE", &enso, None).await.0, 204);
        assert_eq!(send(&engine, &admin, "DELETE", &one, None).await.0, 204);
        assert_eq!(send(&engine, &admin, "GET", &one, None).await.0, 404);
        let (_, user) = send(&engine, &admin, "GET", &format!("{USERS}/alice"), None).await;
        assert_eq!(user["groups"], json!([]));
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn who_may_and_who_may_not() {
    let engine = start(TestSetup::default(), Vec::new).await;
    let user = json!({"userName": "dave"});
    let reads = client_token(&engine, "scim:read").await;
    let writes = client_token(&engine, "scim:write").await;
    let other = client_token(&engine, "compute.read").await;
    let alice = engine.token_for("alice", &[]).await;
    let pretender = engine.token_for("alice", &["scim:write"]).await;
    let confined =
        engine.identity.issue_token("admin", &["scim:read"], None, std::time::Duration::from_secs(60), "test");
    let confined = confined.expect("a token");
    for (token, read, write) in [
        (&reads, 200, 403),
        (&writes, 200, 201),
        (&other, 403, 403),
        (&alice, 403, 403),
        (&pretender, 403, 403),
        (&confined, 200, 403),
    ] {
        assert_eq!(send(&engine, token, "GET", USERS, None).await.0, read);
        assert_eq!(send(&engine, token, "GET", GROUPS, None).await.0, read);
        let (status, body) = send(&engine, token, "POST", USERS, Some(&user)).await;
        assert_eq!(status, write, "{body}");
        if status == 403 {
            assert_eq!(body["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
        }
    }
    // A token for scim:read is good for nothing else, also an administrator's.
    assert_eq!(send(&engine, &confined, "POST", "/policy/v1/groups", Some(&json!({"path": "/x"}))).await.0, 403);
    assert_eq!(send(&engine, &writes, "GET", "/oidc/scim/v2/Me", None).await.0, 403);
    let strange = Secret::new("a.b.c");
    assert_eq!(send(&engine, &strange, "GET", USERS, None).await.0, 401);
    let huge = json!({"userName": "x", "pad": "x".repeat(10 << 20)});
    assert_eq!(send(&engine, &writes, "POST", USERS, Some(&huge)).await.0, 413);
    for about in [
        "ServiceProviderConfig",
        "ResourceTypes",
        "Schemas",
        "ResourceTypes/User",
        "Schemas/urn:ietf:params:scim:schemas:core:2.0:Group",
    ] {
        assert_eq!(send(&engine, &strange, "GET", &format!("/oidc/scim/v2/{about}"), None).await.0, 200, "{about}");
    }
}
