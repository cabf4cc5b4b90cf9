//! A run as a Kubernetes pod: what is staged, what is called, what is collected.
//!
//! The annotations are an agreement with whoever runs the pod: `dte.io/inputs` (files to stage, by DID and checksum),
//! `dte.io/code` (the program, staged like an input and named by its checksum), `dte.io/outputs` (files to collect and
//! register).

use dte_base::id::derived_id;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::check;
use super::document::{Document, Model, Produces};
use super::month::Month;
use super::names::{self, Place};

/// A file in the lake, as far as a run needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub did: String,
    pub name: String,
    pub bytes: u64,
    pub adler32: String,
}

/// The program of a model, in the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub did: String,
    pub sha256: String,
    pub bytes: u64,
    pub adler32: String,
    /// Where it was when the twin was applied; `None` when the document named a DID.
    #[serde(default)]
    pub path: Option<String>,
}

/// Which run: a model on an arrival.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub twin: &'a str,
    pub model: &'a str,
    /// The place of the newest observation in the order of arrivals.
    pub arrival: u64,
    /// The month of the newest observation.
    pub issue: Month,
    /// 0 at the first try.
    pub attempt: u32,
}

impl Run<'_> {
    /// The pod's identity: the same whoever derives it, so a hand-over that is repeated names the same pod.
    pub fn uid(&self) -> Uuid {
        let arrival = self.arrival.to_string();
        if self.attempt == 0 {
            return derived_id(&["run", self.twin, self.model, &arrival]);
        }
        derived_id(&["run", self.twin, self.model, &arrival, &self.attempt.to_string()])
    }

    /// `enso-regression-1982-08`
    pub fn pod_name(&self) -> String {
        format!("{}-{}-{}", self.twin, self.model, self.issue)
    }
}

/// One input folder and the files that go into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    pub folder: String,
    pub files: Vec<File>,
}

/// Where a product is to be registered.
fn output(document: &Document, product: &Produces, issue: Month) -> Value {
    let place = Place::of_product(document, product);
    json!({
        "path": product.output.value,
        "did": names::product_file(document, product, issue).to_string(),
        "dataset": place.dataset(issue).to_string(),
        "rse": product.placement.landing,
        "required": true,
    })
}

/// The folders of a model's inputs: what triggers it, if the document names none.
pub fn folders(model: &Model) -> Vec<(String, String)> {
    if model.inputs.is_empty() {
        let trigger = &model.on.dataset_ready.value;
        return vec![(trigger.clone(), trigger.clone())];
    }
    model.inputs.iter().map(|input| (input.data.value.clone(), input.folder.value.clone())).collect()
}

/// The pod of a run.
pub fn pod(
    document: &Document,
    model: &Model,
    run: &Run<'_>,
    owner: &str,
    program: &Program,
    staged: &[Staged],
) -> Value {
    let inputs: Vec<Value> = staged
        .iter()
        .flat_map(|one| one.files.iter().map(move |file| (&one.folder, file)))
        .map(|(folder, file)| {
            json!({
                "did": file.did,
                "path": format!("{folder}/{}", file.name),
                "bytes": file.bytes,
                "adler32": file.adler32,
            })
        })
        .collect();
    let outputs: Vec<Value> =
        document.products_of(run.model).map(|product| output(document, product, run.issue)).collect();
    let code = json!({
        "did": program.did,
        "path": run.model,
        "sha256": program.sha256,
        "bytes": program.bytes,
        "adler32": program.adler32,
    });
    let uid = run.uid().to_string();
    let env: Vec<Value> =
        model.container.env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let observed = check::root(document, &model.on.dataset_ready.value).map(|one| one.name.value.clone());
    json!({
        "metadata": {
            "name": run.pod_name(),
            "namespace": run.twin,
            "uid": uid,
            "labels": { "dte.io/twin": run.twin, "dte.io/model": run.model },
            "annotations": {
                "dte.io/twin": run.twin,
                "dte.io/model": run.model,
                "dte.io/run": uid,
                "dte.io/owner": owner,
                "dte.io/arrival": run.arrival.to_string(),
                "dte.io/issue-month": run.issue.to_string(),
                "dte.io/observes": observed.unwrap_or_default(),
                "dte.io/inputs": Value::from(inputs).to_string(),
                "dte.io/outputs": Value::from(outputs).to_string(),
                "dte.io/code": code.to_string(),
            },
        },
        "spec": {
            "containers": [{
                "name": run.model,
                "image": "host",
                "command": [run.model],
                "args": model.container.args,
                "env": env,
                "resources": resources(model),
            }],
            "nodeSelector": { "dte.site": model.site },
            "restartPolicy": "Never",
            "activeDeadlineSeconds": model.timeout.0.as_secs_f64().ceil().max(1.0) as i64,
        },
        "status": {},
    })
}

fn resources(model: &Model) -> Value {
    let mut limits = serde_json::Map::new();
    if let Some(cpu) = model.resources.cpu {
        limits.insert("cpu".to_owned(), format!("{}m", (cpu * 1000.0).round() as u64).into());
    }
    if let Some(memory) = model.resources.memory {
        limits.insert("memory".to_owned(), memory.0.to_string().into());
    }
    if limits.is_empty() { json!({}) } else { json!({ "limits": limits, "requests": limits }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_identity_for_each_try() {
        let issue: Month = "1982-08".parse().expect("month");
        let run = Run { twin: "enso", model: "regression", arrival: 32, issue, attempt: 0 };
        assert_eq!(run.uid(), run.uid());
        assert_ne!(run.uid(), Run { arrival: 33, ..run }.uid());
        assert_ne!(run.uid(), Run { attempt: 1, ..run }.uid());
        assert_eq!(run.pod_name(), "enso-regression-1982-08");
    }

    #[test]
    fn the_pod_of_the_example() {
        let document = Document::parse(include_str!("../../../../examples/enso/enso.yaml")).expect("parses");
        let model = document.model("regression").expect("there");
        let issue: Month = "1980-01".parse().expect("month");
        let run = Run { twin: "enso", model: "regression", arrival: 1, issue, attempt: 0 };
        let program = Program { did: "enso:p".into(), sha256: "00".into(), bytes: 1, adler32: "1".into(), path: None };
        let file = File { did: "enso:a.csv".into(), name: "a.csv".into(), bytes: 3, adler32: "00000001".into() };
        let staged = [Staged { folder: "observations".into(), files: vec![file] }];
        let pod = pod(&document, model, &run, "admin", &program, &staged);
        let annotations = &pod["metadata"]["annotations"];
        assert_eq!(
            annotations["dte.io/inputs"],
            r#"[{"did":"enso:a.csv","path":"observations/a.csv","bytes":3,"adler32":"00000001"}]"#
        );
        assert_eq!(
            annotations["dte.io/outputs"],
            r#"[{"path":"forecast.csv","did":"enso:nino12-forecast-1980-01.csv","dataset":"enso:forecast.1980-01","rse":"LOCAL","required":true}]"#
        );
        assert_eq!(pod["spec"]["activeDeadlineSeconds"], 60);
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1000m");
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["memory"], "268435456");
    }
}
