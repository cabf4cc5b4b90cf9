//! Noticing outcomes: the kernel tells of files written on this machine at once; those that other machines write into a
//! shared file system are found by looking again and again.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::host::folder::RunFolder;

const BUFFER: usize = 64 << 10;

/// Folders under watch.
pub struct Watch {
    queue: Option<AsyncFd<OwnedFd>>,
    watched: Mutex<Watched>,
    ended: broadcast::Sender<Uuid>,
    look_every: Duration,
}

#[derive(Default)]
struct Watched {
    folders: HashMap<Uuid, (PathBuf, Option<i32>)>,
    by_number: HashMap<i32, Uuid>,
}

impl Watch {
    /// Must be called within a runtime.
    pub fn new(ended: broadcast::Sender<Uuid>, look_every: Duration) -> Arc<Watch> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(std::io::Error::from);
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps what the newer, unsafe constructor demands; unsafe is forbidden here"
        )]
        let queue = match queue.and_then(AsyncFd::new) {
            Ok(queue) => Some(queue),
            Err(error) => {
                tracing::warn!(%error, "the kernel does not tell of files: ends of pods are found by looking");
                None
            }
        };
        Arc::new(Watch { queue, watched: Mutex::default(), ended, look_every })
    }

    /// Watches a pod's folder until its outcome is there. If it is there already, that is told too.
    pub fn add(&self, uid: Uuid, folder: PathBuf) {
        let number = self.queue.as_ref().and_then(|queue| {
            // Without one more of the kernel's watches, looking finds it.
            inotify::add_watch(queue, &folder, WatchFlags::MOVED_TO | WatchFlags::ONLYDIR).ok()
        });
        {
            let mut watched = self.watched();
            watched.by_number.extend(number.map(|number| (number, uid)));
            watched.folders.insert(uid, (folder.clone(), number));
        }
        if RunFolder::at(folder).has_exit() {
            self.tell(uid);
        }
    }

    pub fn forget(&self, uid: Uuid) {
        let mut watched = self.watched();
        if let Some((_, Some(number))) = watched.folders.remove(&uid) {
            watched.by_number.remove(&number);
            if let Some(queue) = &self.queue {
                // The folder, and its watch with it, may be gone.
                let _ = inotify::remove_watch(queue, number);
            }
        }
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, uid: Uuid) {
        self.forget(uid);
        // Nobody may be listening.
        drop(self.ended.send(uid));
    }

    /// Tells of ends until the watch is dropped.
    pub async fn run(watch: Weak<Watch>) {
        loop {
            let Some(this) = watch.upgrade() else { return };
            tokio::select! {
                told = this.told() => {
                    for uid in told {
                        this.tell(uid);
                    }
                }
                () = tokio::time::sleep(this.look_every) => {
                    let folders: Vec<(Uuid, PathBuf)> =
                        this.watched().folders.iter().map(|(uid, (folder, _))| (*uid, folder.clone())).collect();
                    let found = tokio::task::spawn_blocking(move || {
                        folders.into_iter().filter(|(_, folder)| RunFolder::at(folder).has_exit()).map(|(uid, _)| uid).collect()
                    });
                    let found: Vec<Uuid> = found.await.unwrap_or_default();
                    for uid in found {
                        this.tell(uid);
                    }
                }
            }
        }
    }

    /// Pods of whose outcome the kernel tells.
    async fn told(&self) -> Vec<Uuid> {
        let Some(queue) = &self.queue else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = queue.readable().await else { return std::future::pending().await };
            match ready.try_io(|queue| read_all(queue.get_ref())) {
                Ok(Ok(numbers)) => {
                    let watched = self.watched();
                    return numbers.iter().filter_map(|number| watched.by_number.get(number).copied()).collect();
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the kernel does not tell of files any more: ends of pods are found by looking");
                    return std::future::pending().await;
                }
                Err(_would_block) => {}
            }
        }
    }
}

/// The watches in whose folders an outcome was put in place.
fn read_all(queue: &OwnedFd) -> std::io::Result<Vec<i32>> {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(queue, &mut buffer);
    let mut numbers = Vec::new();
    loop {
        match reader.next() {
            Ok(event) => {
                let is_exit =
                    event.file_name().is_some_and(|name| name.to_bytes() == crate::host::folder::EXIT.as_bytes());
                if is_exit && event.events().contains(ReadFlags::MOVED_TO) {
                    numbers.push(event.wd());
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if !numbers.is_empty() => return Ok(numbers),
            Err(error) => return Err(error.into()),
        }
    }
}
