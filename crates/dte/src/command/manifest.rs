//! A file that says what to run: a `v1.Pod`, or a `batch/v1` Job with one pod, and the config maps and secrets that it mounts.

use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dte_base::id::new_id;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Larger files are not read.
const LARGEST: u64 = 64 << 20;

/// What is handed over together.
#[derive(Debug, Default)]
pub struct Manifest {
    pub pod: Value,
    config_maps: Vec<Value>,
    secrets: Vec<Value>,
}

impl Manifest {
    /// A pod that mounts nothing.
    pub fn of(pod: Value) -> Manifest {
        Manifest { pod, ..Manifest::default() }
    }

    /// The body of interLink's `create`.
    pub fn body(&self) -> Value {
        json!({ "pod": self.pod, "configmaps": self.config_maps, "secrets": self.secrets })
    }
}

/// Reads a file of one or more YAML (or JSON) documents.
pub fn read(file: &Path) -> Result<Manifest, Failure> {
    let shown = file.display();
    let wrong = |what: String| Failure::new(format!("{shown}: {what}")).with_code(2);
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().take(LARGEST).read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|open| open.take(LARGEST).read_to_string(&mut text)),
    };
    read.map_err(|error| wrong(error.to_string()))?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| wrong(error.without_snippet().to_string()))?;
    assemble(documents.into_iter().filter(|document| !document.is_null())).map_err(wrong)
}

fn assemble(documents: impl Iterator<Item = Value>) -> Result<Manifest, String> {
    let mut manifest = Manifest::default();
    for document in documents {
        let kind = document["kind"].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "ConfigMap" => manifest.config_maps.push(document),
            "Secret" => manifest.secrets.push(encoded(document)),
            "Pod" | "Job" if !manifest.pod.is_null() => {
                return Err("there is more than one pod; give each a file".into());
            }
            "Pod" => manifest.pod = document,
            "Job" => manifest.pod = pod_of(&document)?,
            other => return Err(format!("a document of kind {other:?}; there may be Pod, Job, ConfigMap and Secret")),
        }
    }
    if !manifest.pod["spec"].is_object() {
        return Err("there is no pod with a spec".into());
    }
    if !manifest.pod["metadata"].is_object() {
        manifest.pod["metadata"] = json!({});
    }
    let metadata = &mut manifest.pod["metadata"];
    let uid = new_id().to_string();
    if metadata["name"].is_null() {
        let prefix = metadata["generateName"].as_str().unwrap_or("pod-");
        metadata["name"] = json!(format!("{prefix}{}", &uid[uid.len() - 8..]));
    }
    for (field, usual) in [("uid", uid.as_str()), ("namespace", "default")] {
        if metadata[field].is_null() {
            metadata[field] = json!(usual);
        }
    }
    Ok(manifest)
}

/// The pod of a job. What a job would do besides running one pod once is refused, not left out.
fn pod_of(job: &Value) -> Result<Value, String> {
    for field in ["completions", "parallelism"] {
        if job["spec"][field].as_u64().is_some_and(|count| count != 1) {
            return Err(format!("spec.{field}: a job runs one pod here"));
        }
    }
    let mut pod = job["spec"]["template"].clone();
    if !pod["spec"].is_object() {
        return Err("spec.template.spec: it is missing".into());
    }
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    if pod["metadata"]["name"].is_null() {
        pod["metadata"]["name"] = job["metadata"]["name"].clone();
    }
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    let limit = &job["spec"]["activeDeadlineSeconds"];
    if pod["spec"]["activeDeadlineSeconds"].is_null() && !limit.is_null() {
        pod["spec"]["activeDeadlineSeconds"] = limit.clone();
    }
    Ok(pod)
}

/// What stands in `stringData` goes to `data`, as an API server would do it.
fn encoded(mut secret: Value) -> Value {
    let plain = secret.as_object_mut().and_then(|secret| secret.remove("stringData"));
    for (key, value) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        if !secret["data"].is_object() {
            secret["data"] = json!({});
        }
        secret["data"][key] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Manifest, String> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
        assemble(documents.into_iter())
    }

    #[test]
    fn a_pod_with_what_it_mounts() {
        let read = of("kind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n---\nkind: Secret\nmetadata: {name: s}\n\
            stringData: {k: v}\n---\nkind: Pod\nmetadata: {generateName: p-}\nspec: {containers: []}\n")
        .expect("a manifest");
        let body = read.body();
        assert_eq!(body["secrets"][0]["data"]["k"], "dg==");
        assert!(body["secrets"][0]["stringData"].is_null());
        assert!(body["pod"]["metadata"]["name"].as_str().expect("a name").starts_with("p-"));
        assert!(body["pod"]["metadata"]["uid"].is_string());
        assert_eq!(body["configmaps"][0]["data"]["a"], "b");
    }

    #[test]
    fn a_job_of_one_pod() {
        let job =
            "kind: Job\nmetadata: {name: j}\nspec: {activeDeadlineSeconds: 5, template: {spec: {containers: []}}}";
        let read = of(job).expect("a manifest");
        assert_eq!(read.pod["metadata"]["name"], "j");
        assert_eq!(read.pod["spec"]["activeDeadlineSeconds"], 5);
        let many = "kind: Job\nspec: {completions: 50, template: {spec: {}}}";
        assert!(of(many).expect_err("refused").contains("spec.completions"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, word) in [
            ("kind: Deployment", "Deployment"),
            ("kind: Pod", "no pod with a spec"),
            ("kind: Pod\nspec: {}\n---\nkind: Pod\nspec: {}", "more than one"),
            ("kind: ConfigMap", "no pod"),
        ] {
            assert!(of(text).expect_err(word).contains(word), "{text}");
        }
    }
}
