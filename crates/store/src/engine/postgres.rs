//! PostgreSQL: a bounded pool of connection threads, `SERIALIZABLE`, retried on 40001 and 40P01; any number of processes.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_base::secret::Secret;
use fallible_iterator::FallibleIterator;
use postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use postgres::{Client, NoTls, Statement};

use super::{Job, Kind, Ran};
use crate::sql::Translated;
use crate::tx::Connection as TxConnection;
use crate::value::{Row, Value};
use crate::wake::Touched;
use crate::{Error, Tx};

/// How often a closure is run again after conflicts before the caller hears of it.
const MOST_RUNS: u32 = 200;
const CONFLICT_WAIT: Backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(100));

/// How to reach the database.
#[derive(Clone)]
pub(crate) struct Address {
    url: Secret,
    schema: Option<String>,
    fsync: bool,
}

/// The advisory lock under which schemas are created.
const SCHEMA_LOCK: i64 = 7_225_118;

impl Address {
    pub(crate) fn new(url: &Secret, schema: Option<&str>, fsync: bool) -> Result<Self, Error> {
        if let Some(schema) = schema
            && !schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        {
            return Err(Error::Open("a schema's name is of a-z, 0-9 and _".to_owned()));
        }
        Ok(Address { url: url.clone(), schema: schema.map(str::to_owned), fsync })
    }

    /// A new connection, in the right schema.
    pub(crate) fn connect(&self) -> Result<Client, Error> {
        let mut client = Client::connect(self.url.expose(), NoTls)
            .map_err(|error| Error::Open(format!("PostgreSQL: {}", reason(&error))))?;
        client.batch_execute("SET client_min_messages = warning; SET TIME ZONE 'UTC'")?;
        if let Some(schema) = &self.schema {
            // `IF NOT EXISTS` fails for one of two connections that create it in the same moment: one at a time. A batch is one
            // transaction, so the lock is released with it, and a schema that is there is not asked for at all.
            client.batch_execute(&format!(
                "DO $$ BEGIN IF to_regnamespace('{schema}') IS NULL THEN
                   PERFORM pg_advisory_xact_lock({SCHEMA_LOCK}); CREATE SCHEMA IF NOT EXISTS {schema};
                 END IF; END $$;
                 SET search_path = {schema}"
            ))?;
        }
        if !self.fsync {
            client.batch_execute("SET synchronous_commit = off")?;
        }
        Ok(client)
    }

    /// Channel names are global to a database, so they carry the schema.
    pub(crate) fn channel(&self, what: &str) -> String {
        format!("dte_{}_{what}", self.schema.as_deref().unwrap_or("public"))
    }
}

/// The driver's message together with what caused it, without the address.
fn reason(error: &postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

pub(crate) struct Engine {
    jobs: Option<crossbeam_channel::Sender<(Kind, Box<dyn Job>)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    pub(crate) fn open(
        address: &Address,
        threads: usize,
        committed: Arc<dyn Fn(Touched) + Send + Sync>,
    ) -> Result<Self, Error> {
        let (sender, queue) = crossbeam_channel::unbounded::<(Kind, Box<dyn Job>)>();
        let translated = Arc::new(Translated::default());
        let mut workers = Vec::new();
        for number in 0..threads.max(2) {
            let mut session = Session::open(address.clone(), Arc::clone(&translated))?;
            let queue = queue.clone();
            let committed = Arc::clone(&committed);
            let thread = std::thread::Builder::new().name(format!("store-pg-{number}")).spawn(move || {
                while let Ok((kind, job)) = queue.recv() {
                    session.run(kind, job, committed.as_ref());
                }
            });
            workers.push(thread.map_err(|error| Error::Open(format!("cannot start a thread: {error}")))?);
        }
        Ok(Engine { jobs: Some(sender), threads: workers })
    }

    pub(crate) fn submit(&self, kind: Kind, job: Box<dyn Job>) {
        match &self.jobs {
            Some(jobs) => {
                if let Err(crossbeam_channel::SendError((_, job))) = jobs.send((kind, job)) {
                    job.fail(Error::Closed);
                }
            }
            None => job.fail(Error::Closed),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a store thread panicked");
            }
        }
    }
}

/// One connection with its prepared statements.
pub(crate) struct Session {
    address: Address,
    client: Client,
    statements: HashMap<String, Statement>,
    translated: Arc<Translated>,
}

impl Session {
    fn open(address: Address, translated: Arc<Translated>) -> Result<Self, Error> {
        let client = address.connect()?;
        Ok(Session { address, client, statements: HashMap::new(), translated })
    }

