//! Who accepted what: records that are only ever added, each bound to the one before.

use dte_store::{Error, Row, Tx, Value, params, values};

use crate::policy::agreements::{Kind, Method, Record};

const COLUMNS: &str = "seq, id, kind, issuer, subject, owner, aup_id, aup_seq, text_sha256, at, method, actor, agent_hash, locale, \
                       subject_digest, evidence";

fn record(row: &Row) -> Result<Record, Error> {
    let (kind, method) = (row.get::<String>(2)?, row.get::<String>(10)?);
    Ok(Record {
        seq: row.get(0)?,
        id: row.get(1)?,
        kind: Kind::named(&kind).ok_or_else(|| Error::Invalid(format!("{kind:?} is no kind of a record")))?,
        issuer: row.get(3)?,
        subject: row.get(4)?,
        owner: row.get(5)?,
        aup_id: row.get(6)?,
        aup_seq: row.get(7)?,
        text_sha256: row.get(8)?,
        at: row.get(9)?,
        method: Method::named(&method).ok_or_else(|| Error::Invalid(format!("{method:?} is no method")))?,
        actor: row.get(11)?,
        agent_hash: row.get(12)?,
        locale: row.get(13)?,
        subject_digest: row.get(14)?,
        evidence: row.get(15)?,
    })
}

/// What comes after a change, in the order in which it was recorded.
pub(crate) fn changed_after(tx: &mut Tx<'_>, changed: i64) -> Result<Vec<Record>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM policy_acceptances WHERE changed > ?1 ORDER BY seq");
    tx.query(&sql, &params![changed], record)
}

/// The number and evidence of the last record.
pub(crate) fn last(tx: &mut Tx<'_>) -> Result<(i64, Vec<u8>), Error> {
    let sql = "SELECT seq, evidence FROM policy_acceptances ORDER BY seq DESC LIMIT 1";
    let found = tx.query_opt(sql, &params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.unwrap_or_default())
}

pub(crate) fn append(tx: &mut Tx<'_>, records: &[Record], changed: i64) -> Result<(), Error> {
    let row = |one: &Record| {
        values![
            one.seq,
            &one.id,
            one.kind.name(),
            &one.issuer,
            &one.subject,
            &one.owner,
            &one.aup_id,
            one.aup_seq,
            &one.text_sha256,
            one.at,
            one.method.name(),
            &one.actor,
            &one.agent_hash,
            &one.locale,
            one.subject_digest.as_slice(),
            one.evidence.as_slice(),
            changed
        ]
    };
    let columns: Vec<&str> = COLUMNS.split(", ").map(str::trim).chain(["changed"]).collect();
    let rows: Vec<Vec<Value>> = records.iter().map(row).collect();
    tx.insert_many("policy_acceptances", &columns, &rows).map(drop)
}

/// Which records a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) owner: Option<String>,
}

/// Records after `seq`, in order.
pub(crate) fn list(tx: &mut Tx<'_>, filter: &Filter, seq: i64, limit: usize) -> Result<Vec<Record>, Error> {
    let mut sql = format!("SELECT {COLUMNS} FROM policy_acceptances WHERE seq > ?1");
    let mut params = vec![Value::from(seq)];
    for (column, value) in [("issuer", &filter.issuer), ("subject", &filter.subject), ("owner", &filter.owner)] {
        if let Some(value) = value {
            params.push(value.into());
            sql.push_str(&format!(" AND {column} = ?{}", params.len()));
        }
    }
    params.push(limit.into());
    sql.push_str(&format!(" ORDER BY seq LIMIT ?{}", params.len()));
    tx.query(&sql, &params, record)
}

/// The newest record of a subject about a version.
pub(crate) fn newest(tx: &mut Tx<'_>, issuer: &str, subject: &str, aup_id: &str) -> Result<Option<Record>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM policy_acceptances WHERE issuer = ?1 AND subject = ?2 AND aup_id = ?3 ORDER BY seq DESC LIMIT 1"
    );
    tx.query_opt(&sql, &params![issuer, subject, aup_id], record)
}
