//! Twin documents, good and bad.

#![allow(clippy::unwrap_used)]

use dte_workflow::model::document::Document;
use dte_workflow::model::mistake::MAX_BYTES;

const EXAMPLE: &str = include_str!("../../../examples/enso/enso.yaml");

fn mistake_in(text: &str) -> String {
    Document::parse(text).expect_err("is refused").to_string()
}

fn changed(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from}");
    mistake_in(&EXAMPLE.replacen(from, to, 1))
}

fn line_of(text: &str) -> usize {
    EXAMPLE.lines().position(|line| line.contains(text)).expect("in the example") + 1
}

#[test]
fn the_example_is_right() {
    let document = Document::parse(EXAMPLE).expect("parses");
    assert_eq!(document.twin.value, "enso");
    assert_eq!(document.checks.skill[0].reference.to.value.to_string(), "1979-12");
    assert_eq!(document.policy.budget.cpu.expect("set").0.as_secs(), 7200);
}

#[test]
fn an_unknown_key_is_told_with_its_place() {
    let line = line_of("    folder: observations  ");
    let said = changed("    folder: observations  ", "    foldr: observations  ");
    assert!(said.starts_with(&format!("line {line}, column 5: ")), "{said}");
    assert!(said.contains("foldr"), "{said}");
}

#[test]
fn bad_values_are_told_with_their_place() {
    for (from, to, wanted) in [
        ("timeout: 60s", "timeout: 60", "is not a duration such as"),
        ("memory: 256MiB", "memory: plenty", ""),
        ("start: 1980-01", "start: 1980-13", "\"1980-13\" is not a month"),
        ("pattern: \"nino12-{month}.csv\"", "pattern: \"nino12.csv\"", "{month}"),
        ("range: [10, 40]", "range: [40, 10]", "[lowest, highest]"),
        ("twin: enso", "twin: ENSO", "is not a name"),
        ("dataset-ready: nino12", "dataset-ready: nino34", "nothing is observed or produced under the name \"nino34\""),
        ("model: regression", "model: magic", "there is no model \"magic\""),
        ("to: 1979-12", "to: 1979-11", "whole years"),
        ("to: 1979-12", "to: 1980-12", "must lie in the history"),
        ("probability: 0.8", "probability: 80", "between 0 and 1"),
        ("over_below: 0.5", "over_below: 2", "cannot be above"),
        ("require: [numeric, contiguous, unique, in-range]", "require: [numeric]", "cannot be left out"),
        ("file: nino12-history.csv", "file: ../history.csv", "is not a file name"),
        ("file: nino12-history.csv", "file: other.csv", "must fit"),
        ("image: host", "image: docker", ""),
    ] {
        let said = changed(from, to);
        let line = line_of(from);
        assert!(said.starts_with(&format!("line {line}, column ")), "{to}: {said}");
        assert!(said.contains(wanted), "{to}: {said}");
    }
}

#[test]
fn not_yaml() {
    assert!(mistake_in("twin: [").starts_with("line 1, column "));
    assert!(mistake_in("twin: a\ntwin: b\n").starts_with("line 2, column 1: "));
    assert!(mistake_in("").contains("twin") || !mistake_in("").is_empty());
    assert!(mistake_in(&"#".repeat(MAX_BYTES + 1)).contains("at most"));
}

#[test]
fn a_cycle_is_named() {
    let text = "
twin: round
observes:
  - { name: sea, folder: in, pattern: 's-{month}.csv', start: 1980-01, series: { format: csv-monthly, value: v } }
models:
  - { name: first, on: { dataset-ready: adjusted }, container: { image: host, program: a } }
  - { name: second, on: { dataset-ready: raw }, container: { image: host, program: b } }
produces:
  - { name: raw, model: first, output: r.csv, format: opaque, filename: 'r-{issue_month}.csv' }
  - { name: adjusted, model: second, output: a.csv, format: opaque, filename: 'a-{issue_month}.csv' }
";
    let said = mistake_in(text);
    assert_eq!(said, "line 6, column 13: the models wait for each other: first → raw → second → adjusted → first");
    let chain = text.replace("dataset-ready: adjusted", "dataset-ready: sea");
    assert!(Document::parse(&chain).is_ok());
    let own = text.replace("dataset-ready: adjusted", "dataset-ready: raw");
    assert!(mistake_in(&own).ends_with("wait for each other: first → raw → first"), "{}", mistake_in(&own));
}
