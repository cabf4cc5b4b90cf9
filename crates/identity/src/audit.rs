//! The audit log: every change and every refusal, one by one, in a chain of keyed hashes. A record that is altered,
//! removed or put in later breaks the chain at its place.
//!
//! A change is written in the transaction that makes it. Refusals are handed to a background task that writes them in
//! batches, so that refusing costs no disk. Permits are counted in memory and written as sums once a minute.
//!
//! A person can be erased from it ([`Identity::erase`](crate::Identity::erase)): their records are written anew under a
//! pseudonym and sealed, and the chain stays whole.
//!
//! The end of the chain is sealed in the transaction that moves it, and noted every minute in a file beside the store, so
//! that a chain whose end was cut off is found out too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_store::{Store, Tx};
use http::Method;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::allowance::Allowance;
use crate::model::erased::Traces;
use crate::model::principal::{Principal, UserRef};
use crate::permits::Permits;
use crate::policy::store::trace::mentioning;
use crate::store::{audit as table, erasure};
use crate::vault::AuditKey;
use crate::witness::Head;

/// Refusals that may wait to be written; more are counted, and the count is written.
const WAITING: usize = 8_192;
/// Records in one transaction.
const BATCH: usize = 256;
/// Why tokens are refused whose signature was good, and certificates of trusted authorities: what they say of their holder is true.
pub(crate) const VOID: &[&str] =
    &["banned", "no-account", "revoked", "expired", "token-inactive", "certificate-unknown", "certificate-expired"];
/// What a record takes besides its path, about.
const RECORD: u64 = 512;
/// How often sums of permits are written and the end of the chain is noted.
const ROUND: Duration = Duration::from_secs(60);
/// Records that are looked through for an erasure in one transaction.
const ERASED_AT_ONCE: i64 = 1_000;
/// Longer paths are cut: they come from outside.
const LONGEST_OBJECT: usize = 512;

/// A refusal.
#[derive(Clone, Debug)]
pub struct Denied {
    pub who: Option<UserRef>,
    /// The fingerprint of the certificate that was refused, if it was one.
    pub certificate: Option<String>,
    /// The stable id of the reason.
    pub reason: &'static str,
    pub service: &'static str,
    pub method: String,
    /// The path that was asked for.
    pub object: String,
}

/// What is put into the chain.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) subject: Option<String>,
    pub(crate) body: Value,
}

impl Entry {
    /// A change: `who` did `action` to `object`.
    pub(crate) fn change(who: &str, action: &str, object: &str, detail: Value) -> Self {
        let request = dte_http::current_request_id().map(|id| id.to_string());
        let body = json!({"kind": "change", "by": who, "action": action, "object": object, "detail": detail, "request": request});
        Entry { at: Timestamp::now(), subject: Some(who.to_owned()), body }
    }

    fn denial(denied: Denied) -> Self {
        let object: String = denied.object.chars().take(LONGEST_OBJECT).collect();
        let request = dte_http::current_request_id().map(|id| id.to_string());
        let mut body = json!({
            "kind": "denial", "reason": denied.reason, "service": denied.service, "method": denied.method, "object": object,
            "issuer": denied.who.as_ref().map(|who| &who.issuer), "subject": denied.who.as_ref().map(|who| &who.subject),
            "request": request,
        });
        if let Some(fingerprint) = denied.certificate {
            body["certificate"] = fingerprint.into();
        }
        Entry { at: Timestamp::now(), subject: denied.who.map(|who| who.subject), body }
    }
}

/// A text as it stands in a record.
fn as_in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// What [`Audit::verify`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Records that were read.
    pub records: u64,
    /// The first record whose link is wrong or that is missing; nothing when the chain is whole.
    pub broken_at: Option<i64>,
    /// What is wrong there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl AuditReport {
    fn broken(records: u64, at: i64, why: impl Into<String>) -> Self {
        AuditReport { records, broken_at: Some(at), why: Some(why.into()) }
    }
}

/// A record, as `dte audit trace` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditRecord {
    pub seq: i64,
    pub at: Timestamp,
    #[serde(flatten)]
    pub body: Value,
}

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    store: Store,
    key: AuditKey,
    queue: mpsc::Sender<Entry>,
    lost: Arc<AtomicU64>,
    strangers: Arc<Mutex<Allowance>>,
    void: Arc<Mutex<Allowance>>,
    permits: Arc<Permits>,
    data_dir: PathBuf,
}

