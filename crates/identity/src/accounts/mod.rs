//! How people come in: with a password and perhaps a second factor, or through a provider that knows them.
//!
//! * [`password`]: argon2id, a few at a time; `attempts`: who fails waits; `sign_in`: from a name and a password to a
//!   session; `second`: codes of an authenticator (RFC 6238) and recovery codes.
//! * `provider`: what is configured of another OpenID provider and what its answers must say; `upstream`: signing in
//!   there and coming back; `links`: which identities elsewhere belong to an account; `registration`: those who ask for
//!   an account.
//! * `sessions`: the sessions of an account, to be looked at and ended.
//!
//! Everything lies in the store: several processes on one PostgreSQL may serve one login. An identity elsewhere is the
//! pair of issuer and subject and nothing else; no e-mail address ever finds an account.

pub(crate) mod attempts;
pub(crate) mod links;
pub mod password;
pub(crate) mod provider;
pub(crate) mod registration;
pub(crate) mod second;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub(crate) mod step;
pub(crate) mod store;
pub(crate) mod upstream;

use std::time::Duration;

use crate::Error;
use crate::config::IdentityConfig;
use crate::context::OpenError;

pub use password::PasswordRule;

/// Why somebody does not come in, or an account is not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Says nothing about whether the name exists.
    #[error("the name or the password is not right")]
    Wrong,
    #[error("the code is not right, or was used before")]
    WrongCode,
    #[error("too many tries; try again in {}", dte_base::units::Span(*.0))]
    Wait(Duration),
    #[error("too many people sign in just now; try again in a moment")]
    Busy,
    /// The password was right, but somebody must be there who can be asked for a code.
    #[error("this account has a second factor, which only the sign-in page can ask for")]
    SecondFactor,
    #[error("{0}")]
    Rule(PasswordRule),
    /// In words for the person who tries.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Identity(#[from] Error),
    #[error("{0}")]
    Internal(String),
}

impl AccountError {
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        AccountError::Internal(error.to_string())
    }

    pub(crate) fn refused(words: impl Into<String>) -> Self {
        AccountError::Refused(words.into())
    }
}

impl From<dte_store::Error> for AccountError {
    fn from(error: dte_store::Error) -> Self {
        AccountError::Identity(Error::Store(error))
    }
}

impl From<AccountError> for dte_http::Problem {
    fn from(error: AccountError) -> Self {
        use dte_http::Problem;
        let text = error.to_string();
        match error {
            AccountError::Identity(error) => error.into(),
            AccountError::Wrong | AccountError::WrongCode | AccountError::SecondFactor | AccountError::Refused(_) => {
                Problem::forbidden(text)
            }
            AccountError::Rule(_) => Problem::bad_request(text),
            AccountError::Wait(_) | AccountError::Busy => Problem::too_many_requests(text),
            AccountError::Internal(_) => Problem::internal(text),
        }
    }
}

/// What of this lives in memory.
pub(crate) struct Accounts {
    pub(crate) passwords: password::Passwords,
    pub(crate) attempts: attempts::Attempts,
    pub(crate) providers: Vec<provider::Provider>,
}

impl Accounts {
    pub(crate) fn new(config: &IdentityConfig) -> Result<Self, OpenError> {
        Ok(Accounts {
            passwords: password::Passwords::default(),
            attempts: attempts::Attempts::default(),
            providers: provider::all(&config.login_providers)?,
        })
    }
}
