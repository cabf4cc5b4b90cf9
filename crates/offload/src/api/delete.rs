//! `/delete`: ends a pod and forgets it. One that is not there is fine: deleting is idempotent.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use dte_identity::Principal;
use dte_protocol_interlink::RawPod;
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Refusal, read, visible};
use crate::shared::Shared;
use crate::store;

const DONE: &str = "All containers for submitted Pods have been deleted";

pub async fn delete(
    State(shared): State<Arc<Shared>>,
    principal: Principal,
    body: Bytes,
) -> Result<&'static str, Refusal> {
    let pods: Vec<RawPod> = match read::<Value>(&body)? {
        Value::Array(list) => list.into_iter().map(RawPod).collect(),
        one @ Value::Object(_) => vec![RawPod(one)],
        _ => return Err(Refusal::bad_request("invalid request body: a pod is expected")),
    };
    let owner = visible(&principal);
    for pod in pods {
        let uid: Uuid =
            pod.uid().parse().map_err(|_| Refusal::bad_request(format!("{:?} is not a pod's UID", pod.uid())))?;
        let (owner, queues, node) = (owner.clone(), shared.queues, shared.node.clone());
        let found = shared.store.write(move |tx| store::delete(tx, uid, owner.as_ref(), queues, &node)).await?;
        if found {
            // A worker that watches the pod hears it; if none does, the next one finds the note in the store.
            drop(shared.cancelled.send(uid));
        }
    }
    Ok(DONE)
}
