//! The second factor: codes of an authenticator (TOTP, RFC 6238: SHA-1, six digits, thirty seconds, as all of them do), and
//! recovery codes for when it is lost. The shared secret is sealed; a code is good once.

use dte_base::time::Timestamp;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use totp_rs::{Algorithm, TOTP};

use super::AccountError;
use super::store;
use crate::audit::Entry;
use crate::{Error, Identity};

const DIGITS: usize = 6;
const STEP: u64 = 30;
/// Clocks of telephones are a little off: so many steps before and after.
const SKEW: i64 = 1;
/// RFC 4226 section 4 recommends 160 bits.
const SECRET_BYTES: usize = 20;
const RECOVERY_CODES: usize = 10;
/// Characters that nobody takes for another; 32 of them.
const ALPHABET: &[u8; 32] = b"23456789abcdefghijkmnpqrstuvwxyz";
const RECOVERY_LENGTH: usize = 16;

fn totp(secret: &[u8]) -> TOTP {
    TOTP::new_unchecked(Algorithm::SHA1, DIGITS, SKEW.unsigned_abs() as u8, STEP, secret.to_vec())
}

/// The step whose code this is, newer than the last one that was used.
fn step_of(secret: &[u8], code: &str, now: i64, last: i64) -> Option<i64> {
    if code.len() != DIGITS || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let totp = totp(secret);
    let here = now.div_euclid(STEP.cast_signed());
    let is_code = |step: &i64| {
        let wanted = totp.generate(step.unsigned_abs() * STEP);
        bool::from(wanted.as_bytes().ct_eq(code.as_bytes()))
    };
    (here - SKEW..=here + SKEW).filter(|step| *step > last).find(is_code)
}

/// A fresh recovery code, in groups of four.
fn recovery_code() -> String {
    let bytes: [u8; RECOVERY_LENGTH] = rand::random();
    let letters: Vec<u8> = bytes.iter().map(|byte| ALPHABET[usize::from(byte % 32)]).collect();
    letters.chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect::<Vec<_>>().join("-")
}

/// What was typed, without what people put in for their eyes.
fn plain(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace() && *c != '-').flat_map(char::to_lowercase).collect()
}

/// A factor that is offered: to be put into the authenticator.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Base32, for typing.
    pub(crate) key: String,
    /// `otpauth://…`, for the picture.
    pub(crate) address: String,
}

/// What an account has of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    None,
    /// Waits for its first code.
    Offered,
    On {
        recovery_codes: i64,
    },
}

impl Identity {
    fn sealed_as(name: &str) -> String {
        format!("second factor of {name}")
    }

    fn recovery_hash(&self, name: &str, code: &str) -> Vec<u8> {
        self.0.vault.hash_secret(&format!("recovery code of {name}: {}", plain(code)))
    }

    pub(crate) async fn has_second_factor(&self, name: &str) -> Result<bool, AccountError> {
        Ok(matches!(self.second_factor(name).await?, Factor::On { .. }))
    }

    pub(crate) async fn second_factor(&self, name: &str) -> Result<Factor, AccountError> {
        let name = name.to_owned();
        let found = self.0.store.read(move |tx| -> Result<Factor, dte_store::Error> {
            Ok(match store::factor(tx, &name)? {
                None => Factor::None,
                Some(factor) if !factor.confirmed => Factor::Offered,
                Some(_) => Factor::On { recovery_codes: store::recovery_codes_left(tx, &name)? },
            })
        });
        Ok(found.await?)
    }

    /// Makes a secret for an account that has no second factor yet; it counts once a code of it was shown.
    pub(crate) async fn offer_factor(&self, name: &str) -> Result<Offer, AccountError> {
        let secret: [u8; SECRET_BYTES] = rand::random();
        let sealed = self.0.vault.seal(&Self::sealed_as(name), &secret).map_err(AccountError::internal)?;
        let account = name.to_owned();
        let is_offered = self.0.store.write(move |tx| -> Result<bool, dte_store::Error> {
            if store::factor(tx, &account)?.is_some_and(|factor| factor.confirmed) {
                return Ok(false);
            }
            store::offer_factor(tx, &account, &sealed)?;
            Ok(true)
        });
        if !is_offered.await? {
            return Err(AccountError::refused("this account has a second factor already"));
        }
        Ok(self.offer(name, &secret))
    }

    /// The offer again, for a page that is shown once more.
    pub(crate) async fn offered_factor(&self, name: &str) -> Result<Option<Offer>, AccountError> {
        let account = name.to_owned();
        let found = self.0.store.read(move |tx| store::factor(tx, &account)).await?;
        let Some(factor) = found.filter(|factor| !factor.confirmed) else { return Ok(None) };
        let secret = self.0.vault.unseal(&Self::sealed_as(name), &factor.sealed).map_err(AccountError::internal)?;
        Ok(Some(self.offer(name, &secret)))
    }

