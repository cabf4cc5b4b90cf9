//! What goes wrong with stores of bytes, in the categories that clients and schedulers reason by.

use std::fmt;

/// The category of a failure, named as the operating system and gfal2 name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Errno {
    /// There is no such file or folder.
    ENOENT,
    /// It exists already.
    EEXIST,
    /// Not allowed, or not with these credentials.
    EACCES,
    /// No room left, or over quota.
    ENOSPC,
    /// It is a folder.
    EISDIR,
    /// It is not a folder.
    ENOTDIR,
    /// It is on another filesystem.
    EXDEV,
    /// The folder still has members.
    ENOTEMPTY,
    /// The name cannot be used.
    EINVAL,
    /// The content is not what was stated of it.
    ECHECKSUM,
    /// Nothing happened for too long.
    ETIMEDOUT,
    /// The other side could not be reached, or went away.
    ECONN,
    /// The other side cannot do this.
    ENOSYS,
    /// Somebody stopped it.
    ECANCELED,
    /// Anything else.
    EIO,
}

impl Errno {
    /// The number that commands exit with and FTS reports.
    pub fn number(self) -> i32 {
        match self {
            Errno::ENOENT => 2,
            Errno::EIO | Errno::ECHECKSUM => 5,
            Errno::EACCES => 13,
            Errno::EEXIST => 17,
            Errno::EXDEV => 18,
            Errno::ENOTDIR => 20,
            Errno::EISDIR => 21,
            Errno::EINVAL => 22,
            Errno::ENOSPC => 28,
            Errno::ENOSYS => 38,
            Errno::ENOTEMPTY => 39,
            Errno::ETIMEDOUT => 110,
            Errno::ECONN => 112,
            Errno::ECANCELED => 125,
        }
    }

    /// Whether the same request may succeed later without anybody's help.
    pub fn is_recoverable(self) -> bool {
        matches!(self, Errno::ETIMEDOUT | Errno::ECONN | Errno::EIO)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Errno::ENOENT => "No such file or directory",
            Errno::EEXIST => "File exists",
            Errno::EACCES => "Permission denied",
            Errno::ENOSPC => "No space left on device",
            Errno::EISDIR => "Is a directory",
            Errno::ENOTDIR => "Not a directory",
            Errno::EXDEV => "Invalid cross-device link",
            Errno::ENOTEMPTY => "Directory not empty",
            Errno::EINVAL => "Invalid argument",
            Errno::ECHECKSUM => "CHECKSUM MISMATCH",
            Errno::ETIMEDOUT => "Connection timed out",
            Errno::ECONN => "Connection failed",
            Errno::ENOSYS => "Not supported",
            Errno::ECANCELED => "Operation canceled",
            Errno::EIO => "Input/output error",
        };
        f.write_str(text)
    }
}

/// At which end of a copy something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Source,
    Destination,
    Transfer,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "SOURCE",
            Side::Destination => "DESTINATION",
            Side::Transfer => "TRANSFER",
        })
    }
}

/// A failure of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub errno: Errno,
    pub side: Option<Side>,
    pub message: String,
}

impl Error {
    pub fn new(errno: Errno, message: impl Into<String>) -> Error {
        Error { errno, side: None, message: message.into() }
    }

    /// The same, said of one end; an end that is already named stays.
    pub fn at(mut self, side: Side) -> Error {
        self.side.get_or_insert(side);
        self
    }

    pub fn is_recoverable(&self) -> bool {
        self.errno.is_recoverable()
    }

    /// From the operating system, about `what`.
    pub fn from_os(error: rustix::io::Errno, what: impl fmt::Display) -> Error {
        use rustix::io::Errno as Os;
        let errno = match error {
            Os::NOENT => Errno::ENOENT,
            Os::EXIST => Errno::EEXIST,
            Os::ACCESS | Os::PERM | Os::ROFS | Os::LOOP => Errno::EACCES,
            Os::NOSPC | Os::DQUOT | Os::FBIG => Errno::ENOSPC,
            Os::ISDIR => Errno::EISDIR,
            Os::NOTDIR => Errno::ENOTDIR,
            Os::XDEV => Errno::EXDEV,
            Os::NOTEMPTY => Errno::ENOTEMPTY,
            Os::INVAL | Os::NAMETOOLONG => Errno::EINVAL,
            Os::TIMEDOUT => Errno::ETIMEDOUT,
            Os::NOSYS | Os::OPNOTSUPP => Errno::ENOSYS,
            _ => Errno::EIO,
        };
        let message = match errno {
            Errno::EIO | Errno::EACCES | Errno::EINVAL => format!("{what}: {error}"),
            _ => what.to_string(),
        };
        Error::new(errno, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(side) = self.side {
            write!(f, "{side} ")?;
        }
        write!(f, "{}: {}", self.errno, self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_classes() {
        let error = Error::from_os(rustix::io::Errno::NOENT, "/a").at(Side::Source).at(Side::Transfer);
        assert_eq!(error.to_string(), "SOURCE No such file or directory: /a");
        assert!(!error.is_recoverable());
        assert!(Error::new(Errno::ECONN, "x").is_recoverable());
        assert!(!Error::new(Errno::ECHECKSUM, "x").is_recoverable());
        assert_eq!(Error::from_os(rustix::io::Errno::DQUOT, "x").errno, Errno::ENOSPC);
    }
}
