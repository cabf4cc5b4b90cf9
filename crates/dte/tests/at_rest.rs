//! The command line with the engine stopped, and with names that nobody knows.

mod harness;

use std::path::Path;
use std::process::Output;

use harness::{Engine, dte};
use serde_json::Value;

fn run(data_dir: &Path, arguments: &[&str]) -> Output {
    dte().args(arguments).arg("--data-dir").arg(data_dir).output().expect("runs")
}

fn good(data_dir: &Path, arguments: &[&str]) -> String {
    let output = run(data_dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What a command says that fails with this code.
fn refused(data_dir: &Path, arguments: &[&str], code: i32) -> String {
    let output = run(data_dir, arguments);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints something");
    text
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Accounts, bans and the trail, as they are with the engine running and without.
fn administer(data_dir: &Path, name: &str) {
    assert!(good(data_dir, &["user", "add", name]).contains(name));
    assert!(refused(data_dir, &["user", "add", name], 1).contains("already"));
    let account = |data_dir: &Path| {
        let users = json(&good(data_dir, &["user", "list", "--json"]));
        users.as_array().expect("a list").iter().find(|user| user["name"] == name).expect("the account").clone()
    };
    assert_eq!((&account(data_dir)["active"], &account(data_dir)["admin"]), (&Value::Bool(true), &Value::Bool(false)));
    good(data_dir, &["user", "set", name, "--active", "false"]);
    assert_eq!(account(data_dir)["active"], false);
    assert!(refused(data_dir, &["token", "--user", name], 1).contains(name));
    good(data_dir, &["user", "set", name, "--active", "true", "--admin", "true"]);
    assert_eq!((&account(data_dir)["active"], &account(data_dir)["admin"]), (&Value::Bool(true), &Value::Bool(true)));
    assert!(refused(data_dir, &["user", "set", "nobody", "--active", "true"], 1).contains("nobody"));

    good(data_dir, &["token", "--user", name]);
    good(data_dir, &["ban", "add", "--subject", name, "--reason", "a test"]);
    let bans = json(&good(data_dir, &["ban", "list", "--json"]));
    assert!(bans.as_array().expect("a list").iter().any(|ban| ban["subject"] == name), "{bans}");
    assert!(refused(data_dir, &["token", "--user", name], 1).contains("suspended"));
    good(data_dir, &["ban", "lift", "--subject", name]);
    assert!(refused(data_dir, &["ban", "lift", "--subject", name], 1).contains("not banned"));
    good(data_dir, &["token", "--user", name]);

    assert_eq!(json(&good(data_dir, &["audit", "verify"]))["broken_at"], Value::Null);
    good(data_dir, &["audit", "trace", "--subject", name]);
}

#[test]
fn administration_with_and_without_a_running_engine() {
    let folder = tempfile::tempdir().expect("folder");
    let data_dir = folder.path().join("d");
    let nothing = refused(&data_dir, &["user", "list"], 1);
    assert!(nothing.contains("dte up"), "{nothing}");
    assert!(!data_dir.join("dte.sqlite").exists(), "a question makes no engine");
    let engine = Engine::start(&data_dir, &["up"], &[]);
    administer(&data_dir, "running");
    engine.stop();
    administer(&data_dir, "resting");
    // The socket of an engine that was killed is no engine.
    let engine = Engine::start(&data_dir, &["up"], &[]);
    let users = json(&good(&data_dir, &["user", "list", "--json"]));
    assert!(users.as_array().expect("a list").iter().any(|user| user["name"] == "resting"), "{users}");
    engine.kill();
    assert!(data_dir.join("admin.sock").exists());
    administer(&data_dir, "after-a-kill");
}

#[test]
fn unknown_scopes_and_names_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let data_dir = folder.path().join("d");
    let engine = Engine::start(&data_dir, &["up"], &[]);
    for scope in ["storage.write:/local", "compute.creat", "dte.everything"] {
        let text = refused(&data_dir, &["token", "--scope", scope], 2);
        assert!(text.contains(scope) && text.contains("compute.create") && text.contains("dte.lake"), "{text}");
    }
    good(&data_dir, &["token", "--scope", "storage.read:/home/admin compute.read dte.lake.read"]);
    for arguments in [["lake", "ls", "enso:nothing"], ["lake", "ls", "nowhere"], ["lake", "replicas", "enso:nothing"]] {
        let text = refused(&data_dir, &arguments, 1);
        assert!(text.contains(arguments[2]), "{arguments:?}: {text}");
    }
    let file = folder.path().join("f.csv");
    std::fs::write(&file, "x").expect("writes");
    good(&data_dir, &["lake", "put", file.to_str().expect("text"), "enso:f.csv"]);
    for arguments in [["lake", "ls", "enso"], ["lake", "ls", "enso:f.csv"], ["lake", "replicas", "enso:f.csv"]] {
        assert!(good(&data_dir, &arguments).contains("enso:f.csv"), "{arguments:?}");
    }
    engine.stop();
}
