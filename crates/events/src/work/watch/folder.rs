//! The folder as the disk shows it: opened once, everything in it is reached through that one handle.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use dte_base::time::Timestamp;
use rustix::fs::{self as disk, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::model::file::{Complete, Look};
use crate::model::watch::is_ignored;

/// Read at once when summing.
const CHUNK: usize = 256 << 10;

/// A watched folder.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
    /// Device and inode: tells this folder from another that takes its name.
    identity: (u64, u64),
}

/// Why a file could not be read whole.
#[derive(Debug)]
pub enum NotRead {
    /// Gone by now, or a symlink, folder, device.
    NotAFile,
    /// It changed while it was read.
    Changed(Look),
    Failed(Look, std::io::Error),
}

impl Folder {
    pub fn open(path: &Path) -> std::io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = disk::open(path, flags, Mode::empty())?;
        let identity = identity_of(&disk::fstat(&handle)?);
        Ok(Folder { handle, identity })
    }

    /// A path that leads to this very folder while it is open, where `/proc` is mounted.
    pub fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.handle.as_raw_fd())
    }

    /// Whether `path` still leads to this folder.
    pub fn is_still_at(&self, path: &Path) -> bool {
        disk::stat(path).is_ok_and(|stat| identity_of(&stat) == self.identity)
    }

    /// Whether the kernel of this machine hears of every change in it.
    pub fn has_notifications(&self) -> bool {
        disk::fstatfs(&self.handle).is_ok_and(|about| !is_remote(u64::try_from(about.f_type).unwrap_or(0)))
    }

    /// Names of entries that may be files, in order. Names that are not UTF-8 cannot be told to others and are counted only.
    pub fn names(&self) -> std::io::Result<(Vec<String>, usize)> {
        let mut names = Vec::new();
        let mut unnameable = 0;
        for entry in disk::Dir::read_from(&self.handle)? {
            let entry = entry?;
            if !matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) {
                continue;
            }
            match entry.file_name().to_str() {
                Ok(name) if is_ignored(name) => {}
                Ok(name) => names.push(name.to_owned()),
                Err(_) => unnameable += 1,
            }
        }
        names.sort_unstable();
        Ok((names, unnameable))
    }

    /// What is there under `name`; `None` when it is no plain file (any more).
    pub fn look(&self, name: &str) -> std::io::Result<Option<Look>> {
        match disk::statat(&self.handle, OsStr::new(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(look_of(&stat)),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the whole file once for its checksum.
    pub fn read(&self, name: &str, buffer: &mut Vec<u8>) -> Result<Complete, NotRead> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let handle = match disk::openat(&self.handle, OsStr::new(name), flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Err(NotRead::NotAFile),
            Err(error) => {
                return match self.look(name) {
                    Ok(Some(look)) => Err(NotRead::Failed(look, error.into())),
                    _ => Err(NotRead::NotAFile),
                };
            }
        };
        let stat = || disk::fstat(&handle).ok().as_ref().and_then(look_of);
        let before = stat().ok_or(NotRead::NotAFile)?;
        let mut file = match handle.try_clone() {
            Ok(clone) => File::from(clone),
            Err(error) => return Err(NotRead::Failed(before, error)),
        };
        let mut sum = simd_adler32::Adler32::new();
        let mut size = 0;
        buffer.resize(CHUNK, 0);
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => {
                    sum.write(&buffer[..count]);
                    size += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NotRead::Failed(before, error)),
            }
        }
        let after = stat().ok_or(NotRead::NotAFile)?;
        if !before.same_content(&after) || size != after.size {
            return Err(NotRead::Changed(after));
        }
        Ok(Complete { name: name.to_owned(), look: after, adler32: format!("{:08x}", sum.finish()) })
    }
}

fn identity_of(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn look_of(stat: &Stat) -> Option<Look> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let time = |seconds: i64, nanoseconds: u64| {
        let micros = i64::try_from(nanoseconds / 1_000).unwrap_or(0);
        Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros))
    };
    let modified = time(stat.st_mtime, stat.st_mtime_nsec);
    let changed = time(stat.st_ctime, stat.st_ctime_nsec);
    Some(Look {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified,
        quiet_since: modified.max(changed),
        inode: stat.st_ino,
    })
}

/// Filesystems where other machines, or a program, change files without this kernel's telling us (`statfs(2)`).
fn is_remote(kind: u64) -> bool {
    const REMOTE: [u64; 12] = [
        0x6969,      // nfs
        0x6573_5546, // fuse
        0x0102_1997, // 9p
        0xFF53_4D42, // cifs
        0xFE53_4D42, // smb2
        0x517B,      // smb
        0x00C3_6400, // ceph
        0x0BD0_0BD0, // lustre
        0x4750_4653, // gpfs
        0x1983_0326, // beegfs
        0x5346_414F, // afs
        0x6A65_6A63, // coda
    ];
    // Some are stored as negative 32-bit numbers.
    REMOTE.contains(&(kind & 0xFFFF_FFFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_are_read() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("a.csv"), b"Wikipedia").expect("written");
        std::os::unix::fs::symlink(at("a.csv"), at("link")).expect("linked");
        std::fs::create_dir(at("folder")).expect("made");
        std::fs::write(at(".hidden"), b"x").expect("written");
        let folder = Folder::open(place.path()).expect("opens");
        assert_eq!(folder.names().expect("listed"), (vec!["a.csv".to_owned()], 0));
        let mut buffer = Vec::new();
        let read = folder.read("a.csv", &mut buffer).expect("read");
        assert_eq!((read.adler32.as_str(), read.look.size), ("11e60398", 9));
        for name in ["link", "folder", "missing"] {
            assert!(matches!(folder.read(name, &mut buffer), Err(NotRead::NotAFile)), "{name}");
            assert_eq!(folder.look(name).expect("looked"), None, "{name}");
        }
        assert!(folder.is_still_at(place.path()));
    }
}
