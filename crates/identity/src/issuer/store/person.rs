//! What the issuer's tables say of a person, when the person is erased. Grants have ended by then.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};

use super::clients;
use crate::issuer::clients::Registration;

/// Programs of one owner that are looked at in one read.
const AT_ONCE: usize = 500;

/// Forgets consents and grants; programs that the person registered belong to the pseudonym and rest, without the addresses
/// of people. Gives how many programs these are.
pub(crate) fn erase(tx: &mut Tx<'_>, name: &str, pseudonym: &str) -> Result<u64, Error> {
    clients::forget_consents_of(tx, name)?;
    tx.execute("DELETE FROM identity_grants WHERE name = ?1", &params![name])?;
    let mut owned = 0;
    loop {
        let programs: Vec<Registration> = clients::of_owner(tx, name, AT_ONCE)?;
        if programs.is_empty() {
            return Ok(owned);
        }
        for mut program in programs {
            program.metadata.contacts.clear();
            clients::update(tx, &program)?;
            clients::set_active(tx, &program.client_id, false)?;
            clients::set_owner(tx, &program.client_id, pseudonym)?;
            owned += 1;
        }
    }
}

/// What lives for minutes only and was used up.
pub(crate) fn sweep(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_codes WHERE expires < ?1", &params![now])?;
    tx.execute("DELETE FROM identity_devices WHERE expires < ?1", &params![now]).map(drop)
}
