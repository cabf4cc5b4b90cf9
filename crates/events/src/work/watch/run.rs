//! One watch at work.

use std::collections::HashMap;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::time::Timestamp;
use dte_store::{Error, Outcome, Store};
use tokio::sync::watch as bell;

use super::folder::{Folder, NotRead};
use super::kernel::{Notice, Notices};
use crate::model::file::{Clock, Complete, Look};
use crate::model::glob::Glob;
use crate::model::tracker::Tracker;
use crate::model::watch::{Mode, is_ignored};
use crate::store::watches::{State, Watch};
use crate::store::{files, watches};

/// Files that one transaction publishes at most: the writer must not be held for long.
const BATCH: usize = 128;
/// Bytes read before what is known so far is published.
const BATCH_BYTES: u64 = 64 << 20;
/// Names compared with the memory at once.
const COMPARED: usize = 400;
/// How often it is made sure that the folder is still the same, and the declaration too where others may change it.
const CHECK: Duration = Duration::from_secs(2);
/// A file that cannot be read is tried again this often.
const UNREADABLE: Duration = Duration::from_secs(10);

/// Watches one folder as long as this process holds the lease.
pub struct Watcher {
    store: Store,
    name: String,
    declarations: bell::Receiver<u64>,
    noted: Option<(State, Option<String>)>,
}

/// Why watching a folder came to an end.
enum Ended {
    /// The declaration is gone or changed: read it again.
    Declaration,
    FolderGone,
}

impl Watcher {
    pub fn new(store: Store, name: String, declarations: bell::Receiver<u64>) -> Self {
        Watcher { store, name, declarations, noted: None }
    }

    pub async fn run(mut self) -> Outcome {
        loop {
            self.declarations.borrow_and_update();
            let declared = match self.declared().await {
                Ok(Some(declared)) => declared,
                Ok(None) => return Outcome::Done,
                Err(error) => return Outcome::Retry { error: error.to_string() },
            };
            let Ok(glob) = declared.spec.check() else {
                return Outcome::Dead { error: "the stored declaration is not valid".to_owned() };
            };
            match self.watch(&declared, &glob).await {
                Ok(Ended::Declaration) => {}
                Ok(Ended::FolderGone) => self.wait_for_folder(&declared).await,
                Err(error) => return Outcome::Retry { error: error.to_string() },
            }
        }
    }

    async fn declared(&self) -> Result<Option<Watch>, Error> {
        let name = self.name.clone();
        self.store.read(move |tx| watches::get(tx, &name)).await
    }

    async fn wait_for_folder(&mut self, declared: &Watch) {
        let wait = declared.spec.interval.0.min(Duration::from_secs(1));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = self.declarations.changed() => if changed.is_err() { pending::<()>().await },
        }
    }

    /// Writes the state down when it is another than before.
    async fn note(&mut self, declared: &Watch, state: State, error: Option<String>) -> Result<(), Error> {
        let now = (state, error);
        if self.noted.as_ref() == Some(&now) {
            return Ok(());
        }
        let (name, incarnation, text) = (self.name.clone(), declared.incarnation, now.1.clone());
        self.store.write(move |tx| watches::note_state(tx, &name, incarnation, state, text.as_deref())).await?;
        self.noted = Some(now);
        Ok(())
    }

    async fn watch(&mut self, declared: &Watch, glob: &Glob) -> Result<Ended, Error> {
        let path = declared.spec.path.clone();
        let folder = match Folder::open(&path) {
            Ok(folder) => Arc::new(folder),
            Err(error) => {
                self.note(declared, State::Missing, Some(error.to_string())).await?;
                return Ok(Ended::FolderGone);
            }
        };
        // The notices begin before the first look, so that nothing falls between.
        let (notices, trouble) = notices_of(declared.spec.mode, &folder, &path);
        let state = if notices.is_some() { State::Watching } else { State::Polling };
        let clock = if folder.has_notifications() { Clock::Ours } else { Clock::Foreign };
        let mut round = Round {
            store: self.store.clone(),
            declared: declared.clone(),
            glob: glob.clone(),
            folder,
            tracker: Tracker::new(declared.spec.settle.0, clock),
            known: HashMap::new(),
            trouble: None,
        };
        round.scan().await?;
        let interval = declared.spec.interval.0;
        let (mut scanned, mut checked) = (Instant::now(), Instant::now());
        loop {
            if !round.publish().await? {
                return Ok(Ended::Declaration);
            }
            self.note(declared, state, round.trouble.clone().or_else(|| trouble.clone())).await?;
            let mut wait = CHECK.saturating_sub(checked.elapsed());
            if notices.is_none() {
                wait = wait.min(interval.saturating_sub(scanned.elapsed()));
            } else if let Some(due) = round.tracker.next_due() {
                wait = wait.min(due.since(Timestamp::now()));
            }
            if round.tracker.has_ready() {
                wait = Duration::ZERO;
            }
            let woken = tokio::select! {
                biased;
                changed = self.declarations.changed() => match changed {
                    Ok(()) => Woken::Declarations,
                    Err(_) => pending().await,
                },
                told = next_notices(notices.as_ref()), if notices.is_some() => Woken::Told(told),
                () = tokio::time::sleep(wait) => Woken::Time,
            };
            let told = match woken {
                Woken::Declarations if self.is_changed(declared).await? => return Ok(Ended::Declaration),
                Woken::Declarations | Woken::Time => Vec::new(),
                Woken::Told(Ok(told)) => told,
                Woken::Told(Err(error)) => {
                    tracing::warn!(watch = self.name, %error, "notices of the kernel could not be read");
                    vec![Notice::Lost]
                }
            };
            if !round.take(told).await? {
                return Ok(Ended::FolderGone);
            }
            if checked.elapsed() >= CHECK {
                checked = Instant::now();
                if !round.folder.is_still_at(&path) {
                    return Ok(Ended::FolderGone);
                }
                if self.store.is_shared() && self.is_changed(declared).await? {
                    return Ok(Ended::Declaration);
                }
            }
            if notices.is_none() && scanned.elapsed() >= interval {
                round.scan().await?;
                scanned = Instant::now();
            } else {
                round.look_again(Timestamp::now()).await?;
            }
        }
    }

    async fn is_changed(&mut self, declared: &Watch) -> Result<bool, Error> {
        self.declarations.borrow_and_update();
        let now = self.declared().await?;
        Ok(now.is_none_or(|now| now.spec != declared.spec || now.incarnation != declared.incarnation))
    }
}

