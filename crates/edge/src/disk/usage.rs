//! How much is stored in an area.

use std::collections::BTreeMap;

use dte_protocol_webdav::path::ResourcePath;
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::area::Area;
use super::{Fault, tree};
use crate::model::facts::{Facts, Kind};
use crate::model::report::{Filesystem, Usage};

/// Bytes of a block, as `stat` counts them.
const BLOCK: u64 = 512;

/// What an area holds, and what each folder directly in it holds.
#[derive(Default)]
pub struct Found {
    pub whole: Usage,
    pub folders: BTreeMap<String, Usage>,
}

/// Looks through the whole area. Links are not followed; what goes away meanwhile is not counted, nor is a folder that cannot be
/// looked into: the log says which. `goes_on` is asked at each folder; the answer is `None` when it says no.
pub fn measure(area: &Area, goes_on: impl Fn() -> bool) -> Result<Option<Found>, Fault> {
    let mut found = Found::default();
    let mut ahead = vec![ResourcePath::root()];
    while let Some(path) = ahead.pop() {
        if !goes_on() {
            return Ok(None);
        }
        match look_into(area, &path, &mut found) {
            Ok(folders) => ahead.extend(folders),
            Err(error) if path.is_root() => return Err(error.into()),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => tracing::warn!(area = area.name, %path, %error, "a folder is missing in the report"),
        }
    }
    Ok(Some(found))
}

/// Counts the files of one folder; gives the folders in it.
fn look_into(area: &Area, path: &ResourcePath, found: &mut Found) -> Result<Vec<ResourcePath>, Errno> {
    let folder = area.root.open_folder_read(path)?;
    let mut folders = Vec::new();
    for name in tree::names(&folder)? {
        let Ok(inner) = path.child(&name) else { continue };
        // What cannot be looked at is not there for anybody.
        let Ok(stat) = fs::statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let facts = Facts::from(&stat);
        match facts.kind {
            Kind::Folder if !Area::is_hidden(&inner) => {
                if path.is_root() {
                    // Also one that is empty has its numbers.
                    found.folders.entry(name).or_default();
                }
                folders.push(inner);
            }
            Kind::File => {
                let on_disk = u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
                let file = Usage { files: 1, bytes: facts.size, on_disk };
                found.whole += file;
                if let Some(folder) = path.components().first() {
                    *found.folders.entry(folder.clone()).or_default() += file;
                }
            }
            Kind::Folder | Kind::Other => {}
        }
    }
    Ok(folders)
}

/// The filesystem on which an area lies.
pub fn filesystem(area: &Area) -> Result<Filesystem, Fault> {
    let device = fs::fstat(&area.root)?.st_dev;
    Ok(Filesystem { device, room: area.room()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::area::Treatment;
    use dte_storage::beneath::Links;
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::OwnedFd;

    #[test]
    fn a_folder_that_cannot_be_opened_ends_nothing() {
        let temp = tempfile::tempdir().expect("temp");
        let treatment =
            Treatment { fsync: false, recursive_delete: false, create_parents: true, links: Links::Refused };
        let area = Area::open("a", &[], temp.path(), treatment).expect("opens");
        std::fs::create_dir_all(temp.path().join("empty")).expect("makes");
        std::fs::create_dir_all(temp.path().join("full")).expect("makes");
        std::fs::write(temp.path().join("full/f"), "12345").expect("writes");
        // Deeper than a path may be long: made step by step, as an archive that is unpacked does it.
        let mut at = OwnedFd::from(std::fs::File::open(temp.path()).expect("opens"));
        let name = "n".repeat(200);
        for _ in 0..25 {
            fs::mkdirat(&at, name.as_str(), Mode::RWXU).expect("makes");
            at = fs::openat(&at, name.as_str(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).expect("opens");
        }
        let found = measure(&area, || true).expect("measures").expect("goes on");
        assert_eq!((found.whole.files, found.whole.bytes), (1, 5));
        assert_eq!(found.folders.len(), 3);
        assert_eq!(found.folders["empty"], Usage::default());
    }
}
