//! Passwords of people: what is a password, and argon2id with bounded concurrency.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AccountError;

/// In characters.
pub const SHORTEST: usize = 10;
pub const LONGEST: usize = 256;
/// Hashes that are made at once: each takes 19 MiB and one core.
const MOST_AT_ONCE: usize = 4;
/// How long one may wait for a turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a password is compared with when there is nothing to compare it with, so that it takes as long. Nobody knows a
/// password of this hash.
const STAND_IN: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$ZHRlIHN0YW5kLWluIDAxNg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordRule {
    TooShort,
    TooLong,
    IsName,
}

impl fmt::Display for PasswordRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordRule::TooShort => write!(f, "a password has at least {SHORTEST} characters"),
            PasswordRule::TooLong => write!(f, "a password has at most {LONGEST} characters"),
            PasswordRule::IsName => f.write_str("the name of the account is no password"),
        }
    }
}

/// Whether an account may have this password. Any characters are fine; length is what counts.
pub(crate) fn check_rules(name: &str, password: &str) -> Result<(), PasswordRule> {
    let length = password.chars().count();
    if length < SHORTEST {
        return Err(PasswordRule::TooShort);
    }
    if length > LONGEST {
        return Err(PasswordRule::TooLong);
    }
    let lower = password.to_lowercase();
    if lower.split(name).all(str::is_empty) || lower.trim() == name {
        return Err(PasswordRule::IsName);
    }
    Ok(())
}

/// Makes and checks hashes, a few at a time.
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    /// How many were compared, for whom ever.
    compared: AtomicU64,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords { turns: Arc::new(Semaphore::new(cores.min(MOST_AT_ONCE))), compared: AtomicU64::new(0) }
    }
}

impl Passwords {
    /// The text that is stored. The rules were checked.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, AccountError> {
        let turn = self.turn().await?;
        let password = password.to_owned();
        blocking(move || {
            let _turn = turn;
            let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(AccountError::internal)?;
            let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(AccountError::internal)
        })
        .await
    }

    /// Whether this is the password of that hash. Where there is no hash the same is done with a stand-in, so that it
    /// takes as long.
    pub(crate) async fn is(&self, stored: Option<String>, password: &str) -> Result<bool, AccountError> {
        let turn = self.turn().await?;
        self.compared.fetch_add(1, Ordering::Relaxed);
        // What is too long cannot have been set; the hash of its beginning takes as long as any.
        let end = password.char_indices().nth(LONGEST + 1).map_or(password.len(), |(end, _)| end);
        let password = password[..end].to_owned();
        blocking(move || {
            let _turn = turn;
            let hash = PasswordHash::new(stored.as_deref().unwrap_or(STAND_IN)).map_err(AccountError::internal)?;
            let is_right = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
            Ok(is_right && stored.is_some())
        })
        .await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, AccountError> {
        match tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(closed)) => Err(AccountError::internal(closed)),
            Err(_) => Err(AccountError::Busy),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AccountError> + Send + 'static,
) -> Result<T, AccountError> {
    tokio::task::spawn_blocking(work).await.map_err(AccountError::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        assert_eq!(check_rules("alice", "correct horse"), Ok(()));
        assert_eq!(check_rules("alice", "ünicödé pß"), Ok(()));
        assert_eq!(check_rules("alice", "short"), Err(PasswordRule::TooShort));
        assert_eq!(check_rules("alice", "ééééééééé"), Err(PasswordRule::TooShort), "characters count, not bytes");
        assert_eq!(check_rules("alice", &"x".repeat(257)), Err(PasswordRule::TooLong));
        assert_eq!(check_rules("alice", &"x".repeat(256)), Ok(()));
        assert_eq!(check_rules("administrator", "Administrator"), Err(PasswordRule::IsName));
        assert_eq!(check_rules("alice", "AliceAlice"), Err(PasswordRule::IsName));
    }

    #[test]
    fn the_stand_in_costs_as_much_as_a_real_one() {
        let stand_in = PasswordHash::new(STAND_IN).expect("a hash");
        let salt = SaltString::encode_b64(&[1; 16]).expect("a salt");
        let real = Argon2::default().hash_password(b"correct horse", &salt).expect("a hash");
        assert_eq!(
            (stand_in.algorithm, stand_in.version, &stand_in.params),
            (real.algorithm, real.version, &real.params)
        );
        let sizes = |hash: &PasswordHash<'_>| (hash.hash.map(|h| h.len()), hash.salt.map(|s| s.len()));
        assert_eq!(sizes(&stand_in), sizes(&real));
    }

    #[tokio::test]
    async fn known_or_unknown_the_same_is_done() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse").await.expect("a hash");
        assert!(hash.starts_with("$argon2id$") && !hash.contains("horse"));
        assert!(passwords.is(Some(hash.clone()), "correct horse").await.expect("compared"));
        assert!(!passwords.is(Some(hash), "correct horsf").await.expect("compared"));
        assert!(!passwords.is(None, "correct horse").await.expect("compared"));
        assert_eq!(passwords.compared.load(Ordering::Relaxed), 3, "one comparison each, whoever it is");
    }
}
