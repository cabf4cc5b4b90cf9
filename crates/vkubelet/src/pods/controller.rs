//! Brings pods a step further, one step of one pod at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::tasks::Tasks;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};
use tokio::sync::Semaphore;

use super::listen::Heard;
use super::status::{self, Now};
use super::table::{Entry, Stage, Table};
use super::{handover, report};
use crate::Error;
use crate::cluster::{Cluster, refused_with};
use crate::events::{Events, Kind};
use crate::ledger::{self, Ledger};
use crate::node::Keeper;
use crate::resolve::wire;
use crate::settings::Settings;
use crate::site::Site;
use dte_protocol_interlink::RawPod;

/// Pods that are worked at at once.
const AT_ONCE: usize = 32;
/// The first and the longest pause after a step that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A pod gets this long to end when nobody says otherwise.
const DEFAULT_GRACE: i64 = 30;
/// A site that was told to end a pod and still says that it runs is believed this long after the grace.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pods of DaemonSets come here only with this annotation, set to `true`.
const ALLOW_DAEMON_SET: &str = "dte.io/allow-daemonset";

/// Everything that works at pods.
pub struct Controller {
    pub cluster: Cluster,
    pub settings: Settings,
    pub site: Arc<Site>,
    pub node: Arc<Keeper>,
    pub ledger: Ledger,
    pub events: Events,
    pub tasks: Tasks,
    pub table: Table,
    pub heard: Heard,
    gate: Semaphore,
}

/// What follows a step.
pub enum Next {
    Rest,
    /// The entry is no longer of interest.
    Forget,
    Later(Duration),
    /// Once more, counted as a failure.
    Again(Duration),
}

impl Controller {
    pub fn new(
        cluster: Cluster,
        settings: Settings,
        site: Arc<Site>,
        node: Arc<Keeper>,
        tasks: Tasks,
    ) -> Result<Self, Error> {
        let ledger = Ledger::open(&settings.state_dir, &cluster.id, &settings.node_name)?;
        let events = Events::new(cluster.client.clone(), &settings.node_name);
        let gate = Semaphore::new(AT_ONCE);
        Ok(Controller {
            cluster,
            settings,
            site,
            node,
            ledger,
            events,
            tasks,
            table: Table::default(),
            heard: Heard::default(),
            gate,
        })
    }

    /// Something may be to do for a pod.
    pub fn wake(self: &Arc<Self>, uid: &str) {
        if !self.table.claim(uid) {
            return;
        }
        let (controller, uid) = (Arc::clone(self), uid.to_owned());
        self.tasks.spawn("pod", async move { controller.work(uid).await });
    }

