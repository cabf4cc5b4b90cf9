//! Why a copy failed, in the shape that clients of FTS look for, and whether another try may help.

use std::fmt;

use dte_storage::{Errno, Error as StorageError, Side};
use serde::{Deserialize, Serialize};

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scope {
    Source,
    Destination,
    Transfer,
    /// The mover itself, before it touched a storage.
    Agent,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Source => "SOURCE",
            Scope::Destination => "DESTINATION",
            Scope::Transfer => "TRANSFER",
            Scope::Agent => "AGENT",
        })
    }
}

/// A failed try. Shows as `SCOPE [errno] text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub scope: Scope,
    pub errno: i32,
    pub message: String,
    pub recoverable: bool,
}

/// Rucio looks for exactly this.
pub const DESTINATION_EXISTS: &str = "Destination file exists and overwrite is not enabled";

/// Texts of storages (and of other parts of the field's software) that tell whether another try may help, in the order in
/// which FTS asks.
const RECOVERABLE_TEXTS: &[&str] = &[
    "performance marker",
    "Name or service not known",
    "Connection timed out",
    "end-of-file was reached",
    "end of file occurred",
    "SRM_INTERNAL_ERROR",
    "was forcefully killed",
    "operation timeout",
];
const FINAL_TEXTS: &[&str] = &[
    "proxy expired",
    "with an error 550 File not found",
    "File exists and overwrite",
    "No such file or directory",
    "SRM_INVALID_PATH",
    "The certificate has expired",
    "The available CRL has expired",
    "SRM Authentication failed",
    "SRM_DUPLICATION_ERROR",
    "SRM_AUTHENTICATION_FAILURE",
    "SRM_NO_FREE_SPACE",
    "digest too big for rsa key",
    "Can not determine address of local host",
    "Permission denied",
    "System error in write into HDFS",
    "File exists",
    "checksum do not match",
    "CHECKSUM MISMATCH",
    "The source file is not ONLINE",
];

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const EACCES: i32 = 13;
const EFAULT: i32 = 14;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ENAMETOOLONG: i32 = 36;
const EPROTONOSUPPORT: i32 = 93;
const ETIMEDOUT: i32 = 110;
const ECANCELED: i32 = 125;

/// The rule of FTS (contract section "Recoverable or not"): texts first, then scope and number.
pub fn is_recoverable(scope: Scope, errno: i32, message: &str) -> bool {
    if RECOVERABLE_TEXTS.iter().any(|text| message.contains(text)) || errno == ETIMEDOUT {
        return true;
    }
    if errno == ECANCELED || FINAL_TEXTS.iter().any(|text| message.contains(text)) {
        return false;
    }
    let final_numbers: &[i32] = match scope {
        Scope::Source => &[ENOENT, EPERM, EACCES, EISDIR, ENAMETOOLONG, E2BIG, ENOTDIR, EPROTONOSUPPORT],
        Scope::Destination => &[EPERM, EACCES, EISDIR, E2BIG, EROFS, EFAULT, ENAMETOOLONG, EPROTONOSUPPORT, EEXIST],
        Scope::Transfer => &[ENOSPC, EPERM, EACCES, EEXIST, EFBIG, EROFS, ENAMETOOLONG, EPROTONOSUPPORT],
        Scope::Agent => &[EPERM, EACCES, EPROTONOSUPPORT],
    };
    !final_numbers.contains(&errno)
}

impl Failure {
    /// Classified by the rule of FTS.
    pub fn new(scope: Scope, errno: i32, message: impl Into<String>) -> Self {
        let message = message.into();
        Failure { scope, errno, recoverable: is_recoverable(scope, errno, &message), message }
    }

    /// The copy took longer than it may.
    pub fn timed_out(seconds: u64) -> Self {
        Failure::new(Scope::Transfer, ETIMEDOUT, format!("Transfer timed out after {seconds} seconds"))
    }

    /// The engine will not act for this user (any more): banned, no longer a member, terms not accepted.
    pub fn user_refused(why: impl fmt::Display) -> Self {
        Failure::new(Scope::Agent, EACCES, format!("The transfer cannot act for its user: {why}"))
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let scope = match error.side {
            Some(Side::Source) => Scope::Source,
            Some(Side::Destination) => Scope::Destination,
            Some(Side::Transfer) | None => Scope::Transfer,
        };
        let message = match error.errno {
            Errno::EEXIST => DESTINATION_EXISTS.to_owned(),
            errno => format!("{errno}: {}", error.message),
        };
        let mut failure = Failure::new(scope, error.errno.number(), message);
        // What the storage calls damaged content is as final as what FTS does; a full disk will not be empty in two minutes.
        if matches!(error.errno, Errno::ECHECKSUM | Errno::EINVAL | Errno::ENOSYS) {
            failure.recoverable = false;
        }
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] {}", self.scope, self.errno, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_fts() {
        assert!(!is_recoverable(Scope::Source, ENOENT, "gone"));
        assert!(is_recoverable(Scope::Source, ENOENT, "Name or service not known"));
        assert!(is_recoverable(Scope::Destination, ENOSPC, "full"));
        assert!(!is_recoverable(Scope::Transfer, ENOSPC, "full"));
        assert!(is_recoverable(Scope::Destination, 112, "HTTP 503"));
        assert!(!is_recoverable(Scope::Transfer, ECANCELED, ""));
        assert!(!is_recoverable(Scope::Transfer, 5, "Source and user-defined ADLER32 checksum do not match (1 != 2)"));
    }

    #[test]
    fn from_storages() {
        let failure = Failure::from(StorageError::new(Errno::EEXIST, "x").at(Side::Destination));
        assert_eq!(failure.to_string(), format!("DESTINATION [17] {DESTINATION_EXISTS}"));
        assert!(!failure.recoverable);
        let wrong = Failure::from(StorageError::new(Errno::ECHECKSUM, "adler32 1 is not 2").at(Side::Source));
        assert!(!wrong.recoverable && wrong.to_string().starts_with("SOURCE [5] CHECKSUM MISMATCH"));
        assert!(Failure::from(StorageError::new(Errno::EIO, "HTTP 503").at(Side::Source)).recoverable);
    }
}
