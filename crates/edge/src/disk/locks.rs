//! The locks of an area, kept in one small file in its hidden folder: they outlive a restart, and whoever else serves the same
//! folder sees them. The copy in memory is read anew whenever the file is another one.

use std::os::fd::OwnedFd;

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_webdav::fragment::Fragment;
use dte_protocol_webdav::lock::LockScope;
use dte_protocol_webdav::path::ResourcePath;
use dte_storage::beneath::{create_at, write_all};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, Result};
use serde::{Deserialize, Serialize};

use crate::model::lock::{Lock, Pass, Touch, in_the_way};

/// The file in the hidden folder.
const FILE: &str = "locks";
/// What it is called while it is written; who writes holds a lock on the folder.
const FRESH: &str = "locks.new";
/// Most locks of an area, and of one person in it.
const MOST: usize = 2_000;
const MOST_OF_ONE: usize = 500;

/// Why there is no such lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A lock that does not go together with it, at this place.
    Conflict(ResourcePath),
    TooMany,
    Os(Errno),
}

impl From<Errno> for Denied {
    fn from(error: Errno) -> Denied {
        Denied::Os(error)
    }
}

/// Which file was read: another one has another number or another time.
type Version = (u64, i64, i64, i64);

#[derive(Default)]
struct Kept {
    seen: Option<Version>,
    locks: Vec<Lock>,
}

/// The locks of an area.
pub struct Locks {
    folder: OwnedFd,
    is_durable: bool,
    kept: RwLock<Kept>,
}

/// As long as this is held, no lock is given or taken.
pub struct Held<'a>(RwLockReadGuard<'a, Kept>);

impl Held<'_> {
    /// The locks that are in force.
    pub fn all(&self) -> impl Iterator<Item = &Lock> + Clone {
        let now = Timestamp::now();
        self.0.locks.iter().filter(move |lock| lock.expires > now)
    }

    pub fn in_the_way(&self, touches: &[Touch], pass: &Pass) -> Option<&Lock> {
        in_the_way(self.all(), touches, pass)
    }

    pub fn is_empty(&self) -> bool {
        self.0.locks.is_empty()
    }
}

impl Locks {
    /// Opens the table in a hidden folder. `is_durable` says that a lock is on disk before it is given.
    pub fn open(folder: OwnedFd, is_durable: bool) -> Result<Locks> {
        let locks = Locks { folder, is_durable, kept: RwLock::default() };
        drop(locks.hold()?);
        Ok(locks)
    }

    pub fn hold(&self) -> Result<Held<'_>> {
        let kept = self.kept.read();
        if kept.seen == self.version()? {
            return Ok(Held(kept));
        }
        drop(kept);
        let mut kept = self.kept.write();
        self.refresh(&mut kept)?;
        Ok(Held(RwLockWriteGuard::downgrade(kept)))
    }

    /// Gives a lock.
    pub fn add(&self, lock: Lock) -> std::result::Result<(), Denied> {
        self.change(|locks| {
            if let Some(other) = locks.iter().find(|other| other.conflicts_with(&lock)) {
                return Err(Denied::Conflict(other.path.clone()));
            }
            let of_one = locks.iter().filter(|other| other.is_held_by(&lock.holder)).count();
            if locks.len() >= MOST || of_one >= MOST_OF_ONE {
                return Err(Denied::TooMany);
            }
            locks.push(lock);
            Ok(())
        })
    }

    /// Gives a lock more time; `None` when it is gone.
    pub fn prolong(&self, token: &str, until: Timestamp) -> std::result::Result<Option<Lock>, Denied> {
        self.change(|locks| {
            let found = locks.iter_mut().find(|lock| lock.token == token);
            Ok(found.map(|lock| {
                lock.expires = until;
                lock.clone()
            }))
        })
    }

    pub fn remove(&self, token: &str) -> std::result::Result<(), Denied> {
        self.change(|locks| {
            locks.retain(|lock| lock.token != token);
            Ok(())
        })
    }

    /// What was at `path` is gone, and with it its locks and those of all that was in it.
    pub fn forget(&self, path: &ResourcePath) -> Result<()> {
        self.forget_where(|lock| lock.path.is_within(path))
    }

    /// All that was in `path` is gone, but `path` itself has something else now.
    pub fn forget_below(&self, path: &ResourcePath) -> Result<()> {
        self.forget_where(|lock| lock.path.is_within(path) && lock.path.components() != path.components())
    }

    fn forget_where(&self, is_gone: impl Fn(&Lock) -> bool) -> Result<()> {
        if !self.hold()?.all().any(&is_gone) {
            return Ok(());
        }
        let forgotten = self.change(|locks| {
            locks.retain(|lock| !is_gone(lock));
            Ok(())
        });
        forgotten.map_err(|denied| if let Denied::Os(error) = denied { error } else { Errno::IO })
    }

    fn change<T>(
        &self,
        work: impl FnOnce(&mut Vec<Lock>) -> std::result::Result<T, Denied>,
    ) -> std::result::Result<T, Denied> {
        let mut kept = self.kept.write();
        let _turn = Turn::of(&self.folder)?;
        self.refresh(&mut kept)?;
        let now = Timestamp::now();
        let mut locks: Vec<Lock> = kept.locks.iter().filter(|lock| lock.expires > now).cloned().collect();
        let outcome = work(&mut locks)?;
        if locks != kept.locks {
            self.write(&locks)?;
            *kept = Kept { seen: self.version()?, locks };
        }
        Ok(outcome)
    }

    fn version(&self) -> Result<Option<Version>> {
        match fs::statat(&self.folder, FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat.st_ino, stat.st_ctime, i64::from(stat.st_ctime_nsec as u32), stat.st_size))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn refresh(&self, kept: &mut Kept) -> Result<()> {
        let version = self.version()?;
        if kept.seen != version {
            let locks = if version.is_some() { self.read()? } else { Vec::new() };
            *kept = Kept { seen: version, locks };
        }
        Ok(())
    }

    fn read(&self) -> Result<Vec<Lock>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = std::fs::File::from(fs::openat(&self.folder, FILE, flags, Mode::empty())?);
        let written: Vec<Written> = serde_json::from_reader(std::io::BufReader::new(file)).map_err(|error| {
            tracing::error!(%error, "the file `locks` in the hidden folder of an area is damaged; remove it, and all locks are gone");
            Errno::IO
        })?;
        Ok(written.into_iter().filter_map(Written::lock).collect())
    }

    fn write(&self, locks: &[Lock]) -> Result<()> {
        match fs::unlinkat(&self.folder, FRESH, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let file = create_at(&self.folder, FRESH)?;
        let written: Vec<Written> = locks.iter().map(Written::of).collect();
        write_all(&file, &serde_json::to_vec(&written).map_err(|_| Errno::INVAL)?)?;
        if self.is_durable {
            fs::fsync(&file)?;
        }
        fs::renameat(&self.folder, FRESH, &self.folder, FILE)?;
        if self.is_durable { fs::fsync(&self.folder) } else { Ok(()) }
    }
}

