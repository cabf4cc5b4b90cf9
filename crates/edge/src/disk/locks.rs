//! The locks of an area, kept in one small file in its hidden folder: they outlive a restart, and whoever else serves the same
//! folder sees them. The copy in memory is read anew whenever the file is another one.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use dte_base::time::Timestamp;
use dte_protocol_webdav::lock::LockScope;
use dte_protocol_webdav::path::ResourcePath;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustix::io::{Errno, Result};

use super::lock_file::{BROKEN, LockFile, Version};
use crate::model::lock::{Lock, Pass, Touch, in_the_way};

/// Most locks of an area, and of one person in it: nobody can take them all.
const MOST: usize = 20_000;
const MOST_OF_ONE: usize = 200;
/// The same in bytes.
const MOST_BYTES: usize = 32 << 20;
const MOST_BYTES_OF_ONE: usize = 256 << 10;
/// Most shared locks of one person at one place. One does; some clients are careless.
const MOST_OF_ONE_HERE: usize = 10;

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

#[derive(Default)]
struct Kept {
    seen: Option<Version>,
    locks: Arc<[Lock]>,
}

/// The locks of an area.
pub struct Locks {
    file: LockFile,
    /// Held by the one who writes the file; those who only look need not wait for a disk.
    writing: Mutex<()>,
    kept: RwLock<Kept>,
}

/// As long as this is held, this engine tells nobody that a lock was given or taken, so what it does meanwhile was before that.
/// Another engine that serves the same folder may give one at the same moment, and hears of it only at its next look.
pub struct Held<'a>(RwLockReadGuard<'a, Kept>);

impl Held<'_> {
    /// The locks that are in force.
    pub fn all(&self) -> impl Iterator<Item = &Lock> + Clone {
        let now = Timestamp::now();
        self.0.locks.iter().filter(move |lock| lock.expires > now)
    }

    /// All locks, also those that have expired, to look at later.
    pub fn table(&self) -> Arc<[Lock]> {
        self.0.locks.clone()
    }

    pub fn in_the_way(&self, touches: &[Touch], pass: &Pass) -> Option<&Lock> {
        in_the_way(self.all(), touches, pass)
    }

    pub fn is_empty(&self) -> bool {
        self.0.locks.is_empty()
    }

    /// The tokens of the locks of `path` and of all that is in it.
    pub fn tokens_within(&self, path: &ResourcePath) -> Vec<String> {
        self.tokens_where(|lock| lock.path.is_within(path))
    }

    /// The tokens of the locks of all that is in `path`, without its own.
    pub fn tokens_below(&self, path: &ResourcePath) -> Vec<String> {
        self.tokens_where(|lock| lock.path.is_within(path) && lock.path.components() != path.components())
    }

    fn tokens_where(&self, is_meant: impl Fn(&Lock) -> bool) -> Vec<String> {
        self.0.locks.iter().filter(|lock| is_meant(lock)).map(|lock| lock.token.clone()).collect()
    }
}

impl Locks {
    /// Opens the table in a hidden folder. A damaged one is put aside: its locks are gone, but the area can be used.
    pub fn open(folder: OwnedFd) -> Result<Locks> {
        let locks = Locks { file: LockFile::new(folder), writing: Mutex::new(()), kept: RwLock::default() };
        let turn = locks.file.turn()?;
        match locks.hold() {
            Ok(held) => drop(held),
            Err(BROKEN) => {
                locks.file.set_aside()?;
                tracing::error!(
                    "all locks of an area are gone; their file is `locks.damaged` in its hidden folder now"
                );
            }
            Err(error) => return Err(error),
        }
        drop(turn);
        Ok(locks)
    }

