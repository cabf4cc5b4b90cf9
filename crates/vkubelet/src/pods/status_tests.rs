use std::collections::BTreeMap;

use super::*;
use serde_json::{Value, json};

fn facts() -> Facts {
    Facts { name: "n".into(), ip: [10, 0, 0, 1].into(), allocatable: BTreeMap::new() }
}

fn pod(restart: &str, inits: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"restartPolicy": restart, "initContainers": inits, "containers": [{"name": "c", "image": "host"}]}
    }))
    .expect("a pod")
}

fn news(inits: Value, state: Value) -> News {
    let fill = |mut list: Value| {
        for one in list.as_array_mut().into_iter().flatten() {
            for (key, value) in
                [("ready", json!(false)), ("restartCount", json!(0)), ("image", json!("")), ("imageID", json!(""))]
            {
                if one.get(key).is_none() {
                    one[key] = value;
                }
            }
        }
        list
    };
    let ready = state.get("running").is_some();
    let mains = fill(json!([{"name": "c", "state": state, "ready": ready}]));
    serde_json::from_value(json!({"name": "p", "UID": "u", "containers": mains, "initContainers": fill(inits)}))
        .expect("news")
}

fn at(second: i64) -> Now {
    Now(jiff::Timestamp::from_second(second).expect("a time"))
}

fn then(mut pod: Pod, news: &News, second: i64) -> Pod {
    pod.status = Some(next(&pod, &facts(), news, at(second)));
    pod
}

fn condition(pod: &Pod, kind: &str) -> PodCondition {
    let all = pod.status.as_ref().and_then(|status| status.conditions.clone()).expect("conditions");
    all.into_iter().find(|one| one.type_ == kind).expect("the condition")
}

fn main_state(pod: &Pod) -> ContainerState {
    pod.status.as_ref().and_then(|status| status.container_statuses.clone()).expect("containers")[0]
        .state
        .clone()
        .expect("a state")
}

#[test]
fn a_life_in_order() {
    let mut now = pod("Never", json!([]));
    now.status = Some(waiting(&now, &facts(), "ContainerCreating", None, at(1)));
    assert_eq!((phase(&now), condition(&now, "Ready").status.as_str()), ("Pending", "False"));
    let now = then(now, &news(json!([]), json!({"running": {"startedAt": "1970-01-01T00:00:02Z"}})), 3);
    assert_eq!((phase(&now), condition(&now, "Ready").status.as_str()), ("Running", "True"));
    assert_eq!(now.status.as_ref().and_then(|s| s.pod_ip.as_deref()), Some("10.0.0.1"));
    let ready_since = condition(&now, "Ready").last_transition_time;
    let again = then(now.clone(), &news(json!([]), json!({"running": {"startedAt": "1970-01-01T00:00:02Z"}})), 9);
    assert_eq!(condition(&again, "Ready").last_transition_time, ready_since);
    assert_eq!(again.status, now.status);
    let done = then(now, &news(json!([]), json!({"terminated": {"exitCode": 0}})), 10);
    let end = main_state(&done).terminated.expect("ended");
    assert_eq!((phase(&done), end.reason.as_deref()), ("Succeeded", Some("Completed")));
    assert_eq!(end.started_at, Some(Time(jiff::Timestamp::from_second(2).expect("a time"))));
    assert!(end.started_at.map(|t| t.0) <= end.finished_at.map(|t| t.0));
    // Nothing goes back.
    let back = then(done, &news(json!([]), json!({"running": {"startedAt": "1970-01-01T00:00:02Z"}})), 11);
    assert_eq!(phase(&back), "Succeeded");
}