    fn wake_later(self: &Arc<Self>, uid: String, pause: Duration) {
        let controller = Arc::clone(self);
        self.tasks.spawn("pod", async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => controller.wake(&uid),
                () = controller.tasks.stopping() => {}
            }
        });
    }

    /// The cluster has a pod no more: whatever is left of it at the site ends.
    pub fn vanished(self: &Arc<Self>, uid: &str) {
        self.table.with(uid, |entry| entry.vanished = true);
        self.wake(uid);
    }

    /// Pods that were handed over by an earlier run of this process and that the cluster has no more.
    pub async fn end_dangling(self: &Arc<Self>) -> Result<(), Error> {
        let ledger = self.ledger.clone();
        for raw in on_disk(move || ledger.all()).await? {
            let uid = raw.uid().to_owned();
            if self.table.get(&uid).is_none() {
                tracing::info!(pod = %raw.name(), %uid, "the cluster has this pod no more; it ends at the site");
                let entry = Entry { stage: Stage::Handed, vanished: true, ..Entry::new(raw, Pod::default()) };
                self.table.insert(uid.clone(), entry);
                self.wake(&uid);
            }
        }
        Ok(())
    }

    async fn work(self: Arc<Self>, uid: String) {
        loop {
            let Ok(_permit) = self.gate.acquire().await else { return };
            if self.tasks.is_stopping() {
                return;
            }
            let outcome = match self.table.get(&uid) {
                Some(entry) => self.step(&uid, entry).await,
                None => return,
            };
            let pause = match outcome {
                Ok(Next::Forget) => {
                    self.table.remove(&uid);
                    return;
                }
                Ok(Next::Again(pause)) => Some(pause),
                Ok(next) => {
                    self.table.with(&uid, |entry| entry.attempts = 0);
                    if let Next::Later(pause) = next { Some(pause) } else { None }
                }
                Err(error) => {
                    let attempts = self.table.with(&uid, |entry| {
                        entry.attempts = entry.attempts.saturating_add(1);
                        entry.attempts
                    });
                    tracing::warn!(%uid, %error, "a step for a pod failed; it is tried again");
                    Some(pause_after(attempts.unwrap_or(1)))
                }
            };
            if self.table.release(&uid) {
                continue;
            }
            if let Some(pause) = pause {
                self.wake_later(uid, pause);
            }
            return;
        }
    }

    async fn step(self: &Arc<Self>, uid: &str, entry: Entry) -> Result<Next, Error> {
        if entry.vanished {
            return self.clean(uid, &entry).await;
        }
        if entry.is_deleted() {
            return self.end(uid, &entry).await;
        }
        if entry.stage != Stage::New {
            return Ok(Next::Rest);
        }
        if status::is_terminal(&entry.pod) {
            self.table.with(uid, |entry| entry.stage = Stage::Rest);
            return Ok(Next::Rest);
        }
        if is_of_daemon_set(&entry) {
            let text = "pods of DaemonSets do not run on a virtual node; annotate them with dte.io/allow-daemonset: \"true\" to allow it";
            return self.fail(uid, &entry, "RejectedDaemonSet", text).await;
        }
        handover::hand_over(self, uid, &entry).await
    }

    /// The pod cannot run: it has failed, for good.
    pub async fn fail(&self, uid: &str, entry: &Entry, reason: &str, message: &str) -> Result<Next, Error> {
        let failed = status::failed(&entry.pod, &self.node.facts(), reason, message, Now::get());
        report::tell(self, uid, &entry.pod, failed).await?;
        self.table.with(uid, |entry| entry.stage = Stage::Rest);
        self.say(uid, &entry.pod, Kind::Warning, reason, message).await;
        Ok(Next::Rest)
    }

    /// The site forgets a pod that the cluster has no more.
    async fn clean(&self, uid: &str, entry: &Entry) -> Result<Next, Error> {
        if self.ledger.has(uid) || matches!(entry.stage, Stage::Handed | Stage::Ending { .. }) {
            self.site.delete(&ledger::bare(&entry.raw)).await?;
            self.forget(uid).await?;
        }
        Ok(Next::Forget)
    }

    /// The pod is to end: at the site first, then in the cluster.
    async fn end(&self, uid: &str, entry: &Entry) -> Result<Next, Error> {
        let at_site = self.ledger.has(uid) || entry.job().is_some();
        if !at_site {
            return self.finish(uid).await;
        }
        let done = status::is_terminal(&entry.pod);
        let grace = entry.pod.metadata.deletion_grace_period_seconds.unwrap_or(DEFAULT_GRACE).max(0);
        match entry.stage {
            Stage::Ending { since } => {
                let limit = Duration::from_secs(grace.unsigned_abs()) + PATIENCE;
                if since.elapsed() >= limit {
                    return self.finish(uid).await;
                }
                Ok(Next::Later(limit.saturating_sub(since.elapsed())))
            }
            _ => {
                if !done {
                    self.say(uid, &entry.pod, Kind::Normal, "Killing", "Stopping the pod at the site").await;
                }
                self.site.delete(&ending(&entry.raw, grace)).await?;
                if done {
                    return self.finish(uid).await;
                }
                self.table.with(uid, |entry| entry.stage = Stage::Ending { since: Instant::now() });
                Ok(Next::Later(Duration::from_secs(grace.unsigned_abs()) + PATIENCE))
            }
        }
    }

    /// Takes a pod that has ended out of the cluster.
    pub async fn finish(&self, uid: &str) -> Result<Next, Error> {
        let Some(entry) = self.table.get(uid) else { return Ok(Next::Rest) };
        if !status::is_terminal(&entry.pod) {
            // Whoever counts pods (Jobs do) must see that it ended.
            let gone = status::gone(&entry.pod, &self.node.facts(), Now::get());
            report::tell(self, uid, &entry.pod, gone).await?;
        }
        self.forget(uid).await?;
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), entry.raw.namespace());
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match pods.delete(entry.raw.name(), &params).await {
            Err(error) if !matches!(refused_with(&error), Some(404 | 409)) => return Err(error.into()),
            _ => {}
        }
        self.table.with(uid, |entry| entry.stage = Stage::Rest);
        Ok(Next::Rest)
    }

    async fn forget(&self, uid: &str) -> Result<(), Error> {
        let (ledger, uid) = (self.ledger.clone(), uid.to_owned());
        Ok(on_disk(move || ledger.forget(&uid)).await?)
    }

    /// Tells of something once for each pod.
    pub async fn say(&self, uid: &str, pod: &Pod, kind: Kind, reason: &str, message: &str) {
        let new = self.table.with(uid, |entry| entry.said.insert(format!("{reason}\n{message}")));
        if new.unwrap_or(true) {
            self.events.tell(pod, kind, reason, message).await;
        }
    }
}

/// Runs something that touches the disk.
pub async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

pub fn pause_after(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

fn is_of_daemon_set(entry: &Entry) -> bool {
    let owners = entry.pod.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.kind == "DaemonSet") && entry.raw.annotation(ALLOW_DAEMON_SET) != Some("true")
}

/// The pod as the site is told to end it, with the grace that was asked for.
fn ending(raw: &RawPod, grace: i64) -> RawPod {
    let mut pod = wire::tidy(raw);
    if let Some(spec) = pod.get_mut("spec").and_then(serde_json::Value::as_object_mut) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), serde_json::json!(grace));
    }
    RawPod(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause_after(1), FIRST_PAUSE);
        assert_eq!(pause_after(3), FIRST_PAUSE * 4);
        assert_eq!(pause_after(100), LONGEST_PAUSE);
    }
}