/// The right to write the file, among all engines that serve the folder.
struct Turn<'a>(&'a OwnedFd);

impl Turn<'_> {
    fn of(folder: &OwnedFd) -> Result<Turn<'_>> {
        loop {
            match fs::flock(folder, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Turn(folder)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::flock(self.0, FlockOperation::Unlock) {
            tracing::error!(%error, "the hidden folder stays locked");
        }
    }
}

/// A lock as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    token: String,
    path: String,
    folder: bool,
    deep: bool,
    shared: bool,
    holder: UserRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<(Option<String>, String)>,
    expires: i64,
}

impl Written {
    fn of(lock: &Lock) -> Written {
        Written {
            token: lock.token.clone(),
            path: lock.path.plain(),
            folder: lock.is_folder,
            deep: lock.is_deep,
            shared: lock.scope == LockScope::Shared,
            holder: lock.holder.clone(),
            owner: lock.owner.as_ref().map(|owner| (owner.lang.clone(), owner.xml.clone())),
            expires: lock.expires.as_micros(),
        }
    }

    fn lock(self) -> Option<Lock> {
        Some(Lock {
            path: ResourcePath::from_plain(&self.path).ok()?,
            token: self.token,
            is_folder: self.folder,
            is_deep: self.deep,
            scope: if self.shared { LockScope::Shared } else { LockScope::Exclusive },
            holder: self.holder,
            owner: self.owner.map(|(lang, xml)| Fragment { lang, xml }),
            expires: Timestamp::from_micros(self.expires),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(at: &str, seconds: i64) -> Lock {
        Lock {
            token: format!("urn:{at}"),
            path: ResourcePath::from_plain(at).expect("path"),
            is_folder: false,
            is_deep: false,
            scope: LockScope::Exclusive,
            holder: UserRef { issuer: "us".into(), subject: "eva".into(), name: "eva".into() },
            owner: Some(Fragment { lang: None, xml: "<a></a>".into() }),
            expires: Timestamp::from_micros(Timestamp::now().as_micros() + seconds * 1_000_000),
        }
    }

    #[test]
    fn kept_over_a_restart_and_seen_by_others() {
        let temp = tempfile::tempdir().expect("temp");
        let open =
            || Locks::open(OwnedFd::from(std::fs::File::open(temp.path()).expect("opens")), true).expect("opens");
        let (first, second) = (open(), open());
        first.add(lock("/a", 600)).expect("locks");
        let conflict = second.add(lock("/a", 600));
        assert_eq!(conflict, Err(Denied::Conflict(ResourcePath::from_plain("/a").expect("path"))));
        second.add(lock("/b/c", 600)).expect("locks");
        assert_eq!(first.hold().expect("reads").all().count(), 2);
        drop((first, second));
        let third = open();
        third.forget(&ResourcePath::from_plain("/b").expect("path")).expect("forgets");
        let left: Vec<Lock> = third.hold().expect("reads").all().cloned().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].owner.as_ref().map(|owner| owner.xml.as_str()), Some("<a></a>"));
        third.remove("urn:/a").expect("removes");
        assert!(open().hold().expect("reads").is_empty());
    }

    #[test]
    fn what_has_expired_is_no_lock() {
        let temp = tempfile::tempdir().expect("temp");
        let locks = Locks::open(OwnedFd::from(std::fs::File::open(temp.path()).expect("opens")), false).expect("opens");
        locks.add(lock("/a", -1)).expect("locks");
        assert_eq!(locks.hold().expect("reads").all().count(), 0);
        assert_eq!(locks.prolong("urn:/a", Timestamp::now()).expect("asks"), None);
        locks.add(lock("/a", 60)).expect("the old one is in nobody's way");
        let until = Timestamp::from_micros(Timestamp::now().as_micros() + 120_000_000);
        let prolonged = locks.prolong("urn:/a", until).expect("asks").expect("is there");
        assert_eq!(prolonged.expires, until);
    }

    #[test]
    fn one_person_has_so_many() {
        let temp = tempfile::tempdir().expect("temp");
        let locks = Locks::open(OwnedFd::from(std::fs::File::open(temp.path()).expect("opens")), false).expect("opens");
        for number in 0..MOST_OF_ONE {
            locks.add(lock(&format!("/{number}"), 60)).expect("locks");
        }
        assert_eq!(locks.add(lock("/more", 60)), Err(Denied::TooMany));
    }
}
