//! What can go wrong in a transaction.

/// A failure of the store. Texts name the statement's place or the cause, never a value that was bound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such row")]
    NotFound,
    #[error("a row with this key exists already ({0})")]
    Duplicate(String),
    #[error("the work was taken over by another worker")]
    LeaseLost,
    #[error("column {index} is not {wanted}")]
    Column { index: usize, wanted: &'static str },
    #[error("the disk is full")]
    Full,
    /// A conflict with a concurrent transaction; the store runs the closure again by itself.
    #[error("the transaction must be run again")]
    Conflict,
    #[error("database: {0}")]
    Database(String),
    #[error("the store cannot be opened: {0}")]
    Open(String),
    #[error("migration {version} of {owner}: {message}")]
    Migration { owner: String, version: i64, message: String },
    #[error("a transaction panicked: {0}")]
    Panicked(String),
    #[error("the store is closed")]
    Closed,
    #[error("{0}")]
    Invalid(String),
    /// What a closure of a caller wants to hand out through an interface that carries store errors.
    #[error("{0}")]
    Effect(String),
}

impl Error {
    /// Whether running the same closure again may succeed.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Error::Conflict)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ffi::ErrorCode;
        match &error {
            rusqlite::Error::SqliteFailure(failure, message) => match failure.code {
                ErrorCode::ConstraintViolation
                    if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                        || failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY =>
                {
                    Error::Duplicate(message.clone().unwrap_or_default())
                }
                ErrorCode::DiskFull => Error::Full,
                _ => Error::Database(error.to_string()),
            },
            _ => Error::Database(error.to_string()),
        }
    }
}

impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Self {
        use postgres::error::SqlState;
        match error.code() {
            Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => Error::Conflict,
            Some(&SqlState::UNIQUE_VIOLATION) => {
                Error::Duplicate(error.as_db_error().and_then(|e| e.constraint()).unwrap_or_default().to_owned())
            }
            Some(&SqlState::DISK_FULL) => Error::Full,
            _ => match error.as_db_error() {
                Some(db) => Error::Database(db.message().to_owned()),
                None => Error::Database(error.to_string()),
            },
        }
    }
}
