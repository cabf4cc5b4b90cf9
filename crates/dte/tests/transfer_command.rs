//! `dte transfer` against a running engine: order copies, wait for them, hear why one failed, cancel.

mod harness;

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use harness::{Engine, dte};
use serde_json::Value;

struct Bench {
    folder: tempfile::TempDir,
    engine: Engine,
}

impl Bench {
    /// An engine with a file in the administrator's storage area.
    async fn start() -> Bench {
        let folder = tempfile::tempdir().expect("folder");
        let engine = Engine::start(&folder.path().join("d"), &["up"], &[]);
        let bench = Bench { folder, engine };
        let client = dte_http::Client::new(&dte_http::HttpConfig::default(), bench.url("").parse().expect("a URL"));
        let put = client.put(bench.url("source")).bearer(&bench.engine.token()).bytes("123456789").send().await;
        put.expect("answers").ok().await.expect("stores");
        bench
    }

    fn url(&self, name: &str) -> String {
        format!("{}/dav/home/admin/{name}", self.engine.url)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let command = dte().arg("transfer").args(arguments).arg("--data-dir").arg(&self.engine.data_dir).output();
        command.expect("runs")
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {complaint}\n{}", self.engine.log());
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// The exit code, and what is said besides.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeds: {}", String::from_utf8_lossy(&output.stdout));
        let all = [output.stdout, output.stderr].concat();
        (output.status.code().expect("a code"), String::from_utf8_lossy(&all).into_owned())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_ordered_and_followed() {
    let bench = Bench::start().await;
    let (from, to) = (bench.url("source"), bench.url("copy"));
    let wanted =
        ["submit", &from, &to, "--checksum", "adler32:091e01de", "--verify", "both", "--priority", "5", "--wait"];
    let shown = bench.says(&wanted);
    assert!(shown.contains(" FINISHED\n") && shown.contains("priority 5"), "{shown}");
    // It is there now, and stays as it is unless the opposite is said.
    let (code, said) = bench.fails(&["submit", &from, &to, "--retry", "0", "--wait"]);
    assert_eq!(code, 1);
    assert!(said.contains("Destination file exists and overwrite is not enabled"), "{said}");
    bench.says(&["submit", &from, &to, "--overwrite", "--follow"]);

    let lines = format!("# more\n{from} {} adler32:091e01de 9\n\n{from} {}\n", bench.url("a/1"), bench.url("a/2"));
    let list = bench.file("pairs", &lines);
    let many = bench.says(&["submit", "--from-file", &list.display().to_string(), "--wait", "--json"]);
    let many: Value = serde_json::from_str(&many).expect("JSON");
    assert_eq!((&many["job_state"], many["files"].as_array().map(Vec::len)), (&"FINISHED".into(), Some(2)));
    let job = many["job_id"].as_str().expect("an id");
    assert!(bench.says(&["show", job]).starts_with(&format!("{job} FINISHED")));
    assert_eq!(bench.says(&["files", job, "--state", "failed", "--json"]), "[]");
    assert!(bench.says(&["list", "--all", "--state", "finished"]).contains(job));
    assert!(bench.says(&["explain", job]).contains("FINISHED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said() {
    let bench = Bench::start().await;
    let (from, to) = (bench.url("source"), bench.url("copy"));
    let (code, said) = bench.fails(&["submit", &bench.url("none"), &to, "--wait"]);
    assert_eq!(code, 1);
    assert!(said.contains("SOURCE [2]"), "{said}");
    let (_, said) = bench.fails(&["submit", &from, &to, "--checksum", "adler32:00000001", "--wait"]);
    assert!(said.contains("CHECKSUM MISMATCH"), "{said}");
    let list = bench.file("pairs", &format!("{from} {to}\n{from}\n"));
    let (code, said) = bench.fails(&["submit", "--from-file", &list.display().to_string()]);
    assert_eq!(code, 2);
    assert!(said.contains("line 2: write SOURCE DESTINATION"), "{said}");
    let nobody = "00000000-0000-0000-0000-000000000000";
    let (code, said) = bench.fails(&["show", nobody]);
    assert_eq!(code, 2);
    assert!(said.contains("No job with the id"), "{said}");
    assert_eq!(bench.fails(&["explain", "nonsense"]).0, 2);
    let (_, said) = bench.fails(&["submit", "file:///etc/passwd", &to]);
    assert!(said.contains("Can not transfer local files"), "{said}");

    // A source that cannot be reached is tried again for a while: time to ask why, and to cancel.
    let wanted = ["submit", "https://no-such-host.invalid/x", &to, "--retry", "100", "--retry-delay", "1h"];
    let job = bench.says(&wanted);
    let began = Instant::now();
    let mut because = bench.says(&["explain", &job]);
    while !because.contains("no-such-host.invalid") {
        assert!(began.elapsed() < Duration::from_secs(60), "no try has failed yet: {because}");
        because = bench.says(&["explain", &job]);
    }
    assert!(because.contains("SUBMITTED"), "{because}");
    assert!(bench.says(&["list"]).contains(&job));
    assert!(bench.says(&["cancel", &job]).ends_with("CANCELED"));
    let (code, said) = bench.fails(&["follow", &job]);
    assert_eq!(code, 1);
    assert!(said.contains("Job canceled by the user"), "{said}");
}
