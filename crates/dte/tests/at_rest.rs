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
    trace_and_erase(data_dir, name);
}

/// Who was behind a token; and what is left of a person.
fn trace_and_erase(data_dir: &Path, name: &str) {
    assert!(refused(data_dir, &["audit", "trace"], 2).contains("--token-id"));
    assert!(refused(data_dir, &["audit", "trace", "--subject", name, "--pod", "x"], 2).contains("--pod"));
    let issued = ["admin socket", "command line"].iter().find_map(|by| {
        let records = json(&good(data_dir, &["audit", "trace", "--subject", by]));
        let of_name = |one: &&Value| one["action"] == "token.issue" && one["object"] == name;
        let found = records.as_array().expect("a list").iter().find(of_name)?;
        found["detail"]["token_id"].as_str().map(str::to_owned)
    });
    let issued = issued.expect("a token that was issued");
    let trace = json(&good(data_dir, &["audit", "trace", "--token-id", &issued]));
    assert!(trace["identities"].as_array().expect("a list").iter().any(|one| one["name"] == name), "{trace}");
    let nobody = json(&good(data_dir, &["audit", "trace", "--pod", "018f2f6e-0000-7000-8000-000000000000"]));
    assert_eq!(nobody["owner"], Value::Null, "{nobody}");

    assert!(refused(data_dir, &["user", "erase", name], 2).contains("--yes"));
    assert!(refused(data_dir, &["user", "erase", "admin", "--yes"], 1).contains("cannot be erased"));
    let erasure = json(&good(data_dir, &["user", "erase", name, "--yes", "--json"]));
    let pseudonym = erasure["pseudonym"].as_str().expect("a pseudonym");
    assert_eq!(json(&good(data_dir, &["audit", "verify"]))["broken_at"], Value::Null);
    let users = good(data_dir, &["user", "list", "--json"]);
    assert!(!users.contains(&format!("\"{name}\"")), "{users}");
    let trace = good(data_dir, &["audit", "trace", "--token-id", &issued]);
    assert!(trace.contains(pseudonym) && !trace.contains(&format!("\"{name}\"")), "{trace}");
    assert!(refused(data_dir, &["user", "add", name], 1).contains("already"));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_on_the_command_line() {
    let folder = tempfile::tempdir().expect("folder");
    let data_dir = folder.path().join("d");
    let engine = Engine::start(&data_dir, &["up"], &[]);
    good(&data_dir, &["user", "add", "alice"]);
    good(&data_dir, &["user", "add", "bob"]);
    good(&data_dir, &["group", "add", "/ocean", "--description", "The ocean", "--manager", "alice"]);
    good(&data_dir, &["group", "add", "/ocean/modellers"]);
    assert!(refused(&data_dir, &["group", "add", "/ocean"], 1).contains("already"));
    let list = good(&data_dir, &["group", "list"]);
    assert!(list.contains("/ocean/modellers") && list.contains("alice") && list.contains("The ocean"), "{list}");
    good(&data_dir, &["group", "member", "add", "/ocean", "alice", "bob"]);
    good(
        &data_dir,
        &["group", "member", "add", "/ocean", "bob", "--role", "pilot", "--expires", "2099-01-01T00:00:00Z"],
    );
    let members = json(&good(&data_dir, &["group", "member", "list", "/ocean", "--json"]));
    assert_eq!(members.as_array().map(Vec::len), Some(3), "{members}");
    good(&data_dir, &["group", "member", "remove", "/ocean", "bob"]);
    let members = json(&good(&data_dir, &["group", "member", "list", "/ocean", "--json"]));
    assert_eq!(members.as_array().map(Vec::len), Some(2), "{members}");
    assert!(refused(&data_dir, &["group", "member", "add", "/nowhere", "bob"], 1).contains("/nowhere"));
    // Requests: asked for by the person, decided here.
    let api = harness::Api::new(&engine.url, good(&data_dir, &["token", "--user", "bob"]).trim());
    for (outcome, command) in [("REJECTED", "reject"), ("APPROVED", "approve")] {
        let wanted = serde_json::json!({"groupName": "ocean/modellers", "notes": "I model it"});
        let asked = json(&api.post_text("/oidc/iam/group_requests", &wanted).await);
        let id = asked["uuid"].as_str().expect("an id").to_owned();
        assert!(good(&data_dir, &["group", "request", "list"]).contains(&id));
        let mut arguments = vec!["group", "request", command, id.as_str()];
        if command == "reject" {
            arguments.extend(["--reason", "not yet"]);
        }
        assert!(good(&data_dir, &arguments).contains("bob"), "{outcome}");
    }
    let members = good(&data_dir, &["group", "member", "list", "/ocean/modellers"]);
    assert!(members.contains("bob"), "{members}");
    assert!(refused(&data_dir, &["group", "delete", "/ocean"], 1).contains("beneath"));
    good(&data_dir, &["group", "delete", "/ocean/modellers"]);
    good(&data_dir, &["group", "delete", "/ocean"]);
    engine.stop();
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
    good(&data_dir, &["user", "add", "who-stays"]);
    // The socket of an engine that was killed is no engine.
    let engine = Engine::start(&data_dir, &["up"], &[]);
    let users = json(&good(&data_dir, &["user", "list", "--json"]));
    assert!(users.as_array().expect("a list").iter().any(|user| user["name"] == "who-stays"), "{users}");
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
