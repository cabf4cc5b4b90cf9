//! Bringing a pod's outcome home: logs, then the outcome, then the cluster may forget the pod.

use std::sync::{Arc, PoisonError};

use kube::api::{Patch, PatchParams};
use serde_json::json;
use uuid::Uuid;

use super::object::name_of;
use super::site::{Inner, refused_with};
use super::{logs, news};
use crate::report::PodReport;
use crate::site::SiteError;

impl Inner {
    /// Does it as a task of its own: a log may be long, and the watch shall go on.
    pub fn settle_soon(self: &Arc<Self>, uid: Uuid, outcome: PodReport) {
        if !self.settling.lock().unwrap_or_else(PoisonError::into_inner).insert(uid) {
            return;
        }
        let this = self.clone();
        self.tasks.spawn("the outcome of a pod", async move {
            let settled = tokio::select! {
                settled = this.settle(uid, outcome) => settled,
                // The next engine sees the pod again: the finalizer keeps it.
                () = this.tasks.stopping() => Ok(()),
            };
            if let Err(error) = settled {
                tracing::warn!(%uid, %error, "the outcome of a pod cannot be kept yet");
            }
            this.settling.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        });
    }

    /// The pod ends for `reason`, of which the cluster will say nothing.
    pub async fn conclude(&self, uid: Uuid, reason: &str, message: Option<&str>) -> Result<(), SiteError> {
        let latest = self.pods().get(&uid).filter(|entry| entry.is_active()).and_then(|entry| entry.latest.clone());
        match latest {
            Some(latest) => self.settle(uid, news::concluded(&latest, reason, message)).await,
            None => Ok(()),
        }
    }

    async fn settle(&self, uid: Uuid, outcome: PodReport) -> Result<(), SiteError> {
        let cancelled = match self.pods().get(&uid).filter(|entry| entry.is_active()) {
            Some(entry) => entry.note.as_ref().and_then(|note| note.cancelled.clone()),
            None => return Ok(()),
        };
        logs::keep(self, uid, &outcome).await;
        let outcome = match cancelled {
            Some(reason) => news::concluded(&outcome, &reason, None),
            None => outcome,
        };
        self.index.save_exit(uid, &outcome).map_err(SiteError::io(format!("the outcome of pod {uid}")))?;
        let first = match self.pods().get_mut(&uid).filter(|entry| entry.is_active()) {
            Some(entry) => {
                (entry.latest, entry.is_over) = (Some(outcome), true);
                true
            }
            None => false,
        };
        if first {
            // Nobody may be listening; who starts to listen asks for the status first.
            drop(self.ended.send(uid));
        }
        // If it fails, removing the pod does it.
        self.release(uid).await
    }

    /// The cluster may forget the pod. It has no finalizer but ours.
    pub async fn release(&self, uid: Uuid) -> Result<(), SiteError> {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        match self.api().patch(&name_of(uid), &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(error) if refused_with(&error) == Some(404) => Ok(()),
            Err(error) => Err(self.away(&error)),
        }
    }
}
