//! What people and instruments do wrong, each with a clear error and nothing changed.

mod harness;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use harness::{Api, Engine, dte, model};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../examples/enso/enso.yaml");

struct Bench {
    folder: tempfile::TempDir,
    engine: Engine,
}

impl Bench {
    fn start() -> Bench {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir_all(folder.path().join("observations")).expect("folder");
        let engine = Engine::start(&folder.path().join("d"), &["up"], &[]);
        Bench { folder, engine }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The example with one copy of everything, and another program or text where wanted.
    fn document(&self, program: &Path, change: impl Fn(String) -> String) -> PathBuf {
        let text = DOCUMENT
            .replace("program: enso-model", &format!("program: {:?}", program.display().to_string()))
            .replace("copies: 2", "copies: 1")
            .replace("rses: LOCAL|ARCHIVE", "rses: LOCAL");
        let path = self.path("enso.yaml");
        std::fs::write(&path, change(text)).expect("writes");
        path
    }

    fn apply(&self, document: &Path) -> Output {
        dte().args(["twin", "apply"]).arg(document).arg("--data-dir").arg(&self.engine.data_dir).output().expect("runs")
    }

    fn applied(&self, document: &Path) {
        let output = self.apply(document);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn arrive(&self, name: &str, text: &str) {
        let part = self.path(&format!("observations/.{name}.part"));
        std::fs::write(&part, text).expect("writes");
        std::fs::rename(part, self.path(&format!("observations/{name}"))).expect("renames");
    }

    fn history(&self) {
        let figures = include_str!("../../../examples/enso/data/nino12-sst-monthly-1950-2010.csv");
        let known: Vec<&str> =
            figures.lines().filter(|line| !line.starts_with(char::is_numeric) || *line < "1980").collect();
        self.arrive("nino12-history.csv", &(known.join("\n") + "\n"));
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.path("model.sh");
        std::fs::write(&path, text).expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        path
    }
}

async fn status(api: &Api) -> Value {
    api.get("/twins/api/v1/twins/enso/status").await
}

async fn until(api: &Api, what: &str, check: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_200 {
        let status = status(api).await;
        if check(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never happened: {what}; now: {}", status(api).await);
}

fn refused_with(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it was accepted");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn documents_with_mistakes() {
    let bench = Bench::start();
    let unknown = bench.document(&model(), |text| text.replace("timeout: 60s", "timout: 60s"));
    let line =
        std::fs::read_to_string(&unknown).expect("reads").lines().position(|l| l.contains("timout")).expect("there")
            + 1;
    refused_with(&bench.apply(&unknown), &["timout", &line.to_string()]);
    let cycle = bench.document(&model(), |text| {
        text.replace("dataset-ready: nino12 ", "dataset-ready: forecast ")
            .replace("- data: nino12 ", "- data: forecast ")
    });
    refused_with(&bench.apply(&cycle), &["forecast"]);
    let twins = bench.engine.api().get("/twins/api/v1/twins").await;
    assert_eq!(twins["items"].as_array().map(Vec::len), Some(0), "{twins}");
    bench.engine.stop();
}

#[tokio::test]
async fn files_with_mistakes_are_refused_or_wait() {
    let bench = Bench::start();
    bench.applied(&bench.document(&model(), |text| text));
    let api = bench.engine.api();
    bench.history();
    for (text, word) in [
        ("month,sst_c\n1980-01,warm\n", "warm"),
        ("month,sst_c\n1980-01,24.0\n1980-01,24.1\n", "twice"),
        ("month,sst_c\n1980-03,24.001\n", "1980-03"),
    ] {
        bench.arrive("nino12-1980-01.csv", text);
        let refused = until(&api, word, |s| {
            let newest = &s["observes"][0]["refused"]["newest"];
            newest.as_array().is_some_and(|list| list.iter().any(|file| file["bytes"] == text.len()))
        })
        .await;
        let newest = refused["observes"][0]["refused"]["newest"].to_string();
        assert!(newest.contains(word), "{word:?} is missing in {newest}");
    }
    assert_eq!(status(&api).await["observes"][0]["accepted"], 1, "only the history is in");
    // The month after the next comes first: it waits for its predecessor and then goes on by itself.
    bench.arrive("nino12-1980-02.csv", "month,sst_c\n1980-02,25.81\n");
    until(&api, "February waits for January", |s| s["observes"][0]["held"]["count"] == 1).await;
    // A file that is still being written is not looked at; the half would be a wrong value.
    let mut slow = std::fs::File::create(bench.path("observations/nino12-1980-01.csv.tmp")).expect("creates");
    std::io::Write::write_all(&mut slow, b"month,sst_c\n1980-01,2").expect("writes");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(status(&api).await["observes"][0]["accepted"], 1);
    std::io::Write::write_all(&mut slow, b"4.61\n").expect("writes");
    drop(slow);
    std::fs::rename(bench.path("observations/nino12-1980-01.csv.tmp"), bench.path("observations/nino12-1980-01.csv"))
        .expect("renames");
    let done = until(&api, "both months ran", |s| s["models"][0]["runs"]["succeeded"] == 2).await;
    assert_eq!(done["observes"][0]["accepted"], 3, "{done}");
    bench.engine.stop();
}

/// A run of a model that misbehaves: failed with this reason, and the twin goes on.
async fn misbehaves(script: &str, timeout: &str, word: &str) -> Bench {
    let bench = Bench::start();
    let script = bench.script(script);
    bench.applied(&bench.document(&script, |text| text.replace("timeout: 60s", &format!("timeout: {timeout}"))));
    let api = bench.engine.api();
    bench.history();
    bench.arrive("nino12-1980-01.csv", "month,sst_c\n1980-01,24.61\n");
    let failed = until(&api, "the run failed", |s| s["models"][0]["runs"]["failed"] == 1).await;
    let reason = failed["last_run"]["reason"].to_string();
    assert!(reason.contains(word), "{reason}");
    assert_eq!(failed["produces"][0]["published"], 0, "nothing was published");
    bench
}

#[tokio::test]
async fn a_model_that_exits_1() {
    let bench = misbehaves("#!/bin/sh\necho the sea is on fire\nexit 1\n", "20s", "1").await;
    let log = bench.engine.api().text("/twins/api/v1/twins/enso/logs").await;
    assert!(log.contains("the sea is on fire"), "{log}");
    bench.engine.stop();
}

#[tokio::test]
async fn a_model_that_hangs() {
    misbehaves("#!/bin/sh\nsleep 1000\n", "2s", "DeadlineExceeded").await.engine.stop();
}

#[tokio::test]
async fn a_model_that_writes_a_gigabyte_of_log() {
    let script = "#!/bin/sh\nhead -c 1000000000 /dev/zero | tr '\\0' x\nexit 3\n";
    let bench = misbehaves(script, "60s", "3").await;
    fn size(path: &Path) -> u64 {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.file_type() {
                Ok(kind) if kind.is_dir() => size(&entry.path()),
                _ => entry.metadata().map_or(0, |found| found.len()),
            })
            .sum()
    }
    let used = size(&bench.engine.data_dir);
    assert!(used < 200_000_000, "the data directory holds {used} bytes");
    bench.engine.stop();
}
