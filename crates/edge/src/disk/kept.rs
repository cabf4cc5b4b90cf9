//! Properties that clients left, in an extended attribute of the file or folder itself: they go wherever it goes, and away
//! with it. Whoever may not write the file in the filesystem cannot forge them.
//!
//! The folder of the area has a mark as soon as something in it has properties, so that an area without any pays nothing.

use std::os::fd::AsFd;

use dte_protocol_webdav::fragment::Fragment;
use dte_protocol_webdav::multistatus::is_sound;
use dte_protocol_webdav::xml::Name;
use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Fault;
use crate::model::kept::Kept;
use crate::model::properties::is_live;

const ATTRIBUTE: &str = "user.dte.properties";
const MARK: &str = "user.dte.has-properties";
/// All properties of a resource together; many filesystems take less (ext4: what is left of 4 KiB).
const LONGEST: usize = 32 * 1024;

/// One property as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lang: Option<String>,
    xml: String,
}

/// Whether anything in the area whose folder this is may have properties.
pub fn are_used(root: impl AsFd) -> bool {
    let mut mark = [0u8; 1];
    fs::fgetxattr(root, MARK, &mut mark[..]).is_ok()
}

fn raw(file: impl AsFd) -> Result<Option<Vec<u8>>, Errno> {
    let mut buffer = vec![0; LONGEST];
    match fs::fgetxattr(file, ATTRIBUTE, &mut buffer[..]) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        // What is longer than we write is not ours.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The properties of an open file or folder.
pub fn read(file: impl AsFd) -> Result<Kept, Fault> {
    let Some(bytes) = raw(file)? else { return Ok(Kept::default()) };
    let written: Vec<Written> = match serde_json::from_slice(&bytes) {
        Ok(written) => written,
        Err(error) => {
            tracing::warn!(%error, "the properties of a file are none that we wrote, and are passed over");
            return Ok(Kept::default());
        }
    };
    let property = |one: Written| (Name::new(&one.namespace, &one.name), Fragment { lang: one.lang, xml: one.xml });
    let kept: Vec<(Name, Fragment)> = written.into_iter().map(property).collect();
    // Whoever else may write in the folder could have left anything here; nothing of it may spoil an answer.
    Ok(Kept(kept.into_iter().filter(|(name, value)| !is_live(name) && is_sound(name, value)).collect()))
}

/// Writes the properties. [`Fault::NoRoomForProperties`] when the filesystem, or our own limit, takes no more.
pub fn write(root: impl AsFd, file: impl AsFd, kept: &Kept) -> Result<(), Fault> {
    if kept.0.is_empty() {
        return match fs::fremovexattr(file, ATTRIBUTE) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
    let one = |(name, value): &(Name, Fragment)| {
        let (namespace, name) = (name.namespace.clone(), name.local.clone());
        Written { namespace, name, lang: value.lang.clone(), xml: value.xml.clone() }
    };
    let written: Vec<Written> = kept.0.iter().map(one).collect();
    let bytes = serde_json::to_vec(&written).map_err(|_| Fault::Os(Errno::INVAL))?;
    if bytes.len() > LONGEST {
        return Err(Fault::NoRoomForProperties);
    }
    // The mark first: properties without it would not be seen.
    store(&root, MARK, b"1")?;
    store(&file, ATTRIBUTE, &bytes)
}

fn store(file: impl AsFd, name: &str, bytes: &[u8]) -> Result<(), Fault> {
    match fs::fsetxattr(file, name, bytes, XattrFlags::empty()) {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT | Errno::TOOBIG | Errno::RANGE | Errno::OPNOTSUPP) => {
            Err(Fault::NoRoomForProperties)
        }
        Err(error) => Err(error.into()),
    }
}

/// The properties of one file or folder become those of another; says whether there are any.
pub fn carry_over(source: impl AsFd, target: impl AsFd) -> Result<bool, Fault> {
    match raw(source)? {
        Some(bytes) => store(target, ATTRIBUTE, &bytes).map(|()| true),
        None => Ok(false),
    }
}
