//! Providers and communities come in step by step, through the wire.

mod wire;

use serde_json::{Value, json};
use wire::{engines, send};

#[tokio::test]
async fn a_provider_from_draft_to_retired() {
    for engine in engines(Vec::new).await {
        let admin = engine.admin_token();
        let site = engine.token_for("site", &[]).await;
        engine.token_for("officer", &[]).await;
        engine.identity.set_user("officer", true, true, "test").await.expect("set");
        let officer = engine.token_for("officer", &[]).await;
        let other = engine.token_for("other", &[]).await;
        let all = "/policy/v1/providers";
        let (status, made) = send(&engine, &site, "POST", all, Some(&json!({"name": "Site"}))).await;
        assert_eq!((status, &made["state"], &made["version"]), (201, &json!("draft"), &json!(1)), "{made}");
        let one = format!("{all}/{}", made["id"].as_str().expect("an id"));
        assert_eq!(send(&engine, &other, "GET", &one, None).await.0, 404);
        let go = async |token, action: &str, version: i64, more: Value| {
            let mut body = json!({"version": version, "reason": "because"});
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            send(&engine, token, "POST", &format!("{one}:{action}"), Some(&body)).await
        };
        let none = || json!({});
        let (status, body) = go(&site, "submitted", 1, none()).await;
        assert!(status == 400 && body["detail"].as_str().is_some_and(|text| text.contains("baseline.12")), "{body}");
        let baseline: Value =
            (1..=12).map(|n| (n.to_string(), json!({"answer": true, "evidence": "https://example.org"}))).collect();
        let document = json!({
            "legal_entity": "Site", "country": "IT", "contacts": {"admin": "a@x.org", "security": "s@x.org", "privacy": "p@x.org"},
            "services": [{"name": "edge", "type": "webdav", "endpoint": "https://x.org"}], "aup_version": "1.0.0",
            "privacy_notice": "https://x.org/p", "access_policy": "all", "sla": "best effort", "baseline": baseline,
        });
        let put = json!({"version": 1, "document": document});
        assert_eq!(send(&engine, &admin, "PUT", &one, Some(&put)).await.0, 403, "the applicant's words");
        assert_eq!(send(&engine, &site, "PUT", &one, Some(&put)).await.0, 200);
        assert_eq!(send(&engine, &site, "PUT", &one, Some(&put)).await.0, 409, "another version");
        assert_eq!(go(&site, "submitted", 2, json!({"evidence": ["no digest"]})).await.0, 400);
        assert_eq!(go(&site, "submitted", 2, json!({"reason": " "})).await.0, 400);
        assert_eq!(go(&site, "submitted", 2, json!({"evidence": ["a".repeat(64)]})).await.0, 200);
        assert_eq!(go(&site, "validating", 3, none()).await.0, 403);
        assert_eq!(go(&admin, "validating", 3, none()).await.0, 200);
        let (status, body) = go(&admin, "production", 4, none()).await;
        assert_eq!((status, &body["allowed"]), (409, &json!(["changes_requested", "rejected", "withdrawn"])), "{body}");
        assert_eq!(go(&admin, "approved", 4, none()).await.0, 409, "not by one");
        assert_eq!(go(&admin, "approve", 4, none()).await.0, 400);
        assert_eq!(go(&admin, "approve", 4, json!({"as": "operations"})).await.1["state"], "validating");
        assert_eq!(
            go(&admin, "approve", 5, json!({"as": "security"})).await.1["state"],
            "validating",
            "one person twice"
        );
        assert_eq!(go(&site, "approve", 6, json!({"as": "security"})).await.0, 403);
        assert_eq!(go(&officer, "approve", 6, json!({"as": "security"})).await.1["state"], "approved");
        for (version, state) in [
            (7, "probation"),
            (8, "production"),
            (9, "suspended"),
            (10, "production"),
            (11, "retiring"),
            (12, "retired"),
        ] {
            let (status, body) = go(&admin, state, version, none()).await;
            assert_eq!((status, &body["state"]), (200, &json!(state)), "{body}");
        }
        assert_eq!(go(&admin, "withdrawn", 13, none()).await.0, 409);
        let (_, shown) = send(&engine, &site, "GET", &one, None).await;
        let steps = shown["steps"].as_array().expect("a list");
        assert_eq!((steps.len(), &steps[1]["evidence"]["shown"][0]), (12, &json!("a".repeat(64))), "{shown}");
        assert_eq!(steps[5]["actor"], "officer");
        let (_, list) = send(&engine, &other, "GET", all, None).await;
        assert_eq!(list["items"], json!([]));
        assert_eq!(send(&engine, &site, "GET", &one.replace("providers", "communities"), None).await.0, 404);
        assert!(engine.stop().await);
    }
}