    fn offer(&self, name: &str, secret: &[u8]) -> Offer {
        let key = totp(secret).get_secret_base32();
        let host = self.0.client.public_url().host_str().unwrap_or("dte").to_owned();
        let part =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let address = format!("otpauth://totp/{}:{}?secret={key}&issuer={}", part(&host), part(name), part(&host));
        Offer { key, address }
    }

    /// The first code makes the factor count. Gives the recovery codes, which are never shown again.
    pub(crate) async fn confirm_factor(&self, name: &str, code: &str) -> Result<Vec<String>, AccountError> {
        let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| recovery_code()).collect();
        let hashes: Vec<Vec<u8>> = codes.iter().map(|code| self.recovery_hash(name, code)).collect();
        let (vault, audit) = (self.0.vault.clone(), self.audit().clone());
        let (name, code, now) = (name.to_owned(), plain(code), Timestamp::now().as_seconds());
        let entry = vec![Entry::change(&name, "second-factor.on", &name, Value::Null)];
        let is_right = self.0.store.write(move |tx| -> Result<bool, AccountError> {
            let Some(factor) = store::factor(tx, &name)?.filter(|factor| !factor.confirmed) else { return Ok(false) };
            let secret = vault.unseal(&Self::sealed_as(&name), &factor.sealed).map_err(AccountError::internal)?;
            let Some(step) = step_of(&secret, &code, now, factor.last_step) else { return Ok(false) };
            store::use_step(tx, &name, step)?;
            store::confirm_factor(tx, &name)?;
            store::set_recovery_codes(tx, &name, &hashes)?;
            audit.append(tx, &entry)?;
            Ok(true)
        });
        if is_right.await? { Ok(codes) } else { Err(AccountError::WrongCode) }
    }

    /// Uses a code up: of the authenticator, or a recovery code. Says which it was; nothing when it is not good.
    pub(crate) async fn use_code(&self, name: &str, code: &str) -> Result<Option<&'static str>, AccountError> {
        let (vault, audit) = (self.0.vault.clone(), self.audit().clone());
        let recovery = self.recovery_hash(name, code);
        let (name, code, now) = (name.to_owned(), plain(code), Timestamp::now().as_seconds());
        let used = self.0.store.write(move |tx| -> Result<Option<&'static str>, AccountError> {
            let Some(factor) = store::factor(tx, &name)?.filter(|factor| factor.confirmed) else { return Ok(None) };
            let secret = vault.unseal(&Self::sealed_as(&name), &factor.sealed).map_err(AccountError::internal)?;
            if let Some(step) = step_of(&secret, &code, now, factor.last_step) {
                store::use_step(tx, &name, step)?;
                return Ok(Some("code"));
            }
            if store::use_recovery_code(tx, &name, &recovery)? {
                let left = store::recovery_codes_left(tx, &name)?;
                audit.append(tx, &[Entry::change(&name, "recovery-code.use", &name, json!({"left": left}))])?;
                return Ok(Some("recovery code"));
            }
            Ok(None)
        });
        used.await
    }

    /// Takes the second factor away, with its recovery codes.
    pub(crate) async fn remove_factor(&self, name: &str, by: &str) -> Result<bool, AccountError> {
        let entry = vec![Entry::change(by, "second-factor.off", name, Value::Null)];
        let (audit, name) = (self.audit().clone(), name.to_owned());
        let removed = self.0.store.write(move |tx| -> Result<bool, Error> {
            let was_there = store::remove_factor(tx, &name)?;
            if was_there {
                audit.append(tx, &entry)?;
            }
            Ok(was_there)
        });
        Ok(removed.await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rfc_6238_in_six_digits() {
        let secret = b"12345678901234567890";
        for (time, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            assert_eq!(step_of(secret, code, time, 0), Some(time / 30), "{time}");
            assert_eq!(step_of(secret, code, time + 30, 0), Some(time / 30), "a little late");
            assert_eq!(step_of(secret, code, time + 90, 0), None, "too late");
            assert_eq!(step_of(secret, code, time, time / 30), None, "once");
        }
        for bad in ["", "28708", "2870822", "28708x", "２８７０８２"] {
            assert_eq!(step_of(secret, bad, 59, 0), None, "{bad}");
        }
    }

    #[test]
    fn recovery_codes() {
        let code = recovery_code();
        assert_eq!(code.len(), RECOVERY_LENGTH + 3);
        assert_eq!(plain(&code.to_uppercase()), code.replace('-', ""));
        assert_ne!(code, recovery_code());
        assert!(!ALPHABET.iter().any(|letter| b"01lo".contains(letter)));
    }
}
