//! A folder handle below which paths are opened, and from which none leads out.
//!
//! The kernel itself resolves with `openat2(RESOLVE_BENEATH)`; where a sandbox or an old kernel has no such call, the path is
//! walked component by component without following any link.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use dte_protocol_webdav::path::ResourcePath;
use rustix::fs::{self, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// What to do with symbolic links below the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// A link in a path is an error.
    #[default]
    Refused,
    /// Links are followed as long as they stay below the root.
    Within,
}

/// The mode of folders that are made, before the process's mask.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
/// The mode of files that are made, before the process's mask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// How often the kernel is asked again when folders move under its eyes.
const RESOLVE_ATTEMPTS: usize = 64;

/// An open folder that is the root of all paths.
pub struct Root {
    dir: OwnedFd,
    links: Links,
    has_openat2: AtomicBool,
    /// A folder directly in the root to which no link leads.
    hidden: Option<String>,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Root {
    /// Opens `path`, which must be a folder.
    pub fn open(path: &Path, links: Links) -> Result<Root> {
        let dir = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Root { dir, links, has_openat2: AtomicBool::new(true), hidden: None })
    }

    /// Closes a folder directly in the root to links that are followed. Paths that name it are the caller's to refuse.
    #[must_use]
    pub fn hiding(self, name: &str) -> Root {
        Root { hidden: Some(name.to_owned()), ..self }
    }

