//! What a transaction's closure may do.

use crate::engine::postgres::Session;
use crate::sql::Dialect;
use crate::value::{Row, Value};
use crate::wake::Touched;
use crate::{Error, engine};

/// A transaction in progress. Handed to the closures of [`Store::write`](crate::Store::write) and
/// [`Store::read`](crate::Store::read); everything done through it is committed or undone together.
pub struct Tx<'c> {
    pub(crate) connection: Connection<'c>,
    pub(crate) touched: Touched,
    /// The engine asked to run this closure again; what the closure itself answers does not count then.
    pub(crate) conflicted: bool,
}

pub(crate) enum Connection<'c> {
    Sqlite(&'c rusqlite::Connection),
    Postgres(&'c mut Session),
}

impl<'c> Tx<'c> {
    pub(crate) fn new(connection: Connection<'c>) -> Self {
        Tx { connection, touched: Touched::default(), conflicted: false }
    }

    /// Which engine this runs on. For the few statements that cannot be written portably; services do without.
    pub fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Ends a query whose rows nobody else shall change before this transaction ends. For what runs at `READ COMMITTED`
    /// ([`Store::claim`](crate::Store::claim)); on SQLite there is one writer, and the clause is empty.
    pub fn for_update(&self) -> &'static str {
        match self.dialect() {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE",
        }
    }

    /// Runs a statement and says how many rows it changed.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Error> {
        let outcome = match &mut self.connection {
            Connection::Sqlite(connection) => engine::sqlite::execute(connection, sql, params),
            Connection::Postgres(session) => session.execute(sql, params),
        };
        self.note(outcome)
    }

    /// Runs a query (or a statement with `RETURNING`) and maps each row.
    pub fn query<T>(
        &mut self,
        sql: &str,
        params: &[Value],
        mut map: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut answers = Vec::new();
        let mut each = |row: &Row| -> Result<(), Error> {
            answers.push(map(row)?);
            Ok(())
        };
        let outcome = match &mut self.connection {
            Connection::Sqlite(connection) => engine::sqlite::query(connection, sql, params, &mut each),
            Connection::Postgres(session) => session.query(sql, params, &mut each),
        };
        self.note(outcome)?;
        Ok(answers)
    }

    /// The first row, if there is one.
    pub fn query_opt<T>(
        &mut self,
        sql: &str,
        params: &[Value],
        map: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        Ok(self.query(sql, params, map)?.into_iter().next())
    }

    /// The first row; [`Error::NotFound`] when there is none.
    pub fn query_one<T>(
        &mut self,
        sql: &str,
        params: &[Value],
        map: impl FnMut(&Row) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.query_opt(sql, params, map)?.ok_or(Error::NotFound)
    }

    /// Runs several statements without parameters (migrations).
    pub(crate) fn execute_batch(&mut self, sql: &str) -> Result<(), Error> {
        let outcome = match &mut self.connection {
            Connection::Sqlite(connection) => connection.execute_batch(sql).map_err(Error::from),
            Connection::Postgres(session) => session.execute_batch(sql),
        };
        self.note(outcome)
    }

    fn note<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &outcome {
            self.conflicted |= error.is_conflict();
        }
        outcome
    }
}
