//! The file with the locks of an area, in its hidden folder: read and written as a whole, and always on disk before anybody
//! hears of it. It is small, and a lock that is forgotten is a promise that is broken.

use std::io::Read as _;
use std::os::fd::OwnedFd;

use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_webdav::fragment::Fragment;
use dte_protocol_webdav::lock::LockScope;
use dte_protocol_webdav::path::ResourcePath;
use dte_storage::beneath::{create_at, write_all};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, Result};
use serde::{Deserialize, Serialize};

use crate::model::lock::Lock;

const FILE: &str = "locks";
/// What it is called while it is written; who writes has the turn.
const FRESH: &str = "locks.new";
/// What a damaged one is called, for somebody to look at.
const DAMAGED: &str = "locks.damaged";
/// What is larger than this was not written by us.
const LARGEST: u64 = 256 << 20;
/// What [`LockFile::read`] says of a damaged file.
pub const BROKEN: Errno = Errno::BADMSG;

/// Which file was read: another one has another number or another time.
pub type Version = (u64, i64, i64, i64);

pub struct LockFile {
    folder: OwnedFd,
}

impl LockFile {
    /// The file in a folder that was opened for this alone.
    pub fn new(folder: OwnedFd) -> LockFile {
        LockFile { folder }
    }

    /// Which file is there now.
    pub fn version(&self) -> Result<Option<Version>> {
        match fs::statat(&self.folder, FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat.st_ino, stat.st_ctime, i64::from(stat.st_ctime_nsec as u32), stat.st_size))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn read(&self) -> Result<Vec<Lock>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.folder, FILE, flags, Mode::empty());
        let file = std::fs::File::from(file.map_err(|error| if error == Errno::LOOP { BROKEN } else { error })?);
        let reader = std::io::BufReader::new(file.take(LARGEST));
        let written: Vec<Written> = serde_json::from_reader(reader).map_err(|error| {
            tracing::error!(%error, "the file `locks` in the hidden folder of an area cannot be read");
            if error.is_io() { Errno::IO } else { BROKEN }
        })?;
        Ok(written.into_iter().filter_map(Written::lock).collect())
    }

    pub fn write(&self, locks: &[Lock]) -> Result<()> {
        match fs::unlinkat(&self.folder, FRESH, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let file = create_at(&self.folder, FRESH)?;
        let written: Vec<Written> = locks.iter().map(Written::of).collect();
        write_all(&file, &serde_json::to_vec(&written).map_err(|_| Errno::INVAL)?)?;
        fs::fsync(&file)?;
        fs::renameat(&self.folder, FRESH, &self.folder, FILE)?;
        fs::fsync(&self.folder)
    }

    /// Keeps a damaged file under another name.
    pub fn set_aside(&self) -> Result<()> {
        fs::renameat(&self.folder, FILE, &self.folder, DAMAGED)?;
        fs::fsync(&self.folder)
    }

    /// The right to write, among all engines that serve the folder. One thread of an engine may ask at a time.
    pub fn turn(&self) -> Result<Turn<'_>> {
        loop {
            match fs::flock(&self.folder, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Turn(&self.folder)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// As long as this lives, no other engine writes.
pub struct Turn<'a>(&'a OwnedFd);

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
