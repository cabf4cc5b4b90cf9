//! One storage area: a folder, how it is treated, and the changes that can be made in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dte_protocol_webdav::path::ResourcePath;
use dte_storage::beneath::{Links, Root, rename_at};
use parking_lot::Mutex;
use rustix::fs;
use rustix::io::Errno;

use super::durable::FolderSync;
use super::hidden::{HIDDEN, Hidden};
use super::locks::{Held, Locks};
use super::{Fault, tree};
use crate::model::facts::Facts;
use crate::model::lock::{Pass, Touch};
use crate::model::properties::Room;

/// How an area is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    pub fsync: bool,
    pub recursive_delete: bool,
    /// Whether an upload makes the folders that it needs.
    pub create_parents: bool,
    pub links: Links,
}

/// A storage area at work.
pub struct Area {
    pub name: String,
    /// For whom it is, as the report says.
    pub vos: Vec<String>,
    pub treatment: Treatment,
    /// Where it is, as it was configured.
    pub folder: PathBuf,
    pub root: Root,
    pub hidden: Hidden,
    pub locks: Locks,
    /// Held while properties are changed.
    pub properties: Mutex<()>,
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
    pub fn open(name: &str, vos: &[String], folder: &Path, treatment: Treatment) -> Result<Area, std::io::Error> {
        std::fs::create_dir_all(folder)?;
        let root = Root::open(folder, treatment.links)?;
        let hidden = Hidden::open(&root)?;
        let root = root.hiding(HIDDEN);
        let locks = Locks::open(hidden.shared()?)?;
        let folders = FolderSync::default();
        Ok(Area {
            name: name.to_owned(),
            vos: vos.to_vec(),
            treatment,
            folder: folder.to_owned(),
            root,
            hidden,
            locks,
            properties: Mutex::new(()),
            folders,
        })
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

    /// Holds the locks still for a change, if none of them is in its way.
    pub fn unlocked(&self, touches: &[Touch], pass: &Pass) -> Result<Held<'_>, Fault> {
        self.passed(self.locks.hold()?, touches, pass)
    }