impl Audit {
    /// Starts the tasks that write refusals and permits; they end with `tasks`, after what waits is written.
    pub(crate) fn start(store: &Store, key: &AuditKey, data_dir: &Path, tasks: &Tasks) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let audit = Audit::new(store, key, data_dir, queue);
        tasks.spawn("identity.audit", audit.clone().write_denials(waiting, tasks.clone()));
        tasks.spawn("identity.audit_rounds", audit.clone().rounds(tasks.clone()));
        audit
    }

    fn new(store: &Store, key: &AuditKey, data_dir: &Path, queue: mpsc::Sender<Entry>) -> Self {
        Audit {
            store: store.clone(),
            key: key.clone(),
            queue,
            lost: Arc::default(),
            strangers: Arc::default(),
            void: Arc::default(),
            permits: Arc::default(),
            data_dir: data_dir.to_owned(),
        }
    }

    /// Counts a permit. Nothing is written here.
    pub(crate) fn permitted(&self, who: &Principal, service: &'static str, method: &Method, route: &str, path: &str) {
        self.permits.count(who, service, method, route, path, Timestamp::now());
    }

    async fn rounds(self, tasks: Tasks) {
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(ROUND) => false,
                () = tasks.stopping() => true,
            };
            self.write_permits().await;
            if let Err(error) = self.note_end().await {
                tracing::error!(%error, "the end of the audit chain could not be noted");
            }
            if stopping {
                return;
            }
        }
    }

    /// Writes the sums of permits now; what cannot be written waits for the next round.
    pub async fn write_permits(&self) {
        // In parts: one long transaction would keep others from writing.
        let mut parts = self.permits.take(BATCH).into_iter();
        while let Some(part) = parts.next() {
            let (key, entries) = (self.key.clone(), part.entries());
            if let Err(error) = self.store.write(move |tx| table::append(tx, &key, &entries)).await {
                tracing::error!(%error, "permits could not be written to the audit log");
                self.permits.put_back(part);
                parts.by_ref().for_each(|part| self.permits.put_back(part));
            }
        }
    }

    /// Notes how far the chain reaches in the file beside the store. What was noted before must still be in the chain:
    /// a note that does not fit stays, for [`Audit::verify`] to tell.
    async fn note_end(&self) -> Result<(), crate::OpenError> {
        let (key, data_dir) = (self.key.clone(), self.data_dir.clone());
        let read = tokio::task::spawn_blocking(move || Head::read(&key, &data_dir));
        let noted = read.await.map_err(crate::OpenError::other)?.map_err(crate::OpenError::other)?;
        let Some((seq, link)) = self.store.read(table::last).await? else { return Ok(()) };
        if let Some(noted) = noted {
            let at = noted.seq;
            let there = self.store.read(move |tx| table::link_at(tx, at)).await?;
            if there.as_ref() != Some(&noted.link) {
                return Err(crate::OpenError::other(format!(
                    "the chain is not the one that was noted up to record {at}"
                )));
            }
            if noted.seq >= seq {
                return Ok(());
            }
        }
        let head = Head { seq, link };
        let (key, data_dir) = (self.key.clone(), self.data_dir.clone());
        tokio::task::spawn_blocking(move || head.write(&key, &data_dir)).await.map_err(crate::OpenError::other)??;
        Ok(())
    }

    /// Notes a refusal. Never waits.
    pub fn denied(&self, denied: Denied) {
        let allowance = match &denied.who {
            None => Some(&self.strangers),
            Some(_) if VOID.contains(&denied.reason) => Some(&self.void),
            Some(_) => None,
        };
        let entry = Entry::denial(denied);
        let size = RECORD + entry.body["object"].as_str().map_or(0, str::len) as u64;
        let is_too_much = allowance.is_some_and(|one| !one.lock().takes(size, Timestamp::now()));
        if is_too_much || self.queue.try_send(entry).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes a change that has no transaction of its own, such as a token that was given out.
    pub(crate) fn note(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes what somebody did that changes nothing of ours, such as a program that they ran inside a pod.
    pub fn done(&self, by: &Principal, action: &str, object: &str, detail: Value) {
        self.note(Entry::change(by.name(), action, object, detail));
    }

    /// Puts a pseudonym into the records after `seq`, as far as one transaction should go. Gives how many were written anew,
    /// and the record up to which it looked; nothing when that was the last.
    pub(crate) async fn erase_after(
        &self,
        traces: &Arc<Traces>,
        seq: i64,
    ) -> Result<(u64, Option<i64>), dte_store::Error> {
        let (key, traces) = (self.key.clone(), Arc::clone(traces));
        let found = self.store.write(move |tx| -> Result<(u64, Option<i64>), dte_store::Error> {
            let (mut written, mut end) = (0, None);
            let mut seen = BTreeSet::new();
            for text in traces.who.texts() {
                let (lines, reached) = mentioning(tx, &as_in_json(text), seq, ERASED_AT_ONCE)?;
                end = reached;
                for (number, _, mut body) in lines {
                    if seen.insert(number) && traces.replace_in_record(&mut body) {
                        written += u64::from(table::erase(tx, &key, number, &body)?);
                    }
                }
            }
            if let Some(end) = end {
                erasure::reach(tx, &traces.pseudonym, end)?;
            }
            Ok((written, end))
        });
        found.await
    }

    /// Notes changes in the transaction that makes them.
    pub(crate) fn append(&self, tx: &mut Tx<'_>, entries: &[Entry]) -> Result<(), dte_store::Error> {
        table::append(tx, &self.key, entries)
    }

    async fn write_denials(self, mut waiting: mpsc::Receiver<Entry>, tasks: Tasks) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let stopping = tokio::select! {
                biased;
                _ = waiting.recv_many(&mut batch, BATCH) => false,
                () = tasks.stopping() => true,
            };
            if batch.is_empty() && stopping {
                return;
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let body = json!({"kind": "lost", "records": lost, "why": "more refusals than are written one by one"});
                batch.push(Entry { at: Timestamp::now(), subject: None, body });
            }
            let entries = std::mem::take(&mut batch);
            let count = entries.len();
            let key = self.key.clone();
            if let Err(error) = self.store.write(move |tx| table::append(tx, &key, &entries)).await {
                tracing::error!(%error, count, "audit records could not be written");
            }
        }
    }

    /// Reads the whole chain and checks every link.
    pub async fn verify(&self) -> Result<AuditReport, dte_store::Error> {
        const AT_ONCE: i64 = 1_000;
        // What is noted now must be there, whatever is written meanwhile.
        let noted = Head::read(&self.key, &self.data_dir);
        let end = self.store.read(table::end).await?;
        let (mut seq, mut link, mut records) = (0, Vec::new(), 0);
        loop {
            let from: i64 = seq;
            let page = self.store.read(move |tx| table::after(tx, from, AT_ONCE)).await?;
            if page.is_empty() {
                break;
            }
            for record in page {
                if record.seq != seq + 1 {
                    return Ok(AuditReport::broken(records, seq + 1, "the record is missing"));
                }
                if !record.is_ours(&self.key, &link) {
                    let why = "the record, or the one before it, is not the one that was written";
                    return Ok(AuditReport::broken(records, seq + 1, why));
                }
                (seq, link, records) = (record.seq, record.link, records + 1);
                if let Some((_, seal)) = end.as_ref().filter(|(at, _)| *at == seq)
                    && !self.key.is_end(seq, &link, seal)
                {
                    return Ok(AuditReport::broken(records, seq + 1, "the seal at the end of the chain is not ours"));
                }
                if let Ok(Some(head)) = &noted
                    && head.seq == seq
                    && head.link != link
                {
                    let why = "the chain is not the one whose end is noted in the data directory";
                    return Ok(AuditReport::broken(records, seq, why));
                }
            }
        }
        Ok(match (end, noted) {
            (None, _) if records > 0 => {
                AuditReport::broken(records, seq + 1, "the seal at the end of the chain is missing")
            }
            (Some((at, _)), _) if at > seq => {
                AuditReport::broken(records, seq + 1, format!("the end is cut off: there were {at} records"))
            }
            (_, Ok(Some(head))) if head.seq > seq => {
                let at = head.seq;
                AuditReport::broken(records, seq + 1, format!("the end is cut off: {at} records were noted once"))
            }
            (_, Err(why)) => AuditReport::broken(records, seq + 1, why),
            _ => AuditReport { records, broken_at: None, why: None },
        })
    }

    /// What was refused to a subject, and what it changed, after the record `after`.
    pub async fn trace(&self, subject: &str, after: i64, limit: usize) -> Result<Vec<AuditRecord>, dte_store::Error> {
        let subject = subject.to_owned();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.store.read(move |tx| table::of_subject(tx, &subject, after, limit)).await?;
        Ok(rows.into_iter().map(|(seq, at, body)| AuditRecord { seq, at, body }).collect())
    }
}
