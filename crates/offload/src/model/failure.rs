//! Why a pod did not get further.

/// A failure of one try, or for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// One word, as Kubernetes has them.
    pub reason: &'static str,
    pub message: String,
    /// Trying again may help.
    pub is_transient: bool,
}

impl Failure {
    /// Trying again cannot help.
    pub fn lasting(reason: &'static str, message: impl Into<String>) -> Self {
        Failure { reason, message: message.into(), is_transient: false }
    }

    /// Trying again may help.
    pub fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Failure { reason, message: message.into(), is_transient: true }
    }
}

impl From<dte_store::Error> for Failure {
    fn from(error: dte_store::Error) -> Self {
        Failure::passing("StoreUnavailable", error.to_string())
    }
}
