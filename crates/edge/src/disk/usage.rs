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

/// Looks through the whole area. Links are not followed; what goes away meanwhile is not counted. `goes_on` is asked at each
/// folder; the answer is `None` when it says no.
pub fn measure(area: &Area, goes_on: impl Fn() -> bool) -> Result<Option<Found>, Fault> {
    let mut found = Found::default();
    let mut ahead = vec![ResourcePath::root()];
    while let Some(path) = ahead.pop() {
        if !goes_on() {
            return Ok(None);
        }
        let folder = match area.root.open_folder_read(&path) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR) if !path.is_root() => continue,
            Err(error) => return Err(error.into()),
        };
        for name in tree::names(&folder)? {
            let Ok(inner) = path.child(&name) else { continue };
            let stat = match fs::statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let facts = Facts::from(&stat);
            match facts.kind {
                Kind::Folder if !Area::is_hidden(&inner) => ahead.push(inner),
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
    }
    Ok(Some(found))
}

/// The filesystem on which an area lies.
pub fn filesystem(area: &Area) -> Result<Filesystem, Fault> {
    let device = fs::fstat(&area.root)?.st_dev;
    Ok(Filesystem { device, room: area.room()? })
}
