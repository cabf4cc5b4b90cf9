//! Explanations, over the wire and over the socket.

mod provider;

use dte_identity::{AdminClient, Explanation, NewBan};
use provider::{Provider, engine};
use serde_json::{Value, json};

#[tokio::test]
async fn a_denial_has_its_steps_and_all_its_reasons() {
    let provider = Provider::start().await;
    let grants = "[[identity.trusted_issuers.grants]]\ngroup = '/twins/ops'\nscopes = ['compute.create']";
    let us = engine(&provider.trusted(grants)).await;
    let admin = us.admin_token();
    let alice = us.token_for("alice", &[]).await;
    let ask = async |token: &str, question: Value| {
        let request = us.client.post(us.url_of("/policy/v1/explain")).bearer(token).json(&question);
        request.send().await.expect("an answer")
    };
    let explained = async |question: Value| -> Explanation {
        ask(admin.expose(), question).await.ok().await.expect("explained").json().await.expect("JSON")
    };
    // A token that is refused: the checks up to the one that failed.
    let bad = explained(json!({"token": provider.token(json!({"aud": "x"})), "action": "compute.create"})).await;
    assert_eq!((bad.permitted, bad.reason.as_str()), (false, "audience-wrong"));
    let checks: Vec<&str> = bad.steps.iter().map(|step| step.check.as_str()).collect();
    assert_eq!(checks, ["size", "format", "algorithm", "issuer", "key", "signature", "expiry", "begin", "audience"]);
    for (changes, check, reason) in [
        (json!({"iss": "https://nobody.example"}), "issuer", "issuer-not-trusted"),
        (json!({"exp": 1}), "expiry", "expired"),
        (json!({"sub": null}), "subject", "claim-missing"),
        (json!({"scope": "storage.read"}), "scopes", "scope-unacceptable"),
        (json!({"nonce": "n"}), "use", "id-token"),
    ] {
        let told = explained(json!({"token": provider.token(changes), "action": "compute.create"})).await;
        let last = told.steps.last().expect("a step");
        assert_eq!((last.check.as_str(), told.reason.as_str()), (check, reason));
    }
    // One that is good, and may not.
    let guest = explained(json!({"token": provider.token(json!({})), "action": "compute.create"})).await;
    assert_eq!(guest.reason, "insufficient");
    assert_eq!(guest.reasons, ["not-an-administrator", "scope-missing", "no-account", "no-grant"]);
    let member = provider.token(json!({"wlcg.groups": ["/twins/ops"]}));
    let member = explained(json!({"token": member, "action": "compute.create"})).await;
    assert_eq!((member.permitted, member.reason.as_str()), (true, "grant"));
    assert_eq!(member.about.expect("somebody").granted, ["compute.create"]);
    // Subjects without a token.
    let path = |object: &str| json!({"subject": "alice", "action": "storage.read", "object": object});
    assert!(explained(path("/home/alice/f")).await.permitted);
    assert_eq!(explained(path("/home/bob/f")).await.reasons[2], "not-own-area");
    assert_eq!(explained(path("/home/alice/../bob")).await.reason, "bad-path");
    assert_eq!(explained(json!({"subject": "nobody", "action": "compute.create"})).await.reason, "no-account");
    let group =
        json!({"subject": "dave", "issuer": provider.issuer, "groups": ["/twins/ops"], "action": "compute.create"});
    assert!(explained(group).await.permitted);
    // What decides is what explains.
    let ban = NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() };
    let ban = us.identity.ban(ban, "admin").await.expect("banned");
    assert_eq!(explained(path("/home/alice/f")).await.reason, "banned");
    us.identity.lift_ban(&ban.id, "admin").await.expect("lifted");
    // Who may ask what.
    let mine = ask(alice.expose(), json!({"action": "admin"})).await;
    let mine: Explanation = mine.json().await.expect("JSON");
    assert!(!mine.permitted && mine.about.expect("somebody").name == "alice");
    assert_eq!(ask(alice.expose(), path("/home/alice/f")).await.status, 403);
    assert_eq!(ask("a.b.c", json!({"action": "admin"})).await.status, 401);
    for wrong in [
        json!({}),
        json!({"action": "storage.read"}),
        json!({"action": "storage.read", "object": "x"}),
        json!({"action": "admin", "token": "x", "subject": "y"}),
        json!({"action": "admin", "subject": "alice", "scope": "storage.read"}),
        json!({"action": "admin", "subject": "alice", "groups": ["x"]}),
        json!({"action": "admin", "surprise": 1}),
    ] {
        assert_eq!(ask(admin.expose(), wrong.clone()).await.status.as_u16() / 100, 4, "{wrong}");
    }
    // Over the socket.
    us.identity.serve_admin_socket(us.data_dir(), &us.tasks).expect("served");
    let socket = AdminClient::new(us.data_dir());
    let told = socket.explain(&json!({"token": alice.expose(), "action": "admin"})).await.expect("explained");
    assert_eq!(told.reasons, ["not-an-administrator", "scope-missing", "not-for-accounts", "no-grant"]);
    assert!(socket.explain(&json!({"action": "admin"})).await.is_err(), "nobody is meant");
}

#[tokio::test]
async fn denials_on_the_wire_say_why() {
    let us = engine("").await;
    let alice = us.token_for("alice", &["compute.read"]).await;
    let reply = us.client.get(us.url_of("/demo/compute")).bearer(&alice).send().await.expect("an answer");
    let body: Value = reply.json().await.expect("a problem");
    assert_eq!(body["reason"], "insufficient");
    assert_eq!(body["reasons"], json!(["not-an-administrator", "scope-missing", "account-confined", "grant-confined"]));
}
