//! The hidden folder of an area, where files are until they are whole.
//!
//! It lies in the area itself, so that giving a file its name never copies it. Each engine has a folder of its own in there
//! and holds a lock on it as long as it lives; what belongs to no living engine is removed at the next start. Beside those
//! folders lies the file with the locks that clients hold.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use dte_base::id::new_id;
use dte_protocol_webdav::path::ResourcePath;
use dte_storage::beneath::{Root, create_at};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, Result};

use super::tree;

/// The name of the hidden folder; no client can name it.
pub const HIDDEN: &str = ".dte-tmp";
/// Only the engine's account looks into it.
const PRIVATE: Mode = Mode::from_raw_mode(0o700);
/// How often a new folder is tried for when another engine clears up at the same moment.
const ATTEMPTS: usize = 10;

/// This engine's own hidden folder in one area.
pub struct Hidden {
    parent: OwnedFd,
    name: String,
    /// Holds the lock.
    dir: OwnedFd,
    next: AtomicU64,
}

impl Hidden {
    /// Makes a folder for this engine and removes those of engines that are gone.
    pub fn open(root: &Root) -> Result<Hidden> {
        match fs::mkdirat(root, HIDDEN, PRIVATE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let path = ResourcePath::root().child(HIDDEN).map_err(|_| Errno::INVAL)?;
        let parent = root.open_folder_read(&path)?;
        let (name, dir) = claim(&parent)?;
        clear(&parent, &name);
        Ok(Hidden { parent, name, dir, next: AtomicU64::new(1) })
    }

    /// A name that nothing has yet.
    pub fn fresh_name(&self) -> String {
        format!("{:x}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a file.
    pub fn create(&self) -> Result<(String, OwnedFd)> {
        let name = self.fresh_name();
        let file = create_at(&self.dir, &name)?;
        Ok((name, file))
    }

    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// The folder that all engines share which serve the area, opened anew. Files in it stay over a restart.
    pub fn shared(&self) -> Result<OwnedFd> {
        open_dir(&self.parent, ".")
    }

    /// Removes whatever has this name.
    pub fn discard(&self, name: &str) {
        if let Err(error) = tree::remove(&self.dir, name)
            && error != Errno::NOENT
        {
            tracing::warn!(name, %error, "a temporary file could not be removed");
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Only when nothing is left in it; else the next start does it.
        if let Err(error) = fs::unlinkat(&self.parent, self.name.as_str(), AtFlags::REMOVEDIR) {
            tracing::debug!(name = self.name, %error, "the hidden folder stays");
        }
    }
}

fn open_dir(parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    fs::openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes a folder and locks it; another engine may have cleared it up in between.
fn claim(parent: &OwnedFd) -> Result<(String, OwnedFd)> {
    for _ in 0..ATTEMPTS {
        let name = new_id().to_string();
        fs::mkdirat(parent, name.as_str(), PRIVATE)?;
        let Ok(dir) = open_dir(parent, &name) else { continue };
        if fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok()
            && fs::statat(parent, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
        {
            return Ok((name, dir));
        }
    }
    Err(Errno::BUSY)
}

/// Removes the folders that nobody holds a lock on.
fn clear(parent: &OwnedFd, own: &str) {
    let names = match tree::names(parent) {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(%error, "the hidden folder cannot be listed");
            return;
        }
    };
    for name in names.iter().filter(|name| *name != own) {
        let abandoned = match open_dir(parent, name) {
            Ok(dir) => fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(dir),
            Err(_) => continue,
        };
        if abandoned.is_none() {
            continue;
        }
        match tree::remove(parent, name) {
            Ok(()) => tracing::info!(name, "removed what an earlier engine left half-written"),
            Err(error) => tracing::warn!(name, %error, "what an earlier engine left half-written stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Area;
    use crate::disk::area::Treatment;
    use dte_storage::beneath::Links;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_into_it() {
        let temp = tempfile::tempdir().expect("temp");
        let treatment = Treatment { fsync: false, recursive_delete: false, create_parents: true, links: Links::Within };
        let area = Area::open("a", &[], temp.path(), treatment).expect("opens");
        std::fs::write(temp.path().join(HIDDEN).join("locks.x"), "x").expect("writes");
        std::fs::create_dir(temp.path().join("d")).expect("makes");
        std::fs::write(temp.path().join("d/f"), "x").expect("writes");
        for (to, name) in [(HIDDEN, "to"), (".", "dot"), (".dte-tmp/locks.x", "file"), ("d", "fine")] {
            symlink(to, temp.path().join(name)).expect("links");
        }
        let path = |text: &str| ResourcePath::from_plain(text).expect("path");
        for inside in ["/to", "/to/locks.x", "/dot/.dte-tmp", "/dot/.dte-tmp/locks.x", "/file", "/dot/to/locks.x"] {
            assert_eq!(area.facts(&path(inside)), Err(Errno::NOENT), "{inside}");
            assert_eq!(area.root.open_read(&path(inside)).map(drop), Err(Errno::NOENT), "{inside}");
            assert!(area.root.open_read_cached(&path(inside)).is_err(), "{inside}");
        }
        assert_eq!(area.root.delete_file(&path("/to/locks.x")), Err(Errno::NOENT));
        assert!(area.facts(&path("/fine/f")).is_ok() && area.facts(&path("/dot/d/f")).is_ok());
        area.hidden.create().expect("the engine itself works there");
    }
}
