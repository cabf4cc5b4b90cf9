//! The house rules that a machine can check: the crate ladder, the licences of what we depend on, and that the project
//! speaks of itself alone.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The ladder: a crate imports only from strictly lower floors.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["store"],
    &["http"],
    &["identity"],
    &["protocol-*"],
    &["storage"],
    &["compute"],
    &[
        "lake",
        "transfer",
        "edge",
        "events",
        "functions",
        "offload",
        "orchestrator",
        "federation",
        "accounting",
        "cube",
        "workflow",
        "provenance",
        "quality",
        "learning",
        "vkubelet",
    ],
    &["dashboard"],
    &["dte"],
];

/// Licences that may be linked into an Apache-2.0 program without further duties than a notice.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
];

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn floor(name: &str) -> Option<usize> {
    let name = name.strip_prefix("dte-").unwrap_or(name);
    FLOORS.iter().position(|floor| {
        floor.iter().any(|crate_name| match crate_name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *crate_name == name,
        })
    })
}

#[test]
fn every_crate_imports_only_from_lower_floors() {
    let metadata = metadata();
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("a list") {
        if !members.contains(text(package, "id")) || text(package, "name") == "enso-model" {
            continue;
        }
        seen += 1;
        let name = text(package, "name");
        let Some(own) = floor(name) else {
            wrong.push(format!("{name} has no place on the ladder"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("a list") {
            // Tests may climb: they exercise a crate together with others.
            let imported = text(dependency, "name");
            if text(dependency, "kind") != "dev"
                && let Some(other) = floor(imported)
                && imported.starts_with("dte-")
                && other >= own
            {
                wrong.push(format!("{name} imports {imported}, which is not below it"));
            }
        }
    }
    assert!(seen >= 15, "only {seen} crates were looked at");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether an SPDX expression can be satisfied with [`LICENCES`] alone.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    expression
        .split(" OR ")
        .any(|choice| choice.split(" AND ").all(|part| LICENCES.contains(&part.trim().trim_matches(['(', ')']))))
        || expression
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|choice| LICENCES.contains(&choice.trim().trim_matches(['(', ')']))))
}

#[test]
fn licences_of_the_dependency_tree() {
    let metadata = metadata();
    let mut reached = BTreeSet::new();
    let nodes: BTreeMap<&str, &Value> =
        metadata["resolve"]["nodes"].as_array().expect("a list").iter().map(|node| (text(node, "id"), node)).collect();
    let mut open: Vec<&str> =
        metadata["workspace_members"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            open.extend(nodes[id]["dependencies"].as_array().expect("a list").iter().filter_map(Value::as_str));
        }
    }
    let bad: Vec<String> = metadata["packages"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|package| reached.contains(text(package, "id")) && !allowed(text(package, "license")))
        .map(|package| format!("{} {}: {:?}", text(package, "name"), text(package, "version"), package["license"]))
        .collect();
    assert!(reached.len() > 50, "only {} packages were looked at", reached.len());
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn licence_expressions() {
    assert!(allowed("MIT OR Apache-2.0"));
    assert!(allowed("MIT/Apache-2.0"));
    assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(allowed("Apache-2.0 AND ISC"));
    assert!(allowed("MPL-2.0 OR MIT"));
    assert!(!allowed("GPL-3.0-only"));
    assert!(!allowed("MIT AND GPL-2.0"));
    assert!(!allowed(""));
}
