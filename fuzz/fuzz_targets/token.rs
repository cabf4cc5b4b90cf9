//! Tokens as they arrive, at an engine of their own. A JSON object changes the claims of a good token, which is then signed with the
//! engine's key; any other text is a token as a stranger writes it, where `%h`, `%b` and `%s` stand for the parts of a good one.
#![no_main]

use std::sync::LazyLock;

use dte_base::time::Timestamp;
use dte_identity::model::decide::ANY_AUDIENCE;
use dte_identity::model::path::StoragePath;
use dte_identity::model::token::{self, Claims};
use dte_identity::testing::{TestEngine, forged_token};
use dte_identity::{ADMIN_SCOPE, Action, Principal, Scopes, StorageOp};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

struct Scene {
    runtime: Runtime,
    engine: TestEngine,
    good: String,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let engine = runtime.block_on(async {
        let engine = TestEngine::start(async |_| Ok(Vec::new())).await;
        engine.token_for("alice", &[]).await;
        engine
    });
    let good = forged_token(&engine.identity, &json!({})).expose().to_owned();
    let accepted = runtime.block_on(engine.identity.verify(&good));
    assert!(accepted.is_ok_and(|admin| admin.is_admin()), "the scene is alive");
    Scene { runtime, engine, good }
});

fuzz_target!(|text: &str| {
    match serde_json::from_str::<Value>(text) {
        Ok(changes) if changes.is_object() => signed(&changes),
        _ => as_written(text),
    }
});

fn verify(text: &str) -> Option<Principal> {
    SCENE.runtime.block_on(SCENE.engine.identity.verify(text)).ok()
}

/// Whoever has no key makes no token: what is accepted is the very token that was given out.
fn as_written(text: &str) {
    let parts: Vec<&str> = SCENE.good.split('.').collect();
    let text = text.replace("%h", parts[0]).replace("%b", parts[1]).replace("%s", parts[2]);
    assert!(verify(&text).is_none() || text == SCENE.good, "{text}");
}

fn signed(changes: &Value) {
    let forged = forged_token(&SCENE.engine.identity, changes);
    let Some(principal) = verify(forged.expose()) else { return };
    let claims = token::parse(forged.expose()).expect("what was accepted can be read").claims;
    what_is_accepted_was_said(&principal, &claims);
    a_capability_confines(&principal);
}

fn what_is_accepted_was_said(principal: &Principal, claims: &Claims) {
    let said = |name: &'static str| claims.text(name).expect("text");
    assert_eq!(said("iss"), Some(SCENE.engine.identity.issuer()));
    assert_eq!(said("sub"), Some(principal.subject.as_str()));
    assert_eq!(claims.seconds("exp").expect("seconds"), Some(principal.expires.as_seconds()));
    assert!(principal.expires > Timestamp::now());
    assert_eq!(said("wlcg.ver").and_then(|version| version.split('.').next()), Some("1"));
    let audience = SCENE.engine.identity.audience();
    let named = claims.get("aud").expect("an audience").texts().expect("text");
    assert!(named.iter().any(|name| *name == audience || *name == ANY_AUDIENCE), "{named:?}");
    let scopes: Vec<&str> = said("scope").unwrap_or_default().split_ascii_whitespace().collect();
    assert_eq!(principal.scopes.names(), scopes);
    if principal.is_admin() {
        assert_eq!(principal.subject, "admin");
        assert!(!principal.scopes.have_capabilities() || scopes.contains(&ADMIN_SCOPE), "{scopes:?}");
    }
}

/// One capability more in a token opens nothing but what it names.
fn a_capability_confines(principal: &Principal) {
    if principal.standing == dte_identity::Standing::Named {
        return;
    }
    let claim = format!("{} storage.poll:/fuzz", principal.scopes.names().join(" "));
    let base = StoragePath::parse("/").expect("a path");
    let mut more = (**principal).clone();
    more.scopes = Scopes::parse(&claim, &base).expect("scopes");
    let more = Principal::new(more);
    let mut actions = vec![Action::Admin];
    actions.extend(["compute.create", "events.read", "dte.lake", "scim:write"].map(Action::Scope));
    for op in [StorageOp::Read, StorageOp::Create, StorageOp::Modify, StorageOp::Stat, StorageOp::Stage] {
        actions.extend(["/", "/home/alice/x", "/home/admin/", "/a/b"].map(|path| Action::Storage(op, path.to_owned())));
    }
    for action in actions {
        assert!(more.allow(&action).is_err() || principal.allow(&action).is_ok(), "{claim}: {action:?}");
    }
}