    /// The same for giving something this name, and for whatever else is changed with that.
    pub fn unlocked_name(&self, path: &ResourcePath, more: &[Touch], pass: &Pass) -> Result<Held<'_>, Fault> {
        let held = self.locks.hold()?;
        // Looked at under the hold, so that no lock comes between the look and the change.
        let mut touches = if held.is_empty() { Vec::new() } else { self.naming(path)? };
        touches.extend_from_slice(more);
        self.passed(held, &touches, pass)
    }

    fn passed<'a>(&self, held: Held<'a>, touches: &[Touch], pass: &Pass) -> Result<Held<'a>, Fault> {
        match held.in_the_way(touches, pass) {
            Some(lock) => Err(Fault::Locked(self.full(&lock.path).as_collection(lock.is_folder))),
            None => Ok(held),
        }
    }

    /// The path with the area's name before it.
    pub fn full(&self, path: &ResourcePath) -> ResourcePath {
        let text = if path.is_root() { format!("/{}", self.name) } else { format!("/{}{}", self.name, path.plain()) };
        ResourcePath::from_plain(&text).unwrap_or_default()
    }

    /// What is changed by giving something this name: what has it already, or the members of the folder that is there.
    fn naming(&self, path: &ResourcePath) -> Result<Vec<Touch>, Errno> {
        if self.look(path)?.is_some() {
            return Ok(vec![Touch::Tree(path.clone())]);
        }
        let mut folder = path.parent().unwrap_or_default();
        while self.look(&folder)?.is_none() {
            folder = folder.parent().unwrap_or_default();
        }
        Ok(vec![Touch::One(path.clone()), Touch::Members(folder)])
    }

    /// Makes one folder; its parent must exist.
    pub fn make_folder(&self, path: &ResourcePath, pass: &Pass) -> Result<(), Fault> {
        let held = self.unlocked_name(path, &[], pass)?;
        match self.root.make_folder(path) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Fault::Exists),
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Fault::NoParent),
            Err(error) => return Err(error.into()),
        }
        drop(held);
        Ok(self.sync_parent(path)?)
    }

    /// Makes a folder and those above it.
    pub fn make_folders(&self, path: &ResourcePath) -> Result<(), Fault> {
        for made in self.root.make_folders(path)? {
            self.sync_parent(&made)?;
        }
        Ok(())
    }

    /// Deletes a file, or a folder: with all that is in it, where the area is set so.
    pub fn delete(&self, path: &ResourcePath, pass: &Pass) -> Result<(), Fault> {
        let held = self.unlocked(&whole(path), pass)?;
        let rest = self.take_away(path)?;
        let gone = held.tokens_within(path);
        drop(held);
        self.locks.forget(&gone);
        if let Some(name) = rest {
            self.hidden.discard(&name);
        }
        Ok(self.sync_parent(path)?)
    }

    /// A whole tree leaves at once; it then has the name in the hidden folder that this gives.
    fn take_away(&self, path: &ResourcePath) -> Result<Option<String>, Fault> {
        if !self.facts(path)?.is_folder() {
            self.root.delete_file(path)?;
            return Ok(None);
        }
        match self.root.delete_folder(path) {
            Ok(()) => return Ok(None),
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.treatment.recursive_delete => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(Fault::NotEmpty),
            Err(error) => return Err(error.into()),
        }
        let name = self.hidden.fresh_name();
        let (parent, old) = self.root.open_parent(path)?;
        rename_at(&parent, old, self.hidden.dir(), &name, false)?;
        Ok(Some(name))
    }

    /// Gives a file or folder another name.
    pub fn relocate(
        &self,
        from: &ResourcePath,
        to: &ResourcePath,
        overwrite: bool,
        pass: &Pass,
    ) -> Result<Outcome, Fault> {
        let held = self.unlocked_name(to, &whole(from), pass)?;
        self.facts(from)?;
        let (from_parent, from_name) = self.root.open_parent(from)?;
        let named = self.name_as(&from_parent, from_name, to, overwrite)?;
        let moved = held.tokens_within(from);
        let settled = self.settle(named, held, to);
        self.locks.forget(&moved);
        self.sync_parent(from)?;
        settled
    }

    /// Copies a file or folder. It is made out of sight and appears whole.
    pub fn copy(
        &self,
        from: &ResourcePath,
        to: &ResourcePath,
        overwrite: bool,
        deep: bool,
        pass: &Pass,
    ) -> Result<Outcome, Fault> {
        // Looked at now as well, so that nothing is copied in vain.
        drop(self.unlocked_name(to, &[], pass)?);
        if !overwrite && self.look(to)?.is_some() {
            return Err(Fault::Exists);
        }
        let (from_parent, from_name) = self.root.open_parent(from)?;
        let name = self.hidden.fresh_name();
        let dir = self.hidden.dir();
        let copied = tree::copy(&from_parent, from_name, dir, &name, deep, self.treatment.fsync);
        let named = copied.and_then(|()| {
            let held = self.unlocked_name(to, &[], pass)?;
            Ok((self.name_as(dir, &name, to, overwrite)?, held))
        });
        match named {
            Ok((named, held)) => self.settle(named, held, to),
            Err(fault) => {
                self.hidden.discard(&name);
                Err(fault)
            }
        }
    }

    /// Ends what [`Area::name_as`] began. A lock of the name stays with the name, others belonged to what was replaced.
    /// Only locks that were there then are forgotten: somebody may lock the name as soon as the hold ends.
    fn settle(&self, named: Named, held: Held<'_>, to: &ResourcePath) -> Result<Outcome, Fault> {
        let gone = named.aside.as_ref().map(|_| held.tokens_below(to)).unwrap_or_default();
        drop(held);
        self.locks.forget(&gone);
        if let Some(old) = named.aside {
            self.hidden.discard(&old);
        }
        self.sync_parent(to)?;
        Ok(named.outcome)
    }

    /// Moves what has a name in an open folder to `to`. What was there goes away only when the new is in its place.
    fn name_as(
        &self,
        from: impl std::os::fd::AsFd,
        name: &str,
        to: &ResourcePath,
        overwrite: bool,
    ) -> Result<Named, Fault> {
        let plainly = |outcome| Ok(Named { outcome, aside: None });
        let (to_parent, to_name) = match self.root.open_parent(to) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Fault::NoParent),
            other => other?,
        };
        match rename_at(&from, name, &to_parent, to_name, false) {
            Ok(()) => return plainly(Outcome::Created),
            Err(Errno::EXIST) if overwrite => {}
            Err(Errno::EXIST) => return Err(Fault::Exists),
            Err(error) => return Err(error.into()),
        }
        match fs::renameat(&from, name, &to_parent, to_name) {
            Ok(()) => return plainly(Outcome::Replaced),
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
        Ok(Named { outcome: Outcome::Replaced, aside: Some(aside) })
    }
}

