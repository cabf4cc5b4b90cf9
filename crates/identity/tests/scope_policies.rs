//! Scope policies as INDIGO IAM has them, through the wire.

mod wire;

use serde_json::json;
use wire::{engines, send};

#[tokio::test]
async fn policies_come_change_and_go() {
    for engine in engines(Vec::new).await {
        let admin = engine.admin_token();
        let alice = engine.token_for("alice", &[]).await;
        let all = "/oidc/iam/scope_policies";
        let (status, list) = send(&engine, &admin, "GET", all, None).await;
        assert_eq!((status, &list[0]["rule"], &list[0]["scopes"]), (200, &json!("PERMIT"), &json!(null)), "{list}");
        let deny = json!({"description": "no writing", "rule": "DENY", "matchingPolicy": "PATH", "scopes": ["storage.modify:/"]});
        for (method, path) in [
            ("GET", all.to_owned()),
            ("POST", all.to_owned()),
            ("PUT", format!("{all}/1")),
            ("DELETE", format!("{all}/1")),
        ] {
            let (status, body) = send(&engine, &alice, method, &path, Some(&deny)).await;
            assert!(status == 403 && body["error"].is_string(), "{method} {path}: {status} {body}");
        }
        let (status, made) = send(&engine, &admin, "POST", all, Some(&deny)).await;
        assert_eq!((status, &made["matchingPolicy"]), (201, &json!("PATH")), "{made}");
        assert_eq!(send(&engine, &admin, "POST", all, Some(&deny)).await.0, 409, "twice the same");
        for bad in [
            json!({"rule": "MAYBE"}),
            json!({"rule": "DENY", "matchingPolicy": "GLOB"}),
            json!({"rule": "DENY", "matchingPolicy": "PATH", "scopes": ["storage.read:/a/../b"]}),
            json!({"rule": "DENY", "matchingPolicy": "REGEXP", "scopes": ["("]}),
            json!({"rule": "DENY", "account": {"uuid": "nobody"}}),
            json!({"rule": "DENY", "group": {"uuid": "nothing"}}),
        ] {
            assert_eq!(send(&engine, &admin, "POST", all, Some(&bad)).await.0, 400, "{bad}");
        }
        let one = format!("{all}/{}", made["id"]);
        let asked = "/policy/v1/me/scopes?scope=openid%20storage.modify:/a%20storage.read:/a%20scim:read";
        assert_eq!(send(&engine, &alice, "GET", asked, None).await.1["permitted"], "openid storage.read:/a");
        assert_eq!(send(&engine, &admin, "GET", asked, None).await.1["permitted"], "openid storage.read:/a scim:read");
        let for_alice = json!({"rule": "PERMIT", "account": {"uuid": "alice"}, "scopes": ["compute.read"]});
        assert_eq!(send(&engine, &admin, "PUT", &one, Some(&for_alice)).await.0, 204);
        let (_, shown) = send(&engine, &admin, "GET", &one, None).await;
        assert_eq!((&shown["account"]["uuid"], &shown["matchingPolicy"]), (&json!("alice"), &json!("EQ")), "{shown}");
        assert_eq!(send(&engine, &admin, "DELETE", &one, None).await.0, 204);
        for method in ["GET", "DELETE"] {
            assert_eq!(send(&engine, &admin, method, &one, None).await.0, 404);
        }
        assert_eq!(send(&engine, &admin, "PUT", &one, Some(&for_alice)).await.0, 404);
        assert!(engine.stop().await);
    }
}
