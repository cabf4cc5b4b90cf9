//! The site as the engine asks it: each question goes to a thread that may wait for the disk.

use tokio::sync::broadcast;
use uuid::Uuid;

use super::site::{HostSite, IMAGE, blocking};
use crate::exec::{AttachOrder, ExecOrder, ExecSession};
use crate::logs::LogChunk;
use crate::pod::PodPlan;
use crate::report::PodReport;
use crate::site::{Answer, Cancellation, Capabilities, Capacity, Site, Staging};

impl Site for HostSite {
    fn name(&self) -> &str {
        &self.inner.config.name
    }

    fn capabilities(&self) -> Capabilities {
        let sessions = &["exec", "attach", "portForward"];
        Capabilities { sandbox: self.inner.sandbox.clone(), suspend: true, sessions, images: &[IMAGE] }
    }

    fn capacity(&self) -> Answer<'_, Capacity> {
        Box::pin(async {
            let known = self.inner.known();
            let running = known.runs.values().filter(|run| run.takes_a_place()).count();
            Ok(Capacity {
                cpu_millis: std::thread::available_parallelism().map_or(1, usize::from) as u64 * 1_000,
                memory_bytes: memory_bytes(),
                pods: self.inner.slots as u64,
                pods_running: running as u64,
                extended: self.inner.config.resources.clone(),
                extended_free: self.inner.extended_free(&known),
            })
        })
    }

    fn prepare(&self, uid: Uuid) -> Answer<'_, Staging> {
        let inner = self.inner.clone();
        Box::pin(blocking(move || inner.prepare(uid)))
    }

    fn submit<'a>(&'a self, plan: &'a PodPlan) -> Answer<'a, ()> {
        let (inner, plan) = (self.inner.clone(), plan.clone());
        Box::pin(blocking(move || inner.submit(&plan)))
    }

    fn status<'a>(&'a self, uids: &'a [Uuid]) -> Answer<'a, Vec<PodReport>> {
        let (inner, uids) = (self.inner.clone(), uids.to_vec());
        Box::pin(blocking(move || Ok(uids.iter().filter_map(|uid| inner.report(*uid)).collect())))
    }

    fn ended(&self) -> broadcast::Receiver<Uuid> {
        self.inner.ended.subscribe()
    }

    fn log<'a>(&'a self, uid: Uuid, container: Option<&'a str>, from: u64) -> Answer<'a, LogChunk> {
        let (inner, container) = (self.inner.clone(), container.map(str::to_owned));
        Box::pin(blocking(move || inner.read_log(uid, container.as_deref(), from)))
    }

    fn cancel<'a>(&'a self, uid: Uuid, how: &'a Cancellation) -> Answer<'a, ()> {
        let (inner, how) = (self.inner.clone(), how.clone());
        Box::pin(blocking(move || inner.cancel(uid, &how)))
    }

    fn suspend(&self, uid: Uuid) -> Answer<'_, ()> {
        let inner = self.inner.clone();
        Box::pin(blocking(move || inner.set_suspended(uid, true)))
    }

    fn resume(&self, uid: Uuid) -> Answer<'_, ()> {
        let inner = self.inner.clone();
        Box::pin(blocking(move || inner.set_suspended(uid, false)))
    }

    fn exec<'a>(&'a self, order: &'a ExecOrder) -> Answer<'a, ExecSession> {
        let (inner, order) = (self.inner.clone(), order.clone());
        Box::pin(async move { inner.exec(order).await })
    }

    fn attach<'a>(&'a self, order: &'a AttachOrder) -> Answer<'a, ExecSession> {
        let (inner, order) = (self.inner.clone(), order.clone());
        Box::pin(async move { inner.attach(order).await })
    }

    fn forward(&self, uid: Uuid, port: u16) -> Answer<'_, ExecSession> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.forward(uid, port).await })
    }

    fn remove(&self, uid: Uuid) -> Answer<'_, ()> {
        let inner = self.inner.clone();
        Box::pin(blocking(move || inner.remove(uid)))
    }
}

/// Memory of this machine.
pub(crate) fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    total.unwrap_or(0) * 1024
}
