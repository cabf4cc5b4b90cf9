//! What hinders a twin now: one text for each part, gone when the part goes on.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};

/// What hinders a part.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Trouble {
    /// `apply`, `observes NAME` or `model NAME`.
    pub part: String,
    pub trouble: String,
    pub since: Timestamp,
}

/// Notes a trouble; the time stays that of the first.
pub fn note(tx: &mut Tx<'_>, twin: &str, part: &str, trouble: &str) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO workflow_troubles (twin, part, trouble, since) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (twin, part) DO UPDATE SET trouble = excluded.trouble",
        &params![twin, part, trouble, Timestamp::now()],
    )?;
    Ok(())
}

pub fn clear(tx: &mut Tx<'_>, twin: &str, part: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM workflow_troubles WHERE twin = ?1 AND part = ?2", &params![twin, part])?;
    Ok(())
}

pub fn of(tx: &mut Tx<'_>, twin: &str) -> Result<Vec<Trouble>, Error> {
    tx.query(
        "SELECT part, trouble, since FROM workflow_troubles WHERE twin = ?1 ORDER BY part",
        &params![twin],
        |row| Ok(Trouble { part: row.get(0)?, trouble: row.get(1)?, since: row.get(2)? }),
    )
}
