//! From a failure to what a client is told.

use dte_http::Problem;
use dte_protocol_webdav::digest::BadDigest;
use dte_protocol_webdav::header::BadHeader;
use dte_protocol_webdav::path::{BadPath, ResourcePath};
use dte_protocol_webdav::xml::BadXml;
use http::StatusCode;
use rustix::io::Errno;

use crate::disk::Fault;

/// The kind of problem when a checksum does not agree, for clients that tell problems apart.
pub const MISMATCH: &str = "urn:dte:checksum-mismatch";

/// What the operating system's word means to a client. Only what cannot be the client's doing goes to the log.
pub fn from_os(error: Errno) -> Problem {
    match error {
        Errno::NOENT | Errno::NOTDIR => Problem::not_found("there is no such file or folder"),
        Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::XDEV | Errno::ROFS => {
            Problem::forbidden("the storage does not permit this here")
        }
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => full(),
        Errno::EXIST => Problem::method_not_allowed("there is something of this name already"),
        Errno::ISDIR => Problem::method_not_allowed("this is a folder"),
        Errno::NOTEMPTY => Problem::conflict("the folder is not empty"),
        Errno::INVAL => Problem::conflict("a folder cannot be put into itself"),
        Errno::NAMETOOLONG => Problem::bad_request("the name is too long for this storage"),
        other => {
            tracing::error!(error = %other, "the filesystem failed");
            Problem::internal("the filesystem failed; the log has the cause under this request id")
        }
    }
}

/// 507
pub fn full() -> Problem {
    Problem::insufficient_storage("there is no room left in this storage area; nothing was stored")
}

/// The kind of problem when a lock is in the way. Its members say which condition of RFC 4918 was not met, and where below `/dav`.
pub const LOCKED: &str = "urn:dte:locked";
pub const UNMET: &str = "unmet";
pub const WHERE: &str = "locked";

/// 423
pub fn locked(detail: impl Into<String>, unmet: &str, path: &ResourcePath) -> Problem {
    Problem::new(StatusCode::LOCKED, detail).with_type(LOCKED).with(UNMET, unmet).with(WHERE, path.encoded())
}

/// 412
pub fn condition(detail: &str) -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, detail)
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        let text = fault.to_string();
        match fault {
            Fault::Os(error) => from_os(error),
            Fault::Exists => condition("there is something of this name already, and it may not be replaced"),
            Fault::IsFolder => Problem::method_not_allowed(text),
            Fault::NotEmpty | Fault::NoParent => Problem::conflict(text),
            Fault::Length { .. } | Fault::CutShort => {
                Problem::bad_request(format!("the upload did not arrive whole, nothing was stored: {text}"))
            }
            Fault::Digest { stated, computed } => {
                Problem::bad_request(format!("the content is not what was stated, nothing was stored: {text}"))
                    .with_type(MISMATCH)
                    .with("stated", stated.to_string())
                    .with("computed", computed.to_string())
            }
            Fault::Locked(path) => locked(text, "lock-token-submitted", &path),
            Fault::NoRoomForProperties | Fault::AnswerTooLong => Problem::insufficient_storage(text),
            Fault::Changed => Problem::conflict("the file changed while it was read"),
        }
    }
}

pub fn bad_path(error: BadPath) -> Problem {
    Problem::bad_request(error.to_string())
}

pub fn bad_header(error: BadHeader) -> Problem {
    Problem::bad_request(error.to_string())
}

pub fn bad_digest(error: BadDigest) -> Problem {
    Problem::bad_request(error.to_string())
}

pub fn bad_xml(error: BadXml) -> Problem {
    Problem::bad_request(error.to_string())
}
