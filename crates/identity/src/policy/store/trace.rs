//! Reads the audit trail for questions that begin with something else than a subject. Appending stays with the audit.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};
use serde_json::Value;

/// A record: its number, its time, what it says.
pub(crate) type Line = (i64, Timestamp, Value);

/// Records after `seq` that mention a text, among the next `window` ones; and the last number that was looked at, or
/// nothing when there are no more.
pub(crate) fn mentioning(
    tx: &mut Tx<'_>,
    text: &str,
    seq: i64,
    window: i64,
) -> Result<(Vec<Line>, Option<i64>), Error> {
    let newest =
        tx.query_one("SELECT COALESCE(MAX(seq), 0) FROM identity_audit", &params![], |row| row.get::<i64>(0))?;
    if newest <= seq {
        return Ok((Vec::new(), None));
    }
    let end = newest.min(seq + window);
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let sql = "SELECT seq, at, body FROM identity_audit WHERE seq > ?1 AND seq <= ?2 AND body LIKE ?3 ESCAPE '\\' ORDER BY seq";
    let found =
        tx.query(sql, &params![seq, end, format!("%{escaped}%")], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok((found, Some(end)))
}

/// An event about something.
pub(crate) struct Told {
    pub(crate) seq: i64,
    pub(crate) at: Timestamp,
    pub(crate) kind: String,
    pub(crate) subject: String,
    /// Whose it was.
    pub(crate) user: Option<String>,
    /// At which issuer, when the event says so; else an account here.
    pub(crate) issuer: Option<String>,
}

/// Events before `seq` that are about a thing or about parts of it (`ID/1`), among the `window` ones before; and the first
/// number that was looked at, or nothing when there are no more.
pub(crate) fn events_about(
    tx: &mut Tx<'_>,
    thing: &str,
    seq: Option<i64>,
    window: i64,
) -> Result<(Vec<Told>, Option<i64>), Error> {
    let newest = tx.query_one("SELECT COALESCE(MAX(seq), 0) FROM event_log", &params![], |row| row.get::<i64>(0))?;
    let before = seq.unwrap_or(newest + 1);
    let from = (before - window).max(0);
    if before <= 1 {
        return Ok((Vec::new(), None));
    }
    let escaped = thing.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let sql = "SELECT seq, time, type, subject, data FROM event_log WHERE seq >= ?1 AND seq < ?2
               AND (subject = ?3 OR subject LIKE ?4 ESCAPE '\\') ORDER BY seq DESC";
    let found = tx.query(sql, &params![from, before, thing, format!("{escaped}/%")], |row| {
        let data: Value = row.get(4)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let named = ["/owner", "/user"].iter().find_map(|place| {
            let named = data.pointer(place)?;
            Some((text(&named["subject"]).or_else(|| text(named))?, text(&named["issuer"])))
        });
        let (user, issuer) = named.map_or((None, None), |(user, issuer)| (Some(user), issuer));
        Ok(Told { seq: row.get(0)?, at: row.get(1)?, kind: row.get(2)?, subject: row.get(3)?, user, issuer })
    })?;
    Ok((found, Some(from)))
}
