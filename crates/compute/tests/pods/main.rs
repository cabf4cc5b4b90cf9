//! What a pod is besides its programs: volumes, restarts, sidecars, probes, hooks, messages; with real processes.

mod attach;
#[path = "../support/bench.rs"]
mod bench;
mod life;
mod limits;
mod ports;
mod volumes;

use std::time::Duration;

use bench::Bench;
use dte_base::id::new_id;
use dte_base::units::Span;
use dte_compute::host::HostConfig;
use dte_compute::pod::{PodPlan, Request};
use dte_compute::{ContainerState, PodReport};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::{Value, json};

/// Reads a pod with the objects that come with it.
fn read(spec: &Value, maps: &Value, secrets: &Value, projected: &Value) -> Result<PodPlan, String> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": new_id().to_string(), "labels": {"b": "two\nlines", "a": "1"}},
        "spec": spec,
    }))
    .expect("a pod");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let object = |one: Value| serde_json::from_value::<ConfigMap>(one).expect("a config map");
    let maps: Vec<ConfigMap> = list(maps).into_iter().map(object).collect();
    let projected: Vec<ConfigMap> = list(projected).into_iter().map(object).collect();
    let secrets: Vec<Secret> =
        list(secrets).into_iter().map(|one| serde_json::from_value(one).expect("a secret")).collect();
    let request = Request { pod: &pod, config_maps: &maps, secrets: &secrets, projected: &projected };
    PodPlan::read(request).map_err(|error| error.to_string())
}

fn sh(name: &str, text: &str, more: Value) -> Value {
    let mut container = json!({"name": name, "image": "host", "command": ["/bin/sh", "-c", text]});
    for (key, value) in more.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    container
}

/// A pod of one container that mounts these volumes.
fn with_volumes(text: &str, volumes: Value, mounts: Value) -> Value {
    json!({"volumes": volumes, "containers": [sh("main", text, json!({"volumeMounts": mounts}))]})
}

async fn bench() -> Bench {
    let shim = Some(env!("CARGO_BIN_EXE_dte-pod-shim").into());
    let config = HostConfig {
        shim,
        slots: Some(64),
        grace: Span(Duration::from_millis(1_000)),
        restart_wait: Span(Duration::from_millis(300)),
        ..HostConfig::default()
    };
    Bench::with(config).await
}

fn state(report: &PodReport, name: &str) -> dte_compute::ContainerReport {
    let mut all = report.init_containers.iter().chain(&report.containers);
    all.find(|container| container.name == name).expect(name).clone()
}

fn message(report: &PodReport, name: &str) -> Option<String> {
    match state(report, name).state {
        ContainerState::Terminated { message, .. } => message,
        _ => None,
    }
}

/// The same as an ordinary user, if the tests run as root.
#[test]
fn as_an_ordinary_user_too() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: the other tests run as an ordinary user already");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    // One that pods see and that this user may write to.
    let place = tempfile::tempdir_in("/srv").ok();
    if let Some(place) = &place {
        std::os::unix::fs::chown(place.path(), Some(65_534), Some(65_534)).expect("given away");
    }
    let outcome = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--nocapture", "--skip", "as_an_ordinary_user_too"])
        .env("HOME", std::env::temp_dir())
        .envs(place.iter().map(|place| ("DTE_TEST_PLACE", place.path())))
        .output();
    match outcome {
        Err(error) => println!("SKIPPED: no setpriv: {error}"),
        Ok(output) => {
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{text}");
            println!("{text}");
        }
    }
}
