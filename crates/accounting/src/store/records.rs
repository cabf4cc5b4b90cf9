//! Usage records.

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, Value, params};
use uuid::Uuid;

use super::summaries;
use crate::model::usage::{Kind, Usage};

/// Writes a use down with its cost, and adds it to the sums. `false` when it was known.
pub fn record(tx: &mut Tx<'_>, usage: &Usage, cost_nano: i64) -> Result<bool, Error> {
    let is_new = tx.execute(
        "INSERT INTO accounting_records (id, kind, account, twin, scope, site, subject, started, charged, cpu_micros,
           wall_micros, core_micros, max_rss_bytes, bytes, cost_nano)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT (id) DO NOTHING",
        &params![
            usage.id,
            usage.kind.text(),
            &usage.user,
            &usage.twin,
            &usage.scope,
            &usage.site,
            &usage.subject,
            usage.started,
            usage.charged,
            usage.cpu_micros,
            usage.wall_micros,
            usage.core_micros,
            usage.max_rss_bytes,
            usage.bytes,
            cost_nano
        ],
    )?;
    if is_new == 0 {
        return Ok(false);
    }
    summaries::add(tx, usage, cost_nano)?;
    if !usage.twin.is_empty() {
        for scope in &usage.written_scopes {
            summaries::claim_scope(tx, scope, &usage.twin)?;
        }
    }
    Ok(true)
}

/// Puts at most `most` records of an account under another name. Gives how many.
pub fn rename(tx: &mut Tx<'_>, account: &str, to: &str, most: usize) -> Result<u64, Error> {
    tx.execute(
        "UPDATE accounting_records SET account = ?2
         WHERE number IN (SELECT number FROM accounting_records WHERE account = ?1 ORDER BY number LIMIT ?3)",
        &params![account, to, most],
    )
}

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub kind: Option<Kind>,
    pub user: Option<String>,
    pub twin: Option<String>,
    /// Charged at this time or later.
    pub since: Option<Timestamp>,
}

/// A record as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Grows with each record; the key of paging.
    pub number: i64,
    pub id: Uuid,
    pub kind: Kind,
    pub user: String,
    pub twin: String,
    pub site: String,
    pub subject: String,
    pub started: Timestamp,
    pub charged: Timestamp,
    pub cpu_micros: i64,
    pub wall_micros: i64,
    pub core_micros: i64,
    pub max_rss_bytes: i64,
    pub bytes: i64,
    pub cost_nano: i64,
}

/// Records after `after` in the order in which they were written.
pub fn list(tx: &mut Tx<'_>, filter: &Filter, after: i64, limit: usize) -> Result<Vec<Kept>, Error> {
    let mut sql = String::from(
        "SELECT r.number, r.id, r.kind, r.account, CASE WHEN r.twin <> '' THEN r.twin ELSE COALESCE(s.twin, '') END, r.site,
            r.subject, r.started, r.charged, r.cpu_micros, r.wall_micros, r.core_micros, r.max_rss_bytes, r.bytes,
           r.cost_nano
         FROM accounting_records r LEFT JOIN accounting_scopes s ON s.scope = r.scope WHERE r.number > ?1",
    );
    let mut values = params![after, limit].to_vec();
    let mut test = |text: &str, value: Value| {
        values.push(value);
        sql.push_str(&text.replace('#', &format!("?{}", values.len())));
    };
    if let Some(kind) = filter.kind {
        test(" AND r.kind = #", kind.text().into());
    }
    if let Some(user) = &filter.user {
        test(" AND r.account = #", user.into());
    }
    if let Some(twin) = &filter.twin {
        test(" AND (r.twin = # OR (r.twin = '' AND s.twin = #))", twin.into());
    }
    if let Some(since) = filter.since {
        test(" AND r.charged >= #", since.into());
    }
    sql.push_str(" ORDER BY r.number LIMIT ?2");
    tx.query(&sql, &values, read)
}

fn read(row: &Row) -> Result<Kept, Error> {
    Ok(Kept {
        number: row.get(0)?,
        id: row.get(1)?,
        kind: kind_at(row, 2)?,
        user: row.get(3)?,
        twin: row.get(4)?,
        site: row.get(5)?,
        subject: row.get(6)?,
        started: row.get(7)?,
        charged: row.get(8)?,
        cpu_micros: row.get(9)?,
        wall_micros: row.get(10)?,
        core_micros: row.get(11)?,
        max_rss_bytes: row.get(12)?,
        bytes: row.get(13)?,
        cost_nano: row.get(14)?,
    })
}

pub(super) fn kind_at(row: &Row, at: usize) -> Result<Kind, Error> {
    Kind::parse(&row.get::<String>(at)?).ok_or(Error::Column { index: at, wanted: "a kind of usage" })
}
