//! Which pods are bound to the node: a list, then what changes. After a gap the list is read again and compared.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchParams};
use kube::core::{DynamicObject, WatchEvent};

use super::controller::Controller;
use crate::Error;
use dte_protocol_interlink::RawPod;

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// A watch is renewed after this long, in seconds.
const WATCH_SECONDS: u32 = 290;
/// How long after a failure the cluster is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches until the end.
pub async fn run(controller: Arc<Controller>) {
    let tasks = controller.tasks.clone();
    let mut first = true;
    while !tasks.is_stopping() {
        let round = async {
            let version = list(&controller).await?;
            if std::mem::take(&mut first) {
                controller.end_dangling().await?;
            }
            follow(&controller, version).await
        };
        let outcome = tokio::select! {
            outcome = round => outcome,
            () = tasks.stopping() => return,
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "the watch for pods ended; it begins anew");
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = tasks.stopping() => return,
            }
        }
    }
}

fn selector(controller: &Controller) -> String {
    format!("spec.nodeName={}", controller.settings.node_name)
}

/// Reads all pods of the node; those that are known and not among them have gone.
async fn list(controller: &Arc<Controller>) -> Result<String, Error> {
    let mut found = HashSet::new();
    let mut params = ListParams::default().fields(&selector(controller)).limit(PAGE);
    let known = controller.table.uids();
    let version = loop {
        let page = controller.cluster.raw_pods().list(&params).await?;
        for object in page.items {
            found.extend(take(controller, object));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break page.metadata.resource_version.unwrap_or_default(),
        }
    };
    for uid in known.into_iter().filter(|uid| !found.contains(uid)) {
        controller.vanished(&uid);
    }
    Ok(version)
}

/// Follows changes from `version` on, until the cluster has forgotten where we are.
async fn follow(controller: &Arc<Controller>, mut version: String) -> Result<(), Error> {
    let params = WatchParams::default().fields(&selector(controller)).timeout(WATCH_SECONDS);
    loop {
        let pods = controller.cluster.raw_pods();
        let mut events = pods.watch(&params, &version).await?.boxed();
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = object.metadata.resource_version.clone().unwrap_or(version);
                    take(controller, object);
                }
                WatchEvent::Deleted(object) => {
                    version = object.metadata.resource_version.clone().unwrap_or(version);
                    if let Some(uid) = take(controller, object) {
                        controller.vanished(&uid);
                    }
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(kube::Error::Api(Box::new(*status)).into()),
            }
        }
    }
}

/// Takes over what the cluster says of a pod.
fn take(controller: &Arc<Controller>, object: DynamicObject) -> Option<String> {
    let name = object.metadata.name.clone().unwrap_or_default();
    let read = serde_json::to_value(&object).and_then(|value| {
        let pod: Pod = serde_json::from_value(value.clone())?;
        Ok((RawPod(value), pod))
    });
    match read {
        Ok((raw, pod)) => {
            let uid = raw.uid().to_owned();
            controller.table.seen(raw, pod);
            controller.wake(&uid);
            Some(uid)
        }
        Err(error) => {
            tracing::error!(pod = %name, %error, "a pod cannot be read");
            None
        }
    }
}
