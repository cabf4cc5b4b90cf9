//! What the filesystem says of a file or folder, in the words of HTTP.

use dte_base::time::Timestamp;
use dte_protocol_webdav::etag::ETag;
use rustix::fs::{FileType, Stat};

/// What kind of thing a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    /// A link, pipe, device or socket: nothing that is served.
    Other,
}

/// What is known of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    /// Zero for folders.
    pub size: u64,
    pub inode: u64,
    /// Nanoseconds since 1970.
    pub modified_nanos: i128,
    /// Permission bits and type, as `st_mode`.
    pub mode: u32,
}

impl From<&Stat> for Facts {
    fn from(stat: &Stat) -> Facts {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            _ => Kind::Other,
        };
        let size = if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        let modified_nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
        Facts { kind, size, inode: stat.st_ino, modified_nanos, mode: stat.st_mode }
    }
}

impl Facts {
    pub fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// Changes whenever the content was replaced or written to.
    pub fn etag(&self) -> ETag {
        ETag::strong(format!("{:x}-{:x}-{:x}", self.inode, self.modified_nanos, self.size))
    }

    pub fn modified(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.modified_nanos / 1_000).unwrap_or(0))
    }
}
