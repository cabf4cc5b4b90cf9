//! A place that runs pods: its only program forecasts that the next six months are as the newest observation, plus the
//! number of files that it saw in hundredths, so that a file too many or too few shows in the forecast.

use axum::extract::State;
use dte_http::Json;
use dte_identity::{Mount, Require, Routes};
use dte_store::Event;
use serde_json::{Value, json};

use super::{Shared, lake};

pub fn mount(shared: &Shared) -> Mount {
    let routes = Routes::new("offload").post("/create", Require::Scope("compute.create"), create).get(
        "/getLogs",
        Require::Scope("compute.read"),
        async || "the model said something\n",
    );
    Mount { prefix: "/interlink", routes: routes.with_state(shared.clone()) }
}

async fn create(State(shared): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let pod = body["pod"].clone();
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let known = {
        let mut facts = shared.facts.lock().unwrap();
        *facts.handed_over.entry(uid.clone()).or_default() += 1;
        let known = facts.pods.insert(uid.clone(), pod.clone()).is_some();
        if !known {
            facts.order.push(uid.clone());
        }
        known || facts.stuck
    };
    if !known {
        let finished = run(&shared, &pod);
        let event = Event::new("org.dte.offload.pod.finished", "/interlink", uid.clone(), finished);
        let told: Result<(), dte_store::Error> = shared.store.write(move |tx| tx.emit(event.clone())).await;
        told.unwrap();
    }
    Json(json!({ "PodUID": uid, "PodJID": "1" }))
}

/// Runs the pod and answers what its end tells.
pub fn run(shared: &Shared, pod: &Value) -> Value {
    let annotations = &pod["metadata"]["annotations"];
    let read = |name: &str| -> Vec<Value> { serde_json::from_str(annotations[name].as_str().unwrap()).unwrap() };
    let issue = annotations["dte.io/issue-month"].as_str().unwrap();
    let inputs = read("dte.io/inputs");
    let mut facts = shared.facts.lock().unwrap();
    let mut told = json!({
        "uid": pod["metadata"]["uid"], "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"],
        "annotations": annotations, "phase": "Succeeded", "reason": null, "exit_code": 0, "site": "local", "user": "admin",
        "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z", "cpu_seconds": 0.5, "inputs": inputs,
        "outputs": [],
    });
    match facts.failing.get(issue) {
        Some(&"exit 1") => {
            told["phase"] = "Failed".into();
            told["reason"] = "the program ended with exit code 1".into();
            told["exit_code"] = 1.into();
            return told;
        }
        Some(&"writes nothing") => return told,
        Some(&"suspended") => {
            told["phase"] = "Failed".into();
            told["reason"] = "Suspended".into();
            return told;
        }
        _ => {}
    }
    let mut newest = 0.0;
    for input in &inputs {
        let pfn = lake::pfn(shared, input["did"].as_str().unwrap());
        let path = pfn.split_once("/dav/").unwrap().1;
        let text = String::from_utf8(facts.files[path].clone()).unwrap();
        newest = text.lines().last().unwrap().split_once(',').unwrap().1.parse().unwrap_or(20.0);
    }
    let mut text = String::from("issue_month,target_month,lead,mean_c,lower80_c,upper80_c,lower95_c,upper95_c\n");
    let (year, month) = issue.split_once('-').unwrap();
    let start: i32 = year.parse::<i32>().unwrap() * 12 + month.parse::<i32>().unwrap() - 1;
    let mean = newest + inputs.len() as f64 / 100.0;
    for lead in 1..=6 {
        let target = start + lead;
        text.push_str(&format!(
            "{issue},{:04}-{:02},{lead},{mean:.3},{:.3},{:.3},{:.3},{:.3}\n",
            target / 12,
            target % 12 + 1,
            mean - 0.5,
            mean + 0.5,
            mean - 1.0,
            mean + 1.0
        ));
    }
    if facts.failing.get(issue) == Some(&"writes rubbish") {
        text = "nothing of use\n".to_owned();
    }
    let output = &read("dte.io/outputs")[0];
    let did = output["did"].as_str().unwrap();
    let adler32 = format!("{:08x}", simd_adler32::adler32(&text.as_bytes()));
    let pfn = lake::pfn(shared, did);
    facts.files.insert(pfn.split_once("/dav/").unwrap().1.to_owned(), text.clone().into_bytes());
    lake::register(&mut facts, did, text.len() as u64, &adler32);
    let dataset = output["dataset"].as_str().unwrap().to_owned();
    facts.contents.entry(dataset).or_default().insert(did.to_owned());
    told["outputs"] =
        json!([{ "did": did, "bytes": text.len(), "adler32": adler32, "rse": "LOCAL", "path": "forecast.csv" }]);
    told
}
