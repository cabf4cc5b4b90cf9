//! The admin socket and its client.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use dte_base::units::Span;
use dte_identity::socket::{ClientWanted, TokenWanted, UserState};
use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{AdminClient, AdminError, Mount, NewBan, Require, Routes};

fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo").get("/admin", Require::Admin, async || "ok");
    vec![Mount { prefix: "/demo", routes }]
}

async fn start(setup: TestSetup) -> (TestEngine, AdminClient) {
    let engine = TestEngine::start_with(setup, async |_| Ok(mounts())).await;
    engine.identity.serve_admin_socket(engine.data_dir(), &engine.tasks).expect("served");
    let admin = AdminClient::new(engine.data_dir());
    (engine, admin)
}

async fn is_admin(engine: &TestEngine, token: &dte_base::secret::Secret) -> bool {
    let reply = engine.client.get(engine.url_of("/demo/admin")).bearer(token).send().await.expect("an answer");
    reply.status == 200
}

#[tokio::test]
async fn everything_over_the_socket() {
    let (engine, admin) = start(TestSetup::default()).await;
    let mode = std::fs::metadata(engine.data_dir().join("admin.sock")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = admin.token(&TokenWanted::default()).await.expect("a token");
    assert!(is_admin(&engine, &token).await);

    admin.add_user("alice", false).await.expect("made");
    assert!(matches!(admin.add_user("alice", false).await, Err(AdminError::Refused(_))));
    let wanted = TokenWanted {
        user: Some("alice".to_owned()),
        scope: Some("storage.read:/local openid".to_owned()),
        audience: None,
        lifetime: Some(Span(Duration::from_secs(60))),
    };
    let alice = admin.token(&wanted).await.expect("a token");
    let principal = engine.identity.verify(alice.expose()).await.expect("good");
    assert_eq!(principal.scopes.names(), ["storage.read:/local", "openid"]);
    for bad in [
        TokenWanted { user: Some("nobody".to_owned()), ..TokenWanted::default() },
        TokenWanted { scope: Some("storage.read".to_owned()), ..TokenWanted::default() },
        TokenWanted { lifetime: Some(Span(Duration::from_secs(86_400 * 365))), ..TokenWanted::default() },
        TokenWanted { user: Some("alice".to_owned()), scope: Some("dte.admin".to_owned()), ..TokenWanted::default() },
    ] {
        assert!(matches!(admin.token(&bad).await, Err(AdminError::Refused(_))), "{bad:?}");
    }
    admin.set_user("alice", UserState { admin: true, active: true }).await.expect("set");
    assert_eq!(admin.users().await.expect("users").len(), 2);

    let ban = admin
        .add_ban(&NewBan { subject: Some("alice".to_owned()), reason: "test".to_owned(), ..NewBan::default() })
        .await
        .expect("banned");
    assert!(engine.identity.verify(alice.expose()).await.is_err());
    assert_eq!(admin.bans(false).await.expect("bans"), std::slice::from_ref(&ban));
    admin.lift_ban(&ban.id).await.expect("lifted");
    assert!(engine.identity.verify(alice.expose()).await.is_ok());
    assert!(admin.bans(false).await.expect("bans").is_empty());
    assert_eq!(admin.bans(true).await.expect("bans").len(), 1);

    let wanted =
        ClientWanted { client_id: "robot".to_owned(), scopes: vec!["compute.read".to_owned()], audiences: Vec::new() };
    let robot = admin.add_client(&wanted).await.expect("made");
    assert!(engine.identity.client_token("robot", &robot.client_secret, None, None).is_ok());

    assert!(admin.routes().await.expect("routes").iter().any(|row| row.path == "/demo/admin"));
    let report = admin.verify_audit().await.expect("a report");
    assert!(report.broken_at.is_none() && report.records >= 5, "{report:?}");
    let trace = admin.trace_audit("admin socket").await.expect("a trace");
    assert!(trace.iter().any(|record| record.body["action"] == "ban.add"), "{trace:?}");
    assert!(engine.stop().await);
    assert!(matches!(admin.users().await, Err(AdminError::NoEngine { .. })));
    assert!(!AdminClient::is_there(engine.data_dir()));
}

#[tokio::test]
async fn a_long_path_and_a_dead_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("x".repeat(100)).join("y".repeat(100));
    std::fs::create_dir_all(&deep).expect("made");
    // Left behind by an engine that was killed.
    let short = folder.path().join("short");
    std::fs::create_dir(&short).expect("made");
    drop(std::os::unix::net::UnixListener::bind(short.join("admin.sock")).expect("bound"));
    for data_dir in [deep, short] {
        let (engine, admin) = start(TestSetup { data_dir: Some(data_dir), ..TestSetup::default() }).await;
        assert_eq!(admin.users().await.expect("users").len(), 1);
        drop(engine);
    }
}

#[tokio::test]
async fn not_over_something_else() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("admin.sock"), "precious").expect("written");
    let engine = TestEngine::start(async |_| Ok(mounts())).await;
    assert!(engine.identity.serve_admin_socket(folder.path(), &engine.tasks).is_err());
    assert_eq!(std::fs::read(folder.path().join("admin.sock")).expect("there"), b"precious");
}
