//! Verified inputs of earlier pods, kept for later ones.
//!
//! A file is known by its owner, DID, length and adler32, so that a changed file is another file and nobody profits from what
//! somebody else was allowed to read. Pods get hard links, which cost no space and hardly any time; their view of them is
//! read-only. What was linked longest ago goes first when the space runs out.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dte_base::units::Bytes;
use dte_identity::{OpenError, UserRef};
use dte_protocol_webdav::path::ResourcePath;
use dte_storage::file::FileStore;
use dte_storage::{ByteStore, Location};
use sha2::{Digest, Sha256};

/// Files that may come in before the space is looked at again.
const LOOK_AFTER: u64 = 256;
/// A sweep leaves so much of the limit free, so that the next one is not due at once.
const LEAVE_FREE: u64 = 10;

/// The name of a file in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

pub struct Cache {
    root: PathBuf,
    store: Arc<dyn ByteStore>,
    limit: u64,
    arrivals: AtomicU64,
    /// SHA-256 of programs that were looked at.
    sums: Mutex<HashMap<Key, String>>,
}

/// A file to be put into a run folder.
#[derive(Clone, Debug)]
pub struct Placing {
    pub from: PathBuf,
    pub to: PathBuf,
    pub mode: u32,
}

fn short_hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..16])
}

impl Cache {
    pub fn open(root: &Path, limit: Bytes) -> Result<Cache, OpenError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(OpenError::at(root))?;
        let store: Arc<dyn ByteStore> = Arc::new(FileStore::open(root).map_err(OpenError::other)?);
        Ok(Cache {
            root: root.to_path_buf(),
            store,
            limit: limit.0,
            arrivals: AtomicU64::new(LOOK_AFTER),
            sums: Mutex::default(),
        })
    }

    /// The place of an input.
    pub fn input(&self, owner: &UserRef, did: &str, bytes: u64, adler32: &str) -> Key {
        let owner = short_hash(&[&owner.issuer, &owner.subject]);
        Key(format!("{owner}/{}-{adler32}-{bytes}", short_hash(&[did])))
    }

    /// The place of a program that was read from this machine.
    pub fn program(&self, owner: &UserRef, sha256: &str) -> Key {
        Key(format!("{}/program-{sha256}", short_hash(&[&owner.issuer, &owner.subject])))
    }

    pub fn path(&self, key: &Key) -> PathBuf {
        self.root.join(&key.0)
    }

    /// Whether the file is there.
    pub fn holds(&self, key: &Key, bytes: Option<u64>) -> bool {
        fs::metadata(self.path(key)).is_ok_and(|meta| meta.is_file() && bytes.is_none_or(|bytes| bytes == meta.len()))
    }

    /// Where to write the file; it appears when it is whole.
    pub fn location(&self, key: &Key) -> Result<Location, String> {
        let path = ResourcePath::from_plain(&format!("/{}", key.0)).map_err(|error| error.to_string())?;
        self.note_arrival();
        Ok(Location::new(self.store.clone(), path, "the cache of inputs"))
    }

    /// Copies a program of this machine into the cache; gives its length and SHA-256.
    pub fn take_program(&self, owner: &UserRef, path: &Path) -> io::Result<(Key, u64, String)> {
        let folder = self.root.join(short_hash(&[&owner.issuer, &owner.subject]));
        fs::create_dir_all(&folder)?;
        let draft = folder.join(format!(".dte-part-{}", dte_base::id::new_id()));
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let bytes = fs::copy(path, &draft)?;
        let sha256 = sha256_of(&draft)?;
        let key = self.program(owner, &sha256);
        fs::rename(&draft, self.path(&key))?;
        self.note_arrival();
        Ok((key, bytes, sha256))
    }

    /// The SHA-256 of a cached file, computed once.
    pub fn sha256(&self, key: &Key) -> io::Result<String> {
        if let Some(known) = self.sums.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(known.clone());
        }
        let sum = sha256_of(&self.path(key))?;
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), sum.clone());
        Ok(sum)
    }

    fn note_arrival(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes room if it is time to look. Blocks.
    pub fn sweep(&self) -> io::Result<()> {
        if self.arrivals.load(Ordering::Relaxed) < LOOK_AFTER {
            return Ok(());
        }
        self.arrivals.store(0, Ordering::Relaxed);
        let mut files = Vec::new();
        for owner in fs::read_dir(&self.root)? {
            let owner = owner?.path();
            if !owner.is_dir() {
                continue;
            }
            for file in fs::read_dir(owner)? {
                let file = file?;
                let meta = file.metadata()?;
                // A link is noted as a change of the file's status.
                files.push((meta.ctime(), meta.ctime_nsec(), meta.len(), file.path()));
            }
        }
        let mut total: u64 = files.iter().map(|(_, _, bytes, _)| bytes).sum();
        if total <= self.limit {
            return Ok(());
        }
        files.sort();
        for (_, _, bytes, path) in files {
            if total <= self.limit - self.limit / LEAVE_FREE {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut fs::File::open(path)?, &mut hash)?;
    Ok(hex::encode(hash.finalize()))
}

/// Puts files into a run folder; what an earlier try put there is replaced. With `link` the pod shares the cache's file, which
/// is right only where it cannot write to it. Blocks.
pub fn place(files: &[Placing], link: bool) -> io::Result<()> {
    let mut made: Option<&Path> = None;
    for Placing { from, to, mode } in files {
        let folder = to.parent().unwrap_or(Path::new("/"));
        if made != Some(folder) {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            made = Some(folder);
        }
        if fs::metadata(from)?.mode() & 0o777 != *mode {
            fs::set_permissions(from, fs::Permissions::from_mode(*mode))?;
        }
        match fs::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if link && fs::hard_link(from, to).is_ok() {
            continue;
        }
        // Another file system, or too many links: a copy of its own.
        fs::copy(from, to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(*mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> UserRef {
        UserRef { issuer: "i".into(), subject: name.into(), name: name.into() }
    }

    #[test]
    fn nobody_gets_what_another_was_allowed_to_read() {
        let dir = tempfile::tempdir().expect("dir");
        let cache = Cache::open(dir.path(), Bytes(1000)).expect("cache");
        let key = cache.input(&owner("a"), "s:n", 3, "00000001");
        assert_ne!(key, cache.input(&owner("b"), "s:n", 3, "00000001"));
        assert_ne!(key, cache.input(&owner("a"), "s:n", 3, "00000002"));
        assert!(!cache.holds(&key, None));
    }

    #[test]
    fn placing_and_room() {
        let dir = tempfile::tempdir().expect("dir");
        let cache = Cache::open(&dir.path().join("cache"), Bytes(1000)).expect("cache");
        let program = dir.path().join("program");
        fs::write(&program, vec![7; 600]).expect("program");
        let (key, bytes, sum) = cache.take_program(&owner("a"), &program).expect("taken");
        assert_eq!((bytes, sum.len()), (600, 64));
        assert_eq!(cache.sha256(&key).expect("sum"), sum);
        for link in [true, false, true] {
            let to = dir.path().join("run/inputs/deep/program");
            let placing = Placing { from: cache.path(&key), to: to.clone(), mode: 0o555 };
            place(&[placing], link).expect("placed");
            let meta = fs::metadata(&to).expect("there");
            assert_eq!((meta.mode() & 0o777, meta.nlink() > 1), (0o555, link));
        }
        fs::write(&program, vec![8; 600]).expect("program");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (newer, ..) = cache.take_program(&owner("a"), &program).expect("taken");
        cache.sweep().expect("swept");
        assert!(cache.holds(&newer, Some(600)) && !cache.holds(&key, None));
    }
}
