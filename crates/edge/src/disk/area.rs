//! One storage area: a folder, how it is treated, and the changes that can be made in it.

use std::path::Path;
use std::sync::Arc;

use dte_protocol_webdav::path::ResourcePath;
use dte_storage::beneath::{Links, Root, rename_at};
use rustix::fs;
use rustix::io::Errno;

use super::durable::FolderSync;
use super::hidden::{HIDDEN, Hidden};
use super::{Fault, tree};
use crate::model::facts::Facts;
use crate::model::properties::Room;

/// How an area is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    pub fsync: bool,
    pub recursive_delete: bool,
    pub links: Links,
}

/// A storage area at work.
pub struct Area {
    pub name: String,
    pub treatment: Treatment,
    pub root: Root,
    pub hidden: Hidden,
    folders: FolderSync,
}

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Replaced,
}

impl Area {
    /// Opens an area, making its folder, and removes what an earlier engine left half-written.
    pub fn open(name: &str, folder: &Path, treatment: Treatment) -> Result<Area, std::io::Error> {
        std::fs::create_dir_all(folder)?;
        let root = Root::open(folder, treatment.links)?;
        let hidden = Hidden::open(&root)?;
        let folders = FolderSync::default();
        Ok(Area { name: name.to_owned(), treatment, root, hidden, folders })
    }

    /// Whether a path leads into the hidden folder.
    pub fn is_hidden(path: &ResourcePath) -> bool {
        path.components().first().is_some_and(|first| first == HIDDEN)
    }

    pub fn facts(&self, path: &ResourcePath) -> Result<Facts, Errno> {
        self.root.stat(path).map(|stat| Facts::from(&stat))
    }

