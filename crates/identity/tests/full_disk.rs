//! A full disk: what cannot be written is refused in clear words, nothing that was given is lost, and all goes on when there
//! is room again.

mod issuer_support;
mod people_support;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{Mount, NewBan};
use dte_store::{Options, Store};
use issuer_support::{App, Browser, refresh, register, text};
use serde_json::json;

/// Names the folder on the small disk, for the process that has it.
const FOLDER: &str = "DTE_TEST_FULL_DISK";
/// So many tries find a disk full: a log that was written once has room within.
const MOST_TRIES: usize = 3_000;

#[test]
fn on_a_full_disk() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return inside(Path::new(&folder));
    }
    if std::env::var("DTE_TEST_SYSTEM").as_deref() != Ok("1") {
        println!("SKIPPED: a full disk needs a mount; set DTE_TEST_SYSTEM=1");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // In a mount namespace of its own, so that nothing is left mounted whatever happens.
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().expect("a name"))
        .args(["--exact", "on_a_full_disk", "--nocapture"])
        .env(FOLDER, folder.path())
        .status()
        .expect("unshare runs");
    assert!(status.success(), "{status}");
}

fn inside(folder: &Path) {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(folder).status();
    assert!(mounted.is_ok_and(|status| status.success()), "mount failed");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(fills_up(folder));
}

/// Takes all room that is left; removing it gives it back.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(folder: &Path) -> Ballast {
        let path = folder.join("ballast");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("a file");
        for size in [1 << 20, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ballast(path)
    }

    fn remove(self) {
        std::fs::remove_file(self.0).expect("removed");
    }
}

async fn begin(engine: &TestEngine, name: &str) -> Result<(), String> {
    let code = engine.identity.login_code(name, "test").await.map_err(|error| error.to_string())?;
    let secret = engine.identity.begin_session(code.expose()).await.map_err(|error| error.to_string())?;
    secret.map(drop).ok_or_else(|| "the code is not good".to_owned())
}

async fn rotates(engine: &TestEngine, app: &App, held: &mut String) -> Result<(), (u16, String)> {
    let (status, answer) = refresh(engine, app, held, &[]).await;
    if status != 200 {
        return Err((status, answer.to_string()));
    }
    text(&answer, "refresh_token").clone_into(held);
    Ok(())
}

fn ban(subject: &str) -> NewBan {
    NewBan { subject: Some(subject.to_owned()), reason: "a test".to_owned(), ..NewBan::default() }
}

async fn fills_up(folder: &Path) {
    let data = folder.join("data");
    std::fs::create_dir(&data).expect("made");
    let store = Store::open(&Options::sqlite(&data.join("dte.sqlite"))).await.expect("opened");
    let setup = TestSetup { shared_store: Some(store), data_dir: Some(data), ..TestSetup::default() };
    let engine = TestEngine::start_with(setup, async |_| Ok(Vec::<Mount>::new())).await;
    for name in ["alice", "bob"] {
        engine.identity.add_user(name, false, "test").await.expect("made");
    }
    engine.identity.set_password("alice", people_support::PASSWORD, None, "test").await.expect("set");
    let app = register(&engine, json!({"token_endpoint_auth_method": "none", "scope": "openid offline_access"})).await;
    let browser = Browser::signed_in(&engine, "alice").await;
    let mut held = text(&browser.tokens(&app, "openid offline_access").await, "refresh_token").to_owned();
    rotates(&engine, &app, &mut held).await.expect("there is room");

    let ballast = Ballast::fill(folder);
    let mut refused = None;
    for _ in 0..MOST_TRIES {
        if let Err(answer) = rotates(&engine, &app, &mut held).await {
            refused = Some(answer);
            break;
        }
    }
    let (status, words) = refused.expect("the disk is full");
    assert!(status == 507 && words.contains("disk is full"), "{status} {words}");
    let error = begin(&engine, "alice").await.expect_err("no session without a record of it");
    assert!(error.contains("disk is full"), "{error}");
    let mut visitor = people_support::Browser::new(&engine);
    let page = visitor.sign_in("alice", people_support::PASSWORD).await;
    assert!(page.status == 507 && page.text.contains("disk is full"), "{} {}", page.status, page.text);
    let error = engine.identity.ban(ban("bob"), "admin").await.expect_err("no ban without a record of it");
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert!(engine.identity.is_welcome(&engine.user_ref("bob")), "what failed did not happen");
    assert!(engine.identity.bans(true).await.expect("read").is_empty());
    // What needs no record goes on.
    assert_eq!(issuer_support::get_with(&engine, "/oidc/jwk", "").await, 200);

    ballast.remove();
    rotates(&engine, &app, &mut held).await.expect("the token that was given last is good");
    begin(&engine, "alice").await.expect("there is room again");
    assert_eq!(visitor.sign_in("alice", people_support::PASSWORD).await.status, 303);
    engine.identity.ban(ban("bob"), "admin").await.expect("there is room again");
    assert!(!engine.identity.is_welcome(&engine.user_ref("bob")));
    assert_eq!(engine.identity.bans(true).await.expect("read").len(), 1);
    assert!(engine.identity.audit().verify().await.expect("read").broken_at.is_none());
    engine.stop().await;
}