    /// What was opened, unless it is in the hidden folder. The kernel knows where a path ended.
    fn shown(&self, opened: OwnedFd) -> Result<OwnedFd> {
        let Some(hidden) = self.hidden.as_ref().filter(|_| self.links == Links::Within) else { return Ok(opened) };
        let place = |fd: BorrowedFd<'_>| {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            std::fs::read_link(link).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        if place(opened.as_fd())?.starts_with(place(self.dir.as_fd())?.join(hidden)) {
            return Err(Errno::NOENT);
        }
        Ok(opened)
    }

    /// Opens a file for reading; a folder opens too (tell by `fstat`). Never waits for a pipe's other end.
    pub fn open_read(&self, path: &ResourcePath) -> Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, ResolveFlags::empty())
    }

    /// Like [`Root::open_read`] as long as no disk is touched; [`Errno::AGAIN`] otherwise. Safe on an async thread.
    pub fn open_read_cached(&self, path: &ResourcePath) -> Result<OwnedFd> {
        if !self.has_openat2.load(Ordering::Relaxed) {
            return Err(Errno::AGAIN);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        match self.openat2(path, flags, ResolveFlags::CACHED) {
            // A kernel without this flag calls it invalid.
            Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::AGAIN),
            other => other,
        }
    }

    /// A handle on a folder, good for the calls that end in `at`.
    pub fn open_folder(&self, path: &ResourcePath) -> Result<OwnedFd> {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty())
    }

    /// A handle on a folder that can be listed and synced.
    pub fn open_folder_read(&self, path: &ResourcePath) -> Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, ResolveFlags::empty())
    }

    /// The folder that holds `path`, and the name in it. The root itself has none: [`Errno::PERM`].
    pub fn open_parent<'a>(&self, path: &'a ResourcePath) -> Result<(OwnedFd, &'a str)> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Err(Errno::PERM) };
        Ok((self.open_folder(&parent)?, name))
    }

    /// Makes a folder and those above it; says which of them are new, outermost first.
    pub fn make_folders(&self, path: &ResourcePath) -> Result<Vec<ResourcePath>> {
        match self.open_folder(path) {
            Ok(_) => return Ok(Vec::new()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let mut made = match path.parent() {
            Some(parent) => self.make_folders(&parent)?,
            None => return Err(Errno::NOENT),
        };
        let (parent, name) = self.open_parent(path)?;
        match fs::mkdirat(&parent, name, FOLDER_MODE) {
            Ok(()) => made.push(path.clone()),
            // Another request made it meanwhile.
            Err(Errno::EXIST) => drop(self.open_folder(path)?),
            Err(error) => return Err(error),
        }
        Ok(made)
    }

    /// Makes one folder; its parent must exist.
    pub fn make_folder(&self, path: &ResourcePath) -> Result<()> {
        let (parent, name) = self.open_parent(path)?;
        fs::mkdirat(&parent, name, FOLDER_MODE)
    }

    /// `stat` without following a link at the end.
    pub fn stat(&self, path: &ResourcePath) -> Result<fs::Stat> {
        if path.is_root() {
            return fs::fstat(&self.dir);
        }
        match self.links {
            Links::Within => fs::fstat(self.open_at(path, OFlags::PATH, ResolveFlags::empty())?),
            Links::Refused => {
                let (parent, name) = self.open_parent(path)?;
                let stat = fs::statat(&parent, name, fs::AtFlags::SYMLINK_NOFOLLOW)?;
                if fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::Symlink {
                    return Err(Errno::LOOP);
                }
                Ok(stat)
            }
        }
    }

    /// Gives `from` the name `to`. Without `overwrite`, one that exists is [`Errno::EXIST`], decided by the kernel at once.
    pub fn rename(&self, from: &ResourcePath, to: &ResourcePath, overwrite: bool) -> Result<()> {
        let (from_folder, from_name) = self.open_parent(from)?;
        let (to_folder, to_name) = self.open_parent(to)?;
        rename_at(&from_folder, from_name, &to_folder, to_name, overwrite)
    }

    /// Deletes a file.
    pub fn delete_file(&self, path: &ResourcePath) -> Result<()> {
        let (parent, name) = self.open_parent(path)?;
        fs::unlinkat(&parent, name, fs::AtFlags::empty())
    }

    /// Deletes an empty folder.
    pub fn delete_folder(&self, path: &ResourcePath) -> Result<()> {
        let (parent, name) = self.open_parent(path)?;
        fs::unlinkat(&parent, name, fs::AtFlags::REMOVEDIR)
    }

    /// Makes the entries of a folder durable.
    pub fn sync_folder(&self, path: &ResourcePath) -> Result<()> {
        fs::fsync(self.open_folder_read(path)?)
    }

    fn open_at(&self, path: &ResourcePath, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
        if self.has_openat2.load(Ordering::Relaxed) {
            match self.openat2(path, flags, resolve) {
                Err(Errno::NOSYS) => self.has_openat2.store(false, Ordering::Relaxed),
                other => return other,
            }
        }
        self.walk(path, flags)
    }

    fn openat2(&self, path: &ResourcePath, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
        let mut resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if self.links == Links::Refused {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        let relative = path.relative();
        for _ in 0..RESOLVE_ATTEMPTS {
            match fs::openat2(&self.dir, relative.as_str(), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Without CACHED this only means that a folder above was renamed while the kernel looked.
                Err(Errno::AGAIN) if !resolve.contains(ResolveFlags::CACHED) => {}
                Err(Errno::INTR) => {}
                // This is how the kernel says that a path leads out; between filesystems the same number means another thing.
                Err(Errno::XDEV) => return Err(Errno::ACCESS),
                other => return other.and_then(|opened| self.shown(opened)),
            }
        }
        Err(Errno::AGAIN)
    }

    fn walk(&self, path: &ResourcePath, flags: OFlags) -> Result<OwnedFd> {
        let above = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some((name, folders)) = path.components().split_last() else {
            return fs::openat(&self.dir, ".", flags | OFlags::CLOEXEC, Mode::empty());
        };
        let mut at: Option<OwnedFd> = None;
        for folder in folders {
            let from = at.as_ref().map_or(self.dir.as_fd(), AsFd::as_fd);
            at = Some(fs::openat(from, folder.as_str(), above, Mode::empty())?);
        }
        let from = at.as_ref().map_or(self.dir.as_fd(), AsFd::as_fd);
        fs::openat(from, name.as_str(), flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }
}

/// Creates a new file in an open folder.
pub fn create_at(folder: impl AsFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, FILE_MODE)
}

/// `renameat2`; where the filesystem has no `RENAME_NOREPLACE`, a hard link that fails on an existing name does the same.
pub fn rename_at(from: impl AsFd, from_name: &str, to: impl AsFd, to_name: &str, overwrite: bool) -> Result<()> {
    if overwrite {
        return fs::renameat(from, from_name, to, to_name);
    }
    match fs::renameat_with(&from, from_name, &to, to_name, RenameFlags::NOREPLACE) {
        Err(refusal @ (Errno::INVAL | Errno::NOSYS)) => {
            match fs::linkat(&from, from_name, &to, to_name, fs::AtFlags::empty()) {
                // A folder has no second name; then it was the request that was invalid.
                Err(Errno::PERM | Errno::OPNOTSUPP) => Err(refusal),
                other => other.and_then(|()| fs::unlinkat(&from, from_name, fs::AtFlags::empty())),
            }
        }
        other => other,
    }
}

/// Writes all of `data` at the end of what was written before.
pub fn write_all(file: impl AsFd, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        match rustix::io::write(&file, data) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => data = data.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ResourcePath {
        ResourcePath::from_plain(text).expect("a path")
    }

    #[test]
    fn nothing_leads_out() {
        let temp = tempfile::tempdir().expect("temp");
        std::fs::write(temp.path().join("secret"), "s").expect("write");
        let inside = temp.path().join("root");
        std::fs::create_dir_all(inside.join("sub")).expect("mkdir");
        std::fs::write(inside.join("sub/file"), "f").expect("write");
        std::os::unix::fs::symlink("../secret", inside.join("out")).expect("link");
        std::os::unix::fs::symlink("/etc", inside.join("abs")).expect("link");
        std::os::unix::fs::symlink("sub/file", inside.join("in")).expect("link");
        for links in [Links::Refused, Links::Within] {
            let root = Root::open(&inside, links).expect("opens");
            for openat2 in [true, false] {
                root.has_openat2.store(openat2, Ordering::Relaxed);
                assert!(root.open_read(&path("/sub/file")).is_ok());
                assert!(root.open_read(&path("/out")).is_err());
                assert!(root.open_read(&path("/abs/passwd")).is_err());
                assert!(root.open_folder(&path("/abs")).is_err());
                let followed = root.open_read(&path("/in")).is_ok();
                assert_eq!(followed, links == Links::Within && openat2);
            }
        }
    }

    #[test]
    fn folders_and_names() {
        let temp = tempfile::tempdir().expect("temp");
        let root = Root::open(temp.path(), Links::Refused).expect("opens");
        assert_eq!(root.make_folders(&path("/a/b/c")).expect("makes").len(), 3);
        assert_eq!(root.make_folders(&path("/a/b/c")).expect("makes").len(), 0);
        let new = path("/a/b/f");
        let (folder, name) = root.open_parent(&new).expect("opens");
        let file = create_at(&folder, name).expect("creates");
        write_all(&file, b"abc").expect("writes");
        assert_eq!(root.stat(&path("/a/b/f")).expect("stat").st_size, 3);
        drop(create_at(&folder, "g").expect("creates"));
        assert_eq!(root.rename(&path("/a/b/f"), &path("/a/b/g"), false), Err(Errno::EXIST));
        root.rename(&path("/a/b/f"), &path("/a/b/g"), true).expect("renames");
        assert_eq!(root.make_folders(&path("/a/b/g/x")), Err(Errno::NOTDIR));
        root.delete_file(&path("/a/b/g")).expect("deletes");
        root.delete_folder(&path("/a/b/c")).expect("deletes");
        assert_eq!(root.delete_folder(&ResourcePath::root()), Err(Errno::PERM));
    }
}