/// A name that was given.
struct Named {
    outcome: Outcome,
    /// What stepped aside for it, in the hidden folder.
    aside: Option<String>,
}

/// What is changed by taking a name away.
fn whole(path: &ResourcePath) -> [Touch; 2] {
    [Touch::Tree(path.clone()), Touch::Members(path.parent().unwrap_or_default())]
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
        Area::open(
            "a",
            &[],
            folder,
            Treatment { fsync: true, recursive_delete, create_parents: true, links: Links::Refused },
        )
        .expect("opens")
    }

    #[test]
    fn deleting_folders() {
        let temp = tempfile::tempdir().expect("temp");
        let strict = area(&temp.path().join("s"), false);
        strict.make_folders(&path("/a/b")).expect("makes");
        assert_eq!(strict.delete(&path("/a"), &Pass::default()), Err(Fault::NotEmpty));
        strict.delete(&path("/a/b"), &Pass::default()).expect("deletes");
        strict.delete(&path("/a"), &Pass::default()).expect("deletes");
        assert_eq!(strict.delete(&path("/a"), &Pass::default()), Err(Fault::Os(Errno::NOENT)));
        let free = area(&temp.path().join("f"), true);
        free.make_folders(&path("/a/b")).expect("makes");
        free.delete(&path("/a"), &Pass::default()).expect("deletes");
        assert_eq!(free.look(&path("/a")), Ok(None));
    }

    #[test]
    fn moving_and_copying() {
        let temp = tempfile::tempdir().expect("temp");
        let area = area(temp.path(), true);
        area.make_folders(&path("/a/b")).expect("makes");
        std::fs::write(temp.path().join("a/b/f"), "content").expect("writes");
        assert_eq!(area.copy(&path("/a"), &path("/c"), false, true, &Pass::default()), Ok(Outcome::Created));
        assert_eq!(std::fs::read_to_string(temp.path().join("c/b/f")).expect("reads"), "content");
        assert_eq!(area.copy(&path("/a"), &path("/c"), false, true, &Pass::default()), Err(Fault::Exists));
        assert_eq!(area.copy(&path("/a"), &path("/c"), true, false, &Pass::default()), Ok(Outcome::Replaced));
        assert_eq!(area.look(&path("/c/b")), Ok(None));
        assert_eq!(area.relocate(&path("/a/b/f"), &path("/c"), true, &Pass::default()), Ok(Outcome::Replaced));
        assert_eq!(area.relocate(&path("/a"), &path("/x/y"), true, &Pass::default()), Err(Fault::NoParent));
        assert_eq!(area.relocate(&path("/a"), &path("/a/b/z"), true, &Pass::default()), Err(Fault::Os(Errno::INVAL)));
        assert_eq!(area.relocate(&path("/none"), &path("/n"), true, &Pass::default()), Err(Fault::Os(Errno::NOENT)));
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