#[test]
fn failures_keep_their_reasons() {
    let ended = |code: i32, reason: &str| {
        news(json!([]), json!({"terminated": {"exitCode": code, "reason": reason, "message": "m"}}))
    };
    let killed = then(pod("Never", json!([])), &ended(137, "OOMKilled"), 1);
    assert_eq!(
        (phase(&killed), main_state(&killed).terminated.and_then(|end| end.reason).as_deref()),
        ("Failed", Some("OOMKilled"))
    );
    let late = then(pod("Never", json!([])), &ended(143, "DeadlineExceeded"), 1);
    assert_eq!(late.status.and_then(|status| status.reason).as_deref(), Some("DeadlineExceeded"));
    let taken = then(pod("Never", json!([])), &ended(-1, "Preempted"), 1);
    assert_eq!(main_state(&taken).terminated.map(|end| end.exit_code), Some(137));
    assert_eq!(condition(&taken, "DisruptionTarget").status, "True");
}

#[test]
fn init_containers_come_first() {
    let inits = json!([{"name": "i", "image": "host"}]);
    let running = json!([{"name": "i", "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}}}]);
    let waits = json!({"waiting": {"reason": "ContainerCreating"}});
    let now = then(pod("Never", inits.clone()), &news(running, waits.clone()), 3);
    assert_eq!((phase(&now), condition(&now, "Initialized").status.as_str()), ("Pending", "False"));
    assert_eq!(main_state(&now).waiting.and_then(|waiting| waiting.reason).as_deref(), Some("PodInitializing"));
    let failed = json!([{"name": "i", "state": {"terminated": {"exitCode": 3}}}]);
    let now = then(now, &news(failed, waits.clone()), 4);
    assert_eq!(phase(&now), "Failed");
    let failed = json!([{"name": "i", "state": {"terminated": {"exitCode": 3}}}]);
    assert_eq!(phase(&then(pod("OnFailure", inits.clone()), &news(failed, waits), 4)), "Pending");
    let done = json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}]);
    let now = then(pod("Never", inits), &news(done, json!({"running": {"startedAt": "1970-01-01T00:00:05Z"}})), 5);
    assert_eq!((phase(&now), condition(&now, "Initialized").status.as_str()), ("Running", "True"));
}

#[test]
fn a_sidecar_does_not_hold_up() {
    let inits = json!([{"name": "s", "image": "host", "restartPolicy": "Always"}]);
    let side = |code: Option<i32>| match code {
        None => json!([{"name": "s", "started": true, "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}}}]),
        Some(code) => json!([{"name": "s", "state": {"terminated": {"exitCode": code}}}]),
    };
    let running = json!({"running": {"startedAt": "1970-01-01T00:00:02Z"}});
    let now = then(pod("Never", inits), &news(side(None), running), 3);
    assert_eq!(phase(&now), "Running");
    let now = then(now, &news(side(Some(137)), json!({"terminated": {"exitCode": 0}})), 3);
    assert_eq!(phase(&now), "Succeeded");
}

#[test]
fn restarts_are_counted_and_go_on() {
    let running = json!({"running": {"startedAt": "1970-01-01T00:00:02Z"}});
    let now = then(pod("Always", json!([])), &news(json!([]), running), 3);
    let mut again = news(json!([]), json!({"waiting": {"reason": "CrashLoopBackOff"}}));
    again.containers[0].restart_count = 1;
    let now = then(now, &again, 4);
    assert_eq!(phase(&now), "Running");
    assert_eq!(main_state(&now).waiting.and_then(|waiting| waiting.reason).as_deref(), Some("CrashLoopBackOff"));
}

#[test]
fn silence_changes_nothing() {
    let running = json!({"running": {"startedAt": "1970-01-01T00:00:02Z"}});
    let now = then(pod("Never", json!([])), &news(json!([]), running), 3);
    assert_eq!(then(now.clone(), &news(json!([]), json!({})), 4).status, now.status);
    let nothing: News = serde_json::from_value(json!({"name": "p", "UID": "u", "containers": null})).expect("news");
    assert_eq!(then(now.clone(), &nothing, 4).status, now.status);
}

#[test]
fn a_deleted_pod_has_ended() {
    let running = json!({"running": {"startedAt": "1970-01-01T00:00:02Z"}});
    let mut now = then(pod("Always", json!([])), &news(json!([]), running), 3);
    now.status = Some(gone(&now, &facts(), at(9)));
    assert_eq!((phase(&now), main_state(&now).terminated.map(|end| end.exit_code)), ("Failed", Some(137)));
}
