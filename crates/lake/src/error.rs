//! Why a call fails: an exception for the client, or the store.

use dte_protocol_rucio::{Class, Exception};

/// A failure inside a transaction or a handler.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the client is told.
    #[error(transparent)]
    Exception(#[from] Exception),
    #[error(transparent)]
    Store(#[from] dte_store::Error),
}

impl Error {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Error::Exception(Exception::new(class, message))
    }

    /// The answer on the wire. What the store says is for the log, not for clients.
    pub(crate) fn into_exception(self) -> Exception {
        match self {
            Error::Exception(exception) => exception,
            Error::Store(dte_store::Error::Closed) => {
                Exception::new(Class::ServiceUnavailable, "The engine is stopping")
            }
            Error::Store(error) => {
                tracing::error!(%error, "a transaction of the data lake failed");
                Exception::new(Class::DatabaseException, "The store failed; the log has the cause")
                    .at(http::StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

impl From<Error> for dte_store::Error {
    /// For consumers of events, whose closures carry store errors only.
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error,
            Error::Exception(exception) => dte_store::Error::Effect(exception.to_string()),
        }
    }
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
