//! Declared watches and what they are doing.

use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_store::{Error, NewWork, Row, Tx, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::watch::Spec;

/// The queue in which each watch is one piece of work that never ends: whoever holds its lease watches.
pub const QUEUE: &str = "events.watch";

/// What a watch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Declared, but no process has begun yet.
    Starting,
    /// Told by the kernel.
    Watching,
    /// Looking again and again.
    Polling,
    /// The folder is not there; it is looked for.
    Missing,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Watching => "watching",
            State::Polling => "polling",
            State::Missing => "missing",
        }
    }

    fn parse(text: &str) -> State {
        match text {
            "watching" => State::Watching,
            "polling" => State::Polling,
            "missing" => State::Missing,
            _ => State::Starting,
        }
    }
}

/// A watch with its status.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watch {
    #[serde(flatten)]
    pub spec: Spec,
    pub owner: String,
    pub created: Timestamp,
    pub status: Status,
    #[serde(skip)]
    pub incarnation: Uuid,
}

/// How a watch is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub state: State,
    pub since: Timestamp,
    /// What is wrong, if something is.
    pub error: Option<String>,
    /// Files published so far.
    pub published: u64,
    pub last_published: Option<Timestamp>,
}

const COLUMNS: &str = "spec, owner, created, incarnation, state, state_since, error, published, last_published";

fn read(row: &Row) -> Result<Watch, Error> {
    let spec: String = row.get(0)?;
    let spec = serde_json::from_str(&spec).map_err(|error| Error::Invalid(format!("a stored watch: {error}")))?;
    Ok(Watch {
        spec,
        owner: row.get(1)?,
        created: row.get(2)?,
        incarnation: row.get(3)?,
        status: Status {
            state: State::parse(&row.get::<String>(4)?),
            since: row.get(5)?,
            error: row.get(6)?,
            published: row.get(7)?,
            last_published: row.get(8)?,
        },
    })
}

/// How a declaration ended.
#[derive(Clone, Debug)]
pub enum Declared {
    New(Watch),
    /// Declared before in the same words.
    Same(Watch),
    /// The name is taken by another declaration.
    Taken,
}

/// Declares a watch; the same declaration again changes nothing.
pub fn declare(tx: &mut Tx<'_>, spec: &Spec, owner: &str) -> Result<Declared, Error> {
    match get(tx, &spec.name)? {
        Some(known) if known.spec == *spec => return Ok(Declared::Same(known)),
        Some(_) => return Ok(Declared::Taken),
        None => {}
    }
    let now = Timestamp::now();
    tx.execute(
        "INSERT INTO events_watches (name, incarnation, owner, spec, created, state, state_since, published)
         VALUES (?1, ?2, ?3, ?4, ?5, 'starting', ?5, 0)",
        &params![&spec.name, new_id(), owner, spec_text(spec)?, now],
    )?;
    request(tx, &spec.name)?;
    get(tx, &spec.name)?.map(Declared::New).ok_or(Error::NotFound)
}

/// Changes the declaration; what was published stays known.
pub fn replace(tx: &mut Tx<'_>, spec: &Spec) -> Result<Option<Watch>, Error> {
    let sql = "UPDATE events_watches SET spec = ?2 WHERE name = ?1";
    tx.execute(sql, &params![&spec.name, spec_text(spec)?])?;
    get(tx, &spec.name)
}

fn spec_text(spec: &Spec) -> Result<String, Error> {
    serde_json::to_string(spec).map_err(|error| Error::Invalid(format!("a watch: {error}")))
}

/// Work that makes some process watch.
fn request(tx: &mut Tx<'_>, name: &str) -> Result<(), Error> {
    tx.request(NewWork::new(QUEUE, name, serde_json::json!({ "watch": name })))
}

/// Sees to it that every declared watch has its work, also one whose work was lost as a dead letter.
pub fn request_all(tx: &mut Tx<'_>) -> Result<(), Error> {
    let names: Vec<String> = tx.query("SELECT name FROM events_watches ORDER BY name", &[], |row| row.get(0))?;
    names
        .iter()
        .try_for_each(|name| tx.enqueue(NewWork::new(QUEUE, name, serde_json::json!({ "watch": name }))).map(|_| ()))
}

pub fn get(tx: &mut Tx<'_>, name: &str) -> Result<Option<Watch>, Error> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM events_watches WHERE name = ?1"), &params![name], read)
}

/// Watches in the order of their names.
pub fn list(tx: &mut Tx<'_>, after: &str, limit: usize) -> Result<Vec<Watch>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM events_watches WHERE name > ?1 ORDER BY name LIMIT ?2");
    tx.query(&sql, &params![after, limit], read)
}

/// Ends a watch and forgets what it published. `false` when there is none.
pub fn delete(tx: &mut Tx<'_>, name: &str) -> Result<bool, Error> {
    let gone = tx.execute("DELETE FROM events_watches WHERE name = ?1", &params![name])? > 0;
    tx.execute("DELETE FROM events_files WHERE watch = ?1", &params![name])?;
    tx.forget_work(QUEUE, name)?;
    Ok(gone)
}

/// Notes what the watch is doing now, if that is news.
pub fn note_state(
    tx: &mut Tx<'_>,
    name: &str,
    incarnation: Uuid,
    state: State,
    error: Option<&str>,
) -> Result<(), Error> {
    tx.execute(
        "UPDATE events_watches SET state = ?3, error = ?4, state_since = ?5 WHERE name = ?1 AND incarnation = ?2",
        &params![name, incarnation, state.text(), error, Timestamp::now()],
    )?;
    Ok(())
}
