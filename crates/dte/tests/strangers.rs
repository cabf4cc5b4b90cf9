//! An ordinary account beside an administrator's: what a pod, a token or a name must not open.

mod harness;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use dte_http::{Client, HttpConfig};
use harness::{Engine, dte};
use serde_json::{Value, json};

struct Town {
    folder: tempfile::TempDir,
    engine: Engine,
    eve: String,
}

fn client() -> Client {
    Client::new(&HttpConfig::default(), "http://nobody.invalid".parse().expect("a URL"))
}

impl Town {
    /// An engine with an administrator's file `adm:secret.csv` in the lake, and an account `eve`.
    fn new() -> Town {
        let folder = tempfile::tempdir().expect("folder");
        let engine = Engine::start(&folder.path().join("d"), &["up"], &[]);
        let secret = folder.path().join("secret.csv");
        std::fs::write(&secret, "topsecret\n").expect("writes");
        let town = Town { folder, engine, eve: String::new() };
        town.command(&["lake", "put", secret.to_str().expect("text"), "adm:secret.csv"]);
        town.command(&["user", "add", "eve"]);
        let eve = town.engine.token_with(&["--user", "eve"]);
        Town { eve, ..town }
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let output = dte().args(arguments).arg("--data-dir").arg(&self.engine.data_dir).output().expect("runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let reply =
            client().post(format!("{}{path}", self.engine.url)).bearer(self.eve.as_str()).json(body).send().await;
        let reply = reply.expect("answers");
        (reply.status.as_u16(), reply.text().await.expect("text"))
    }

    /// Runs a pod of eve's to its end: its status and its log.
    async fn run(&self, uid: &str, annotations: Value, script: &str) -> (Value, String) {
        let pod = json!({
            "metadata": { "name": "p", "namespace": "default", "uid": uid, "annotations": annotations },
            "spec": { "restartPolicy": "Never",
                      "containers": [{ "name": "main", "image": "host", "command": ["/bin/sh", "-c", script] }] },
        });
        let (status, answer) = self.post("/interlink/create", &json!({ "pod": pod })).await;
        assert_eq!(status, 200, "{answer}");
        for _ in 0..600 {
            let (_, text) = self.post("/interlink/status", &json!([pod])).await;
            let seen: Value = serde_json::from_str(&text).expect("JSON");
            let ended = seen[0]["containers"][0]["state"]["terminated"].clone();
            if !ended.is_null() {
                let asked = json!({ "Namespace": "default", "PodUID": uid, "PodName": "p", "ContainerName": "main", "Opts": {} });
                return (ended, self.post("/interlink/getLogs", &asked).await.1);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the pod does not end");
    }
}

fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds(&entry.path(), text),
        _ => std::fs::read(entry.path()).is_ok_and(|bytes| bytes.windows(text.len()).any(|w| w == text.as_bytes())),
    })
}

/// What `dte lake get` of eve's does.
fn eve_gets(town: &Town, did: &str, folder: &str) -> Output {
    let token = town.folder.path().join("eve.token");
    std::fs::write(&token, &town.eve).expect("writes");
    let folder = town.folder.path().join(folder);
    let mut command = dte();
    command.args(["lake", "get", did, "--url", &town.engine.url, "--dir"]).arg(folder).arg("--token-file").arg(token);
    command.output().expect("runs")
}