    fn run(&mut self, kind: Kind, mut job: Box<dyn Job>, committed: &dyn Fn(Touched)) {
        for attempt in 1..=MOST_RUNS {
            if self.client.is_closed() {
                match Session::open(self.address.clone(), Arc::clone(&self.translated)) {
                    Ok(session) => *self = session,
                    Err(error) => return job.fail(error),
                }
            }
            match self.run_once(kind, &mut job) {
                Ok(Some(touched)) => {
                    if !touched.is_empty() {
                        committed(touched);
                    }
                    return job.answer();
                }
                Ok(None) => return job.answer(),
                Err(Error::Conflict) => {
                    job.note_conflict();
                    std::thread::sleep(CONFLICT_WAIT.wait(attempt));
                }
                Err(error) => return job.fail(error),
            }
        }
        job.fail(Error::Database(format!("gave up after {MOST_RUNS} conflicts with other transactions")));
    }

    /// `Some` when it committed, `None` when the closure itself refused (and was rolled back).
    fn run_once(&mut self, kind: Kind, job: &mut Box<dyn Job>) -> Result<Option<Touched>, Error> {
        self.client.batch_execute(match kind {
            Kind::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Kind::Write => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            Kind::Claim => "BEGIN ISOLATION LEVEL READ COMMITTED",
        })?;
        let mut tx = Tx::new(TxConnection::Postgres(self));
        let ran = job.run(&mut tx);
        let (touched, conflicted) = (tx.touched, tx.conflicted);
        if conflicted {
            self.rollback();
            return Err(Error::Conflict);
        }
        match ran {
            Ran::Ok => {
                self.client.batch_execute("COMMIT")?;
                Ok(Some(touched))
            }
            Ran::Failed => {
                self.rollback();
                Ok(None)
            }
        }
    }

    fn rollback(&mut self) {
        if let Err(error) = self.client.batch_execute("ROLLBACK") {
            tracing::warn!(%error, "rollback failed");
        }
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&self.translated.get(sql))?;
        // Bulk statements of odd sizes would fill the cache with texts that never come again.
        if sql.len() < 4096 {
            self.statements.insert(sql.to_owned(), statement.clone());
        }
        Ok(statement)
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Error> {
        let statement = self.prepare(sql)?;
        let bound: Vec<&(dyn ToSql + Sync)> = params.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        Ok(self.client.execute(&statement, &bound)?)
    }

    pub(crate) fn execute_batch(&mut self, sql: &str) -> Result<(), Error> {
        Ok(self.client.batch_execute(sql)?)
    }

    pub(crate) fn query(
        &mut self,
        sql: &str,
        params: &[Value],
        each: &mut dyn FnMut(&Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let statement = self.prepare(sql)?;
        let mut rows = self.client.query_raw(&statement, params.iter())?;
        let mut row = Row { columns: Vec::new() };
        while let Some(found) = rows.next()? {
            row.columns.clear();
            for index in 0..found.len() {
                row.columns.push(found.try_get::<_, Value>(index)?);
            }
            each(&row)?;
        }
        Ok(())
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match (self, kind) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Int(n), &Type::INT4) => i32::try_from(*n)?.to_sql(kind, out),
            (Value::Int(n), &Type::INT2) => i16::try_from(*n)?.to_sql(kind, out),
            (Value::Int(n), &Type::BOOL) => (*n != 0).to_sql(kind, out),
            (Value::Int(n), &Type::TEXT) => n.to_string().to_sql(kind, out),
            (Value::Int(n), _) => n.to_sql(kind, out),
            (Value::Text(text), _) => text.to_sql(kind, out),
            (Value::Blob(bytes), _) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Value::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Value::Int(i64::from(i32::from_sql(kind, raw)?)),
            Type::INT2 => Value::Int(i64::from(i16::from_sql(kind, raw)?)),
            Type::BOOL => Value::Int(i64::from(bool::from_sql(kind, raw)?)),
            Type::BYTEA => Value::Blob(raw.to_vec()),
            Type::NUMERIC => Value::Int(whole_number(raw)?),
            _ => Value::Text(<&str>::from_sql(kind, raw)?.to_owned()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Value::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// `SUM` of integers is NUMERIC on PostgreSQL: base-10000 digits after four 16-bit fields (count, weight, sign, scale).
fn whole_number(raw: &[u8]) -> Result<i64, Box<dyn StdError + Sync + Send>> {
    let field = |index: usize| raw.get(index * 2..index * 2 + 2).map(|b| i16::from_be_bytes([b[0], b[1]]));
    let (Some(digits), Some(weight), Some(sign)) = (field(0), field(1), field(2)) else {
        return Err("a numeric value is cut short".into());
    };
    let mut value: i64 = 0;
    for position in 0..=weight {
        let digit = if position < digits { field(4 + position as usize).unwrap_or(0) } else { 0 };
        value = value.checked_mul(10_000).and_then(|v| v.checked_add(i64::from(digit))).ok_or("number too large")?;
    }
    if digits > weight + 1 {
        return Err("not a whole number".into());
    }
    Ok(if sign == 0 { value } else { -value })
}