    /// The same, or `None` when there is nothing.
    pub fn look(&self, path: &ResourcePath) -> Result<Option<Facts>, Errno> {
        match self.facts(path) {
            Ok(facts) => Ok(Some(facts)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What was named with a slash at its end is a folder, or is not there.
    pub fn must_be_folder(&self, path: &ResourcePath) -> Result<(), Errno> {
        if self.facts(path)?.is_folder() { Ok(()) } else { Err(Errno::NOTDIR) }
    }

    /// Room in the filesystem.
    pub fn room(&self) -> Result<Room, Errno> {
        let stat = fs::fstatvfs(&self.root)?;
        let block = stat.f_frsize;
        Ok(Room { used: stat.f_blocks.saturating_sub(stat.f_bfree) * block, available: stat.f_bavail * block })
    }

    /// Makes the entries of a folder durable, if this area promises that.
    pub fn sync_folder(&self, folder: &ResourcePath) -> Result<(), Errno> {
        if self.treatment.fsync { self.folders.sync(&self.root, folder) } else { Ok(()) }
    }

    fn sync_parent(&self, path: &ResourcePath) -> Result<(), Errno> {
        self.sync_folder(&path.parent().unwrap_or_default())
    }

    /// Makes one folder; its parent must exist.
    pub fn make_folder(&self, path: &ResourcePath) -> Result<(), Fault> {
        match self.root.make_folder(path) {
            Ok(()) => Ok(self.sync_parent(path)?),
            Err(Errno::EXIST) => Err(Fault::Exists),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Fault::NoParent),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a folder and those above it.
    pub fn make_folders(&self, path: &ResourcePath) -> Result<(), Fault> {
        for made in self.root.make_folders(path)? {
            self.sync_parent(&made)?;
        }
        Ok(())
    }

    /// Deletes a file, or a folder: with all that is in it, where the area is set so.
    pub fn delete(&self, path: &ResourcePath) -> Result<(), Fault> {
        let facts = self.facts(path)?;
        if !facts.is_folder() {
            self.root.delete_file(path)?;
        } else {
            match self.root.delete_folder(path) {
                Ok(()) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) if self.treatment.recursive_delete => self.delete_tree(path)?,
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(Fault::NotEmpty),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.sync_parent(path)?)
    }

    /// The whole tree leaves at once, then goes away bit by bit out of sight.
    fn delete_tree(&self, path: &ResourcePath) -> Result<(), Fault> {
        let name = self.hidden.fresh_name();
        let (parent, old) = self.root.open_parent(path)?;
        rename_at(&parent, old, self.hidden.dir(), &name, false)?;
        self.hidden.discard(&name);
        Ok(())
    }

    /// Gives a file or folder another name.
    pub fn relocate(&self, from: &ResourcePath, to: &ResourcePath, overwrite: bool) -> Result<Outcome, Fault> {
        self.facts(from)?;
        let (from_parent, from_name) = self.root.open_parent(from)?;
        let outcome = self.name_as(&from_parent, from_name, to, overwrite)?;
        self.sync_parent(from)?;
        self.sync_parent(to)?;
        Ok(outcome)
    }

    /// Copies a file or folder. It is made out of sight and appears whole.
    pub fn copy(&self, from: &ResourcePath, to: &ResourcePath, overwrite: bool, deep: bool) -> Result<Outcome, Fault> {
        if !overwrite && self.look(to)?.is_some() {
            return Err(Fault::Exists);
        }
        let (from_parent, from_name) = self.root.open_parent(from)?;
        let name = self.hidden.fresh_name();
        let dir = self.hidden.dir();
        let made = tree::copy(&from_parent, from_name, dir, &name, deep, self.treatment.fsync).map_err(Fault::from);
        let outcome = made.and_then(|()| self.name_as(dir, &name, to, overwrite));
        if outcome.is_err() {
            self.hidden.discard(&name);
        }
        self.sync_parent(to)?;
        outcome
    }

    /// Moves what has a name in an open folder to `to`. What was there goes away only when the new is in its place.
    fn name_as(
        &self,
        from: impl std::os::fd::AsFd,
        name: &str,
        to: &ResourcePath,
        overwrite: bool,
    ) -> Result<Outcome, Fault> {
        let (to_parent, to_name) = match self.root.open_parent(to) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Fault::NoParent),
            other => other?,
        };
        match rename_at(&from, name, &to_parent, to_name, false) {
            Ok(()) => return Ok(Outcome::Created),
            Err(Errno::EXIST) if overwrite => {}
            Err(Errno::EXIST) => return Err(Fault::Exists),
            Err(error) => return Err(error.into()),
        }
        match fs::renameat(&from, name, &to_parent, to_name) {
            Ok(()) => return Ok(Outcome::Replaced),
            Err(Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // A folder is in the way, or is to take the place of a file: the old steps aside first.
        let is_full_folder = self.facts(to)?.is_folder() && !tree::names(self.root.open_folder_read(to)?)?.is_empty();
        if is_full_folder && !self.treatment.recursive_delete {
            return Err(Fault::NotEmpty);
        }
        let aside = self.hidden.fresh_name();
        rename_at(&to_parent, to_name, self.hidden.dir(), &aside, false)?;
        if let Err(error) = rename_at(&from, name, &to_parent, to_name, false) {
            rename_at(self.hidden.dir(), &aside, &to_parent, to_name, false)?;
            return Err(error.into());
        }
        self.hidden.discard(&aside);
        Ok(Outcome::Replaced)
    }
}

/// An area that requests share.
pub type SharedArea = Arc<Area>;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ResourcePath {
        ResourcePath::from_plain(text).expect("path")
    }

    fn area(folder: &Path, recursive_delete: bool) -> Area {
        Area::open("a", folder, Treatment { fsync: true, recursive_delete, links: Links::Refused }).expect("opens")
    }

    #[test]
    fn deleting_folders() {
        let temp = tempfile::tempdir().expect("temp");
        let strict = area(&temp.path().join("s"), false);
        strict.make_folders(&path("/a/b")).expect("makes");
        assert_eq!(strict.delete(&path("/a")), Err(Fault::NotEmpty));
        strict.delete(&path("/a/b")).expect("deletes");
        strict.delete(&path("/a")).expect("deletes");
        assert_eq!(strict.delete(&path("/a")), Err(Fault::Os(Errno::NOENT)));
        let free = area(&temp.path().join("f"), true);
        free.make_folders(&path("/a/b")).expect("makes");
        free.delete(&path("/a")).expect("deletes");
        assert_eq!(free.look(&path("/a")), Ok(None));
    }

    #[test]
    fn moving_and_copying() {
        let temp = tempfile::tempdir().expect("temp");
        let area = area(temp.path(), true);
        area.make_folders(&path("/a/b")).expect("makes");
        std::fs::write(temp.path().join("a/b/f"), "content").expect("writes");
        assert_eq!(area.copy(&path("/a"), &path("/c"), false, true), Ok(Outcome::Created));
        assert_eq!(std::fs::read_to_string(temp.path().join("c/b/f")).expect("reads"), "content");
        assert_eq!(area.copy(&path("/a"), &path("/c"), false, true), Err(Fault::Exists));
        assert_eq!(area.copy(&path("/a"), &path("/c"), true, false), Ok(Outcome::Replaced));
        assert_eq!(area.look(&path("/c/b")), Ok(None));
        assert_eq!(area.relocate(&path("/a/b/f"), &path("/c"), true), Ok(Outcome::Replaced));
        assert_eq!(area.relocate(&path("/a"), &path("/x/y"), true), Err(Fault::NoParent));
        assert_eq!(area.relocate(&path("/a"), &path("/a/b/z"), true), Err(Fault::Os(Errno::INVAL)));
        assert_eq!(area.relocate(&path("/none"), &path("/n"), true), Err(Fault::Os(Errno::NOENT)));
        assert_eq!(std::fs::read_to_string(temp.path().join("c")).expect("reads"), "content");
    }

    #[test]
    fn what_an_earlier_engine_left_goes_away() {
        let temp = tempfile::tempdir().expect("temp");
        let left = temp.path().join(HIDDEN).join("earlier");
        std::fs::create_dir_all(&left).expect("makes");
        std::fs::write(left.join("1"), "half").expect("writes");
        let first = area(temp.path(), false);
        assert!(!left.exists());
        // A second engine on the same folder leaves the first one alone.
        let (name, _file) = first.hidden.create().expect("creates");
        let second = area(temp.path(), false);
        assert_eq!(tree::names(first.hidden.dir()).expect("lists"), [name]);
        drop(second);
    }
}