enum Woken {
    Declarations,
    Told(std::io::Result<Vec<Notice>>),
    Time,
}

/// The kernel's notices where they are wanted and can be had, and what is wrong if they cannot.
fn notices_of(mode: Mode, folder: &Folder, path: &Path) -> (Option<Notices>, Option<String>) {
    if mode == Mode::Poll || (mode == Mode::Auto && !folder.has_notifications()) {
        return (None, None);
    }
    match Notices::of(folder, path) {
        Ok(notices) => (Some(notices), None),
        Err(error) => (None, Some(format!("polling, since the kernel gives no notices: {error}"))),
    }
}

async fn next_notices(notices: Option<&Notices>) -> std::io::Result<Vec<Notice>> {
    match notices {
        Some(notices) => notices.next().await,
        None => pending().await,
    }
}

/// What is known while one folder is open.
struct Round {
    store: Store,
    declared: Watch,
    glob: Glob,
    folder: Arc<Folder>,
    tracker: Tracker,
    /// What was dealt with, so that the next look needs neither the disk's content nor the database.
    known: HashMap<String, Look>,
    trouble: Option<String>,
}

impl Round {
    fn counts(&self, name: &str) -> bool {
        !is_ignored(name) && self.glob.matches(name)
    }

    /// Takes in notices. `false` when the folder is gone.
    async fn take(&mut self, notices: Vec<Notice>) -> Result<bool, Error> {
        let now = Timestamp::now();
        let mut created = Vec::new();
        for notice in notices {
            match notice {
                Notice::Completed(name) if self.counts(&name) => self.tracker.completed(&name),
                Notice::Written(name) if self.counts(&name) => self.tracker.written(&name, now),
                Notice::Created(name) if self.counts(&name) => created.push(name),
                Notice::Gone(name) => {
                    self.tracker.gone(&name);
                    self.known.remove(&name);
                }
                Notice::Lost => {
                    self.tracker.forget_writers();
                    self.scan().await?;
                }
                Notice::FolderGone => return Ok(false),
                Notice::Completed(_) | Notice::Written(_) | Notice::Created(_) => {}
            }
        }
        if !created.is_empty() {
            self.look_at(created).await?;
        }
        Ok(true)
    }

