//! `/exec`: runs a program in a container of a pod, over a WebSocket with the channels of Kubernetes.
//!
//! `GET /interlink/exec?pod=UID&container=NAME&command=sh&command=-c&…&stdin=1&stdout=1&stderr=1&tty=1`; see [`channels`].

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use dte_compute::ExecOrder;
use dte_identity::Principal;
use serde_json::json;
use uuid::Uuid;

use super::answer::Refusal;
use super::channels::{self, Heard};
use super::guest;
use crate::shared::Shared;

/// Letters of a program's name in the audit.
const LONGEST_NOTE: usize = 200;

/// What is asked for, from the query.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    pub uid: Uuid,
    pub container: Option<String>,
    pub argv: Vec<String>,
    pub stdin: bool,
    pub tty: bool,
    pub heard: Heard,
}

pub async fn exec(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let Asked { uid, container, argv, stdin, tty, heard } = read(query.as_deref().unwrap_or_default())?;
    if argv.is_empty() {
        return Err(Refusal::bad_request("command: what to run is expected"));
    }
    let order = ExecOrder { uid, container, argv, stdin, tty };
    let upgrade = upgrade.map_err(channels::expected)?;
    let (site, users) = guest::site_of(&shared, &principal, order.uid).await?;
    let session = site.exec(&order).await?;
    // The program alone: what stands behind it may be secret.
    let program: String =
        order.argv.first().into_iter().flat_map(|program| program.chars()).take(LONGEST_NOTE).collect();
    let detail = json!({"container": order.container, "program": program});
    guest::note(&shared, &principal, "pod.exec", order.uid, &users[1], detail);
    Ok(channels::serve(shared, upgrade, session, heard, users))
}

pub fn read(query: &str) -> Result<Asked, Refusal> {
    let (mut uid, mut container, mut argv) = (None, None, Vec::new());
    let [mut stdin, mut stdout, mut stderr, mut tty] = [false; 4];
    let mut said = HashSet::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let is_on = matches!(&*value, "1" | "true");
        match &*name {
            // Whoever hands a question on says of which pod and container; what the question itself says must not stand against it.
            "pod" | "container" if !said.insert(name.clone()) => {
                return Err(Refusal::bad_request(format!("{name}: it is said twice")));
            }
            "pod" => uid = value.parse::<Uuid>().ok(),
            "container" => container = Some(value.into_owned()).filter(|name| !name.is_empty()),
            "command" => argv.push(value.into_owned()),
            // Kubelet's names and kubectl's.
            "input" | "stdin" => stdin = is_on,
            "output" | "stdout" => stdout = is_on,
            "error" | "stderr" => stderr = is_on,
            "tty" => tty = is_on,
            _ => {}
        }
    }
    let Some(uid) = uid else { return Err(Refusal::bad_request("pod: the pod's UID is expected")) };
    if !(stdin || stdout || stderr) {
        return Err(Refusal::bad_request("at least one of stdin, stdout and stderr is expected"));
    }
    if tty && stderr {
        return Err(Refusal::bad_request("tty and stderr exclude each other"));
    }
    Ok(Asked { uid, container, argv, stdin, tty, heard: Heard { stdout, stderr } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_kubelets_and_of_kubectl() {
        let uid = "0190b0a0-0000-7000-8000-000000000001";
        let asked = read(&format!("pod={uid}&container=c&command=sh&command=-c&command=a+%26+b&stdin=true&output=1"));
        let asked = asked.expect("an order");
        assert_eq!(asked.argv, ["sh", "-c", "a & b"]);
        assert!(asked.stdin && asked.heard.stdout && !asked.heard.stderr && !asked.tty);
        for query in ["", "pod=x&command=a&stdout=1", "command=a&stdout=1"] {
            assert!(read(query).is_err(), "{query}");
        }
        for rest in [
            "command=a&stdout=1&pod=0190b0a0-0000-7000-8000-000000000002",
            "container=a&command=a&stdout=1&container=b",
        ] {
            let error = read(&format!("pod={uid}&{rest}")).expect_err(rest);
            assert!(format!("{error:?}").contains("twice"), "{error:?}");
        }
        for rest in ["command=a", "command=a&stderr=1&tty=1"] {
            assert!(read(&format!("pod={uid}&{rest}")).is_err(), "{rest}");
        }
    }
}