    pub fn hold(&self) -> Result<Held<'_>> {
        let kept = self.kept.read();
        if kept.seen == self.file.version()? {
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
            if is_full(locks, &lock) {
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

    /// What had these locks is gone, and so are they. What is gone stays gone if that fails: the locks then end by themselves.
    pub fn forget(&self, tokens: &[String]) {
        if tokens.is_empty() {
            return;
        }
        let forgotten = self.change(|locks| {
            locks.retain(|lock| !tokens.contains(&lock.token));
            Ok(())
        });
        if let Err(denied) = forgotten {
            tracing::error!(?denied, "locks of what is gone stay until they end");
        }
    }

    fn change<T>(
        &self,
        work: impl FnOnce(&mut Vec<Lock>) -> std::result::Result<T, Denied>,
    ) -> std::result::Result<T, Denied> {
        let _writing = self.writing.lock();
        let _turn = self.file.turn()?;
        let present = self.hold()?.table();
        let now = Timestamp::now();
        let mut locks: Vec<Lock> = present.iter().filter(|lock| lock.expires > now).cloned().collect();
        let outcome = work(&mut locks)?;
        if locks[..] != present[..] {
            self.file.write(&locks)?;
            let seen = self.file.version()?;
            *self.kept.write() = Kept { seen, locks: locks.into() };
        }
        Ok(outcome)
    }

    fn refresh(&self, kept: &mut Kept) -> Result<()> {
        let version = self.file.version()?;
        if kept.seen != version {
            let locks = if version.is_some() { self.file.read()? } else { Vec::new() };
            *kept = Kept { seen: version, locks: locks.into() };
        }
        Ok(())
    }
}

/// Whether there is no place for one more.
fn is_full(locks: &[Lock], more: &Lock) -> bool {
    let own = || locks.iter().filter(|lock| lock.is_held_by(&more.holder));
    let here = |lock: &&Lock| lock.scope == LockScope::Shared && lock.path.components() == more.path.components();
    let bytes_of_own: usize = own().map(Lock::bytes).sum();
    locks.len() >= MOST
        || own().count() >= MOST_OF_ONE
        || own().filter(here).count() >= MOST_OF_ONE_HERE
        || bytes_of_own + more.bytes() > MOST_BYTES_OF_ONE
        || locks.iter().map(Lock::bytes).sum::<usize>() + more.bytes() > MOST_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use dte_identity::UserRef;
    use dte_protocol_webdav::fragment::Fragment;

    fn path(text: &str) -> ResourcePath {
        ResourcePath::from_plain(text).expect("path")
    }

    fn lock(at: &str, seconds: i64) -> Lock {
        Lock {
            token: format!("urn:{at}"),
            path: path(at),
            is_folder: false,
            is_deep: false,
            scope: LockScope::Exclusive,
            holder: UserRef { issuer: "us".into(), subject: "eva".into(), name: "eva".into() },
            owner: Some(Fragment { lang: None, xml: "<a></a>".into() }),
            expires: Timestamp::from_micros(Timestamp::now().as_micros() + seconds * 1_000_000),
        }
    }

    fn open(folder: &std::path::Path) -> Locks {
        Locks::open(OwnedFd::from(std::fs::File::open(folder).expect("opens"))).expect("opens")
    }

    #[test]
    fn kept_over_a_restart_and_seen_by_others() {
        let temp = tempfile::tempdir().expect("temp");
        let (first, second) = (open(temp.path()), open(temp.path()));
        first.add(lock("/a", 600)).expect("locks");
        assert_eq!(second.add(lock("/a", 600)), Err(Denied::Conflict(path("/a"))));
        second.add(lock("/b/c", 600)).expect("locks");
        assert_eq!(first.hold().expect("reads").all().count(), 2);
        drop((first, second));
        let third = open(temp.path());
        let gone = third.hold().expect("reads").tokens_within(&path("/b"));
        third.forget(&gone);
        let left: Vec<Lock> = third.hold().expect("reads").all().cloned().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].owner.as_ref().map(|owner| owner.xml.as_str()), Some("<a></a>"));
        third.remove("urn:/a").expect("removes");
        assert!(open(temp.path()).hold().expect("reads").is_empty());
    }

    #[test]
    fn only_locks_that_were_seen_are_forgotten() {
        let temp = tempfile::tempdir().expect("temp");
        let locks = open(temp.path());
        locks.add(lock("/a/b", 60)).expect("locks");
        let seen = locks.hold().expect("reads").tokens_below(&path("/a"));
        let later = Lock { token: "urn:later".into(), ..lock("/a/c", 60) };
        locks.add(later.clone()).expect("locks");
        locks.forget(&seen);
        assert_eq!(locks.hold().expect("reads").table()[..], [later]);
    }

    #[test]
    fn what_has_expired_is_no_lock() {
        let temp = tempfile::tempdir().expect("temp");
        let locks = open(temp.path());
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
        let many: Vec<Lock> = (0..MOST_OF_ONE).map(|number| lock(&format!("/{number}"), 60)).collect();
        assert!(!is_full(&many[1..], &lock("/more", 60)) && is_full(&many, &lock("/more", 60)));
        let max = UserRef { issuer: "us".into(), subject: "max".into(), name: "max".into() };
        assert!(!is_full(&many, &Lock { holder: max.clone(), ..lock("/more", 60) }), "others have theirs");
        let shared = |holder: &UserRef| Lock { scope: LockScope::Shared, holder: holder.clone(), ..lock("/s", 60) };
        let here = vec![shared(&max); MOST_OF_ONE_HERE];
        assert!(is_full(&here, &shared(&max)) && !is_full(&here, &shared(&many[0].holder)));
        let owner = Fragment { lang: Some("x".repeat(MOST_BYTES_OF_ONE / 3)), xml: String::new() };
        let large = |at: &str| Lock { owner: Some(owner.clone()), ..lock(at, 60) };
        assert!(!is_full(&[large("/a")], &large("/b")) && is_full(&[large("/a"), large("/b")], &large("/c")));
    }

    #[test]
    fn a_damaged_file_is_put_aside() {
        let temp = tempfile::tempdir().expect("temp");
        std::fs::write(temp.path().join("locks"), "[{\"token\":").expect("writes");
        let locks = open(temp.path());
        locks.add(lock("/a", 60)).expect("locks");
        assert_eq!(open(temp.path()).hold().expect("reads").all().count(), 1);
        assert!(temp.path().join("locks.damaged").exists());
    }

    #[test]
    fn no_lock_is_told_while_they_are_held() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let temp = tempfile::tempdir().expect("temp");
        let (locks, is_told) = (open(temp.path()), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let held = locks.hold().expect("holds");
            scope.spawn(|| {
                locks.add(lock("/a", 60)).expect("locks");
                is_told.store(true, Ordering::SeqCst);
            });
            let begun = std::time::Instant::now();
            while !temp.path().join("locks").exists() {
                assert!(begun.elapsed() < std::time::Duration::from_secs(60), "whoever gives a lock writes meanwhile");
                std::thread::yield_now();
            }
            assert!(!is_told.load(Ordering::SeqCst) && held.is_empty());
            drop(held);
        });
        assert!(is_told.load(Ordering::SeqCst));
    }
}