    /// Looks through the whole folder.
    async fn scan(&mut self) -> Result<(), Error> {
        let folder = Arc::clone(&self.folder);
        let found = blocking(move || {
            let (names, unnameable) = folder.names()?;
            let looks = names.into_iter().map(|name| folder.look(&name).map(|look| (name, look)));
            Ok::<_, std::io::Error>((looks.collect::<Result<Vec<_>, _>>()?, unnameable))
        })
        .await?;
        let (found, unnameable) = match found {
            Ok(found) => found,
            Err(error) => {
                self.trouble = Some(format!("the folder cannot be listed: {error}"));
                return Ok(());
            }
        };
        self.trouble =
            (unnameable > 0).then(|| format!("{unnameable} files have names that are not UTF-8 and are left out"));
        let found: Vec<(String, Look)> = found
            .into_iter()
            .filter(|(name, _)| self.counts(name))
            .filter_map(|(name, look)| look.map(|look| (name, look)))
            .collect();
        let there: std::collections::HashSet<&String> = found.iter().map(|(name, _)| name).collect();
        self.known.retain(|name, _| there.contains(name));
        let unknown: Vec<(String, Look)> = found
            .iter()
            .filter(|(name, look)| !self.known.get(name).is_some_and(|known| known.same_content(look)))
            .cloned()
            .collect();
        self.compare(unknown).await
    }

    /// Sorts out by the memory what was published already; the others wait to be complete.
    async fn compare(&mut self, found: Vec<(String, Look)>) -> Result<(), Error> {
        for chunk in found.chunks(COMPARED) {
            let names: Vec<String> = chunk.iter().map(|(name, _)| name.clone()).collect();
            let watch = self.declared.spec.name.clone();
            let memory = self.store.read(move |tx| files::remembered(tx, &watch, &names)).await?;
            let now = Timestamp::now();
            for (name, look) in chunk {
                if memory.get(name).is_some_and(|published| published.is_still(look)) {
                    self.known.insert(name.clone(), *look);
                } else {
                    self.tracker.seen(name, *look, now);
                }
            }
        }
        self.tracker.settle(Timestamp::now());
        Ok(())
    }

    /// Looks again at those that should stand still by now.
    async fn look_again(&mut self, now: Timestamp) -> Result<(), Error> {
        let names = self.tracker.to_look_at(now);
        if names.is_empty() { Ok(()) } else { self.look_at(names).await }
    }

    async fn look_at(&mut self, names: Vec<String>) -> Result<(), Error> {
        let folder = Arc::clone(&self.folder);
        let looks = blocking(move || {
            names.into_iter().map(|name| (folder.look(&name).ok().flatten(), name)).collect::<Vec<_>>()
        });
        let now = Timestamp::now();
        for (look, name) in looks.await? {
            match look {
                Some(look) => self.tracker.seen(&name, look, now),
                None => self.tracker.gone(&name),
            }
        }
        self.tracker.settle(now);
        Ok(())
    }

    /// Reads what is ready and publishes it. `false` when the watch is not this one any more.
    async fn publish(&mut self) -> Result<bool, Error> {
        let names = self.tracker.take_ready(BATCH);
        if names.is_empty() {
            return Ok(true);
        }
        let folder = Arc::clone(&self.folder);
        let (read, rest) = blocking(move || read_batch(&folder, names)).await?;
        // What was not reached comes first next time.
        self.tracker.put_back(rest);
        let mut complete = Vec::new();
        let now = Timestamp::now();
        for (name, outcome) in read {
            match outcome {
                Ok(file) => complete.push(file),
                Err(NotRead::NotAFile) => self.tracker.gone(&name),
                Err(NotRead::Changed(look)) => self.tracker.postpone(&name, look, now, Duration::ZERO),
                Err(NotRead::Failed(look, error)) => {
                    self.trouble = Some(format!("{name}: {error}"));
                    self.tracker.postpone(&name, look, now, UNREADABLE);
                }
            }
        }
        if complete.is_empty() {
            return Ok(true);
        }
        let known: Vec<(String, Look)> = complete.iter().map(|file| (file.name.clone(), file.look)).collect();
        let (watch, incarnation) = (self.declared.spec.name.clone(), self.declared.incarnation);
        let path = self.declared.spec.path.to_string_lossy().into_owned();
        let published = self.store.write(move |tx| files::publish(tx, &watch, incarnation, &path, &complete)).await?;
        self.known.extend(known);
        Ok(published.is_some())
    }
}

type ReadBatch = (Vec<(String, Result<Complete, NotRead>)>, Vec<String>);

/// Reads files one after the other until enough bytes were read.
fn read_batch(folder: &Folder, names: Vec<String>) -> ReadBatch {
    let mut buffer = Vec::new();
    let mut read = Vec::with_capacity(names.len());
    let mut bytes = 0;
    let mut names = names.into_iter();
    for name in names.by_ref() {
        let outcome = folder.read(&name, &mut buffer);
        bytes += outcome.as_ref().map_or(0, |file| file.look.size);
        read.push((name, outcome));
        if bytes >= BATCH_BYTES {
            break;
        }
    }
    (read, names.collect())
}

/// Runs what waits for the disk where it may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Effect(format!("a task of the watch ended early: {error}")))
}
