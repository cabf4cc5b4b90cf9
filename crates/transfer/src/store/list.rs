//! Finds jobs and files by what is asked of them.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, Value};

use crate::model::place::storage_key;
use crate::store::row::{self, FileRow, JobRow};

/// Files in one answer.
const MOST_FILES: i64 = 1_000;

/// Which jobs or files.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub cred_id: Option<String>,
    pub user_dn: Option<String>,
    pub vo: Option<String>,
    /// Empty: those that have not ended.
    pub states: Vec<String>,
    pub source_se: Option<String>,
    pub dest_se: Option<String>,
    /// Only for files.
    pub destination: Option<String>,
    /// Ended after this.
    pub ended_since: Option<Timestamp>,
    /// The newest so many.
    pub limit: Option<i64>,
}

/// A `WHERE` clause that grows with its values.
#[derive(Default)]
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    fn mark(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn and(&mut self, condition: &str) {
        self.text.push_str(if self.text.is_empty() { " WHERE " } else { " AND " });
        self.text.push_str(condition);
    }

    fn equal(&mut self, column: &str, wanted: Option<&String>) {
        if let Some(wanted) = wanted {
            let mark = self.mark(wanted);
            self.and(&format!("{column} = {mark}"));
        }
    }

    fn one_of(&mut self, column: &str, wanted: &[String]) {
        if !wanted.is_empty() {
            let marks: Vec<String> = wanted.iter().map(|word| self.mark(word)).collect();
            self.and(&format!("{column} IN ({})", marks.join(", ")));
        }
    }

    fn since(&mut self, column: &str, since: Option<Timestamp>) {
        if let Some(since) = since {
            let mark = self.mark(since);
            self.and(&format!("{column} >= {mark}"));
        }
    }
}

/// Jobs: without states those that have not ended; with states and neither limit nor window likewise; with a window those
/// that ended in it; with a limit the newest, ended or not.
pub fn jobs(tx: &mut Tx<'_>, filter: &Filter) -> Result<Vec<JobRow>, Error> {
    let mut conditions = Conditions::default();
    conditions.equal("cred_id", filter.cred_id.as_ref());
    conditions.equal("user_dn", filter.user_dn.as_ref());
    conditions.equal("vo", filter.vo.as_ref());
    conditions.equal("source_se", filter.source_se.as_ref());
    conditions.equal("dest_se", filter.dest_se.as_ref());
    conditions.one_of("state", &filter.states);
    match (filter.states.is_empty(), filter.limit, filter.ended_since) {
        (true, ..) | (false, None, None) => conditions.and("finished IS NULL"),
        (false, _, since @ Some(_)) => conditions.since("finished", since),
        (false, Some(_), None) => {}
    }
    let Conditions { text, mut values } = conditions;
    let mut sql = format!("SELECT {} FROM transfer_jobs{text} ORDER BY submitted DESC, job_id", row::JOB_COLUMNS);
    if let Some(limit) = filter.limit {
        values.push(limit.into());
        sql.push_str(&format!(" LIMIT ?{}", values.len()));
    }
    tx.query(&sql, &values, row::read_job)
}

/// Files: without a window those that have not ended, with one those that ended in it.
pub fn files(tx: &mut Tx<'_>, filter: &Filter) -> Result<Vec<FileRow>, Error> {
    let mut conditions = Conditions::default();
    conditions.equal("cred_id", filter.cred_id.as_ref());
    conditions.equal("vo", filter.vo.as_ref());
    let key = |storage: &String| storage_key(storage).unwrap_or_else(|| storage.clone());
    conditions.equal("f.source_se", filter.source_se.as_ref().map(key).as_ref());
    conditions.equal("f.dest_se", filter.dest_se.as_ref().map(key).as_ref());
    conditions.equal("destination", filter.destination.as_ref());
    conditions.one_of("f.state", &filter.states);
    match filter.ended_since {
        None => conditions.and("f.finished IS NULL"),
        since => conditions.since("f.finished", since),
    }
    let Conditions { text, mut values } = conditions;
    values.push(MOST_FILES.into());
    let columns: Vec<String> = row::FILE_COLUMNS.split(',').map(|column| format!("f.{}", column.trim())).collect();
    let sql = format!(
        "SELECT {} FROM transfer_files f JOIN transfer_jobs j ON j.job_id = f.job_id{text} ORDER BY f.file_id LIMIT ?{}",
        columns.join(", "),
        values.len()
    );
    tx.query(&sql, &values, row::read_file)
}

/// How many files are being copied, by the host that copies them.
pub fn active_by_host(tx: &mut Tx<'_>) -> Result<Vec<(String, i64)>, Error> {
    let sql = "SELECT COALESCE(host, ''), COUNT(*) FROM transfer_files WHERE finished IS NULL AND state = 'ACTIVE' GROUP BY host";
    tx.query(sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Names in one answer.
const MOST_NAMES: usize = 100;

/// What there are names of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    User,
    Source,
    Destination,
    Storage,
    Vo,
}

/// Names in the jobs that are remembered that begin with `term`.
pub fn beginning_with(tx: &mut Tx<'_>, what: Known, term: &str) -> Result<Vec<String>, Error> {
    let columns: &[&str] = match what {
        Known::User => &["user_dn"],
        Known::Source => &["source_se"],
        Known::Destination => &["dest_se"],
        Known::Storage => &["source_se", "dest_se"],
        Known::Vo => &["vo"],
    };
    let length = term.chars().count();
    let mut names = std::collections::BTreeSet::new();
    for column in columns {
        let sql = format!(
            "SELECT DISTINCT {column} FROM transfer_jobs WHERE {column} IS NOT NULL AND substr({column}, 1, {length}) = ?1
             ORDER BY {column} LIMIT ?2"
        );
        names.extend(tx.query(&sql, &dte_store::params![term, MOST_NAMES], |row| row.get::<String>(0))?);
    }
    Ok(names.into_iter().take(MOST_NAMES).collect())
}
