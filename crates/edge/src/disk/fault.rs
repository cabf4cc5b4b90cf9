//! Why the filesystem did not do what was asked.

use dte_protocol_webdav::digest::Digest;
use dte_protocol_webdav::path::ResourcePath;
use rustix::io::Errno;

/// A failure of file work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Os(Errno),
    #[error("there is something of this name already")]
    Exists,
    #[error("this is a folder")]
    IsFolder,
    #[error("the folder is not empty")]
    NotEmpty,
    #[error("there is no folder to put it in")]
    NoParent,
    #[error("{got} bytes came instead of {expected}")]
    Length { expected: u64, got: u64 },
    #[error("the content has {computed}, not the stated {stated}")]
    Digest { stated: Digest, computed: Digest },
    #[error("the upload was cut short")]
    CutShort,
    /// With the path below `/dav` at which the lock is.
    #[error("{0} is locked, and the request does not show the lock's token as its holder")]
    Locked(ResourcePath),
    #[error("the storage takes no more properties for this file or folder")]
    NoRoomForProperties,
    #[error("the answer would be too long; ask for fewer properties, or for less at once")]
    AnswerTooLong,
    #[error("the file changed while it was read")]
    Changed,
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Fault {
        Fault::Os(error)
    }
}
