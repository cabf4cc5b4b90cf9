//! Prints a PROV-JSON document as the engine makes it, for validation by other tools: `cargo run --example prov-document 12`
//! is a year of monthly runs, each on all observations so far and on the forecast before.

use dte_base::time::Timestamp;
use dte_provenance::model::document::Document;
use dte_provenance::model::notation::provn;
use dte_provenance::model::run::{About, Code, File, Run};

fn file(name: String, number: usize) -> File {
    File { did: format!("enso:{name}"), bytes: 40, adler32: format!("{number:08x}"), dataset: None }
}

fn run(number: usize) -> Run {
    let about = About {
        name: format!("enso-{number:03}"),
        user: "admin".to_owned(),
        acting: "workflow".to_owned(),
        site: "local".to_owned(),
        twin: Some("enso".to_owned()),
        phase: "Succeeded".to_owned(),
        exit_code: Some(0),
        started: Some(Timestamp::from_seconds(1_000 + number as i64)),
        finished: Some(Timestamp::from_seconds(1_001 + number as i64)),
        code: Some(Code { name: "model".to_owned(), sha256: "5e".repeat(32) }),
        ..About::default()
    };
    let mut inputs: Vec<File> = (0..=number).map(|n| file(format!("nino12-{n:03}.csv"), n)).collect();
    if let Some(before) = number.checked_sub(1) {
        inputs.push(file(format!("forecast-{before:03}.csv"), 10_000 + before));
    }
    Run {
        id: format!("run-{number:03}"),
        about,
        inputs,
        outputs: vec![file(format!("forecast-{number:03}.csv"), 10_000 + number)],
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(12);
    let runs: Vec<Run> = (0..count).map(run).collect();
    let document = Document::of(&runs).to_json();
    match arguments.get(1).map(String::as_str) {
        Some("provn") => print!("{}", provn(&document)),
        _ => println!("{document}"),
    }
}
