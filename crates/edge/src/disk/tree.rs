//! Whole folders: listing, removing, copying. Never follows a link.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

use super::{Fault, kept, sums};
use dte_storage::beneath::create_at;

type Copied = std::result::Result<(), Fault>;

/// Deeper folders are not copied.
const MAX_DEPTH: usize = 128;

/// The names in an open folder.
pub fn names(folder: impl AsFd) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => found.push(name.to_owned()),
            // A name that is not UTF-8 has no URL; it is passed over, and keeps its folder from being removed.
            Err(_) => tracing::debug!("a name that is not UTF-8 is passed over"),
        }
    }
    Ok(found)
}

fn open_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd> {
    fs::openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes a file, link or folder with all that is in it.
pub fn remove(parent: impl AsFd, name: &str) -> Result<()> {
    match fs::unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    let dir = open_dir(&parent, name)?;
    for inner in names(&dir)? {
        remove(&dir, &inner)?;
    }
    fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
}

/// Copies a file, or a folder with all that is in it, to a name that is free. Links and special files are left out.
/// With `deep` false a folder is copied without its members. `durable` syncs everything.
pub fn copy(from: impl AsFd, name: &str, to: impl AsFd, new: &str, deep: bool, durable: bool) -> Copied {
    copy_level(from.as_fd(), name, to.as_fd(), new, Mood { deep, durable }, 0)
}

#[derive(Clone, Copy)]
struct Mood {
    deep: bool,
    durable: bool,
}

fn copy_level(
    from: std::os::fd::BorrowedFd<'_>,
    name: &str,
    to: std::os::fd::BorrowedFd<'_>,
    new: &str,
    mood: Mood,
    depth: usize,
) -> Copied {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP.into());
    }
    let stat = fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => copy_file(from, name, to, new, mood.durable),
        FileType::Directory => {
            fs::mkdirat(to, new, Mode::from_raw_mode(0o777))?;
            let (source, target) = (open_dir(from, name)?, open_dir(to, new)?);
            for inner in if mood.deep { names(&source)? } else { Vec::new() } {
                if depth == 0 && inner == super::hidden::HIDDEN {
                    continue;
                }
                copy_level(source.as_fd(), &inner, target.as_fd(), &inner, mood, depth + 1)?;
            }
            kept::carry_over(&source, &target)?;
            if mood.durable { Ok(fs::fsync(&target)?) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// Copies by reference where the filesystem can, else inside the kernel.
fn copy_file(from: impl AsFd, name: &str, to: impl AsFd, new: &str, durable: bool) -> Copied {
    let source = fs::openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let target = create_at(to, new)?;
    loop {
        match fs::copy_file_range(&source, None, &target, None, 1 << 30) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                copy_by_hand(&source, &target)?;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    sums::carry_over(&source, &target);
    kept::carry_over(&source, &target)?;
    if durable { Ok(fs::fsync(&target)?) } else { Ok(()) }
}

fn copy_by_hand(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match rustix::io::read(source, &mut buffer[..]) {
            Ok(0) => return Ok(()),
            Ok(n) => dte_storage::beneath::write_all(target, &buffer[..n])?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