#[tokio::test]
async fn the_lake_says_who_reads_by_every_door() {
    let town = Town::new();
    let got = eve_gets(&town, "adm:secret.csv", "open");
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert_eq!(std::fs::read_to_string(town.folder.path().join("open/secret.csv")).expect("reads"), "topsecret\n");
    let inputs = json!({ "dte.io/inputs": r#"[{"did":"adm:secret.csv","path":"x"}]"# });
    let (ended, log) = town.run("0b7c1d2e-0000-4000-8000-000000000011", inputs.clone(), "cat $DTE_INPUTS/*").await;
    assert!(ended["exitCode"] == 0 && log.contains("topsecret"), "{ended} {log}");

    let said = town.command(&["lake", "access", "adm", "--reader", "bob"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("bob"));
    let got = eve_gets(&town, "adm:secret.csv", "closed");
    assert_eq!(got.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&got.stderr).contains("not among the readers"), "{got:?}");
    let (ended, log) = town.run("0b7c1d2e-0000-4000-8000-000000000012", inputs.clone(), "cat $DTE_INPUTS/*").await;
    assert!(ended["exitCode"] != 0 && !log.contains("topsecret"), "{ended} {log}");
    // Her own token opens nothing at the edge, whoever may read the scope.
    let place = town.command(&["lake", "replicas", "adm:secret.csv", "--json"]);
    let place: Value = serde_json::from_slice(&place.stdout).expect("JSON");
    let pfn = place[0]["rses"]["LOCAL"][0].as_str().expect("a place");
    let reply = client().get(pfn).bearer(town.eve.as_str()).send().await.expect("answers");
    assert_eq!(reply.status.as_u16(), 403);

    town.command(&["lake", "access", "adm", "--reader", "eve"]);
    assert!(eve_gets(&town, "adm:secret.csv", "hers").status.success());
    town.engine.stop();
}

#[tokio::test]
async fn a_pod_is_no_way_to_the_data_of_others() {
    let town = Town::new();
    town.command(&["lake", "access", "adm", "--reader", "bob"]);
    let inputs = json!({ "dte.io/inputs": r#"[{"did":"adm:secret.csv","path":"x"}]"# });
    let (ended, log) = town.run("0b7c1d2e-0000-4000-8000-000000000001", inputs, "cat $DTE_INPUTS/*").await;
    assert!(ended["exitCode"] != 0 && !log.contains("topsecret"), "{ended} {log}");
    let outputs = json!({ "dte.io/outputs": r#"[{"did":"adm:planted.csv","path":"o","rse":"LOCAL"}]"# });
    let script = "echo planted-by-eve > $DTE_OUTPUTS/o";
    let (ended, _) = town.run("0b7c1d2e-0000-4000-8000-000000000002", outputs, script).await;
    assert_ne!(ended["exitCode"], 0, "{ended}");
    assert!(!holds(&town.engine.data_dir.join("storage"), "planted-by-eve"), "the file is in the storage all the same");
    // The administrator's own file is untouched, and reachable by its owner.
    let fetched = town.folder.path().join("fetched");
    town.command(&["lake", "get", "adm:secret.csv", "--dir", fetched.to_str().expect("text")]);
    assert_eq!(std::fs::read_to_string(fetched.join("secret.csv")).expect("reads"), "topsecret\n");
    town.engine.stop();
}

#[tokio::test]
async fn identities_of_services_cannot_be_taken() {
    let town = Town::new();
    let run = dte_base::id::derived_id(&["run", "enso", "regression", "1"]).to_string();
    let pod = json!({
        "metadata": { "name": "p", "namespace": "default", "uid": run },
        "spec": { "containers": [{ "name": "main", "image": "host", "command": ["/bin/true"] }] },
    });
    let (status, answer) = town.post("/interlink/create", &json!({ "pod": pod })).await;
    assert_eq!(status, 403, "{answer}");
    town.engine.stop();
}

#[tokio::test]
async fn a_confined_token_stays_confined() {
    let town = Town::new();
    let confined = town.engine.token_with(&["--scope", "storage.read:/home/admin"]);
    for (method, path) in
        [("GET", "/twins/api/v1/twins"), ("DELETE", "/twins/api/v1/twins/enso"), ("POST", "/interlink/create")]
    {
        let request = client().request(method.parse().expect("method"), format!("{}{path}", town.engine.url));
        let reply = request.bearer(confined.as_str()).send().await.expect("answers");
        assert_eq!(reply.status.as_u16(), 403, "{method} {path}");
    }
    town.engine.stop();
}
