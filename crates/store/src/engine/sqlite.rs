//! SQLite: one writer thread with group commit, reader threads on WAL snapshots, one process.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc;
use std::thread::JoinHandle;

use dte_base::telemetry;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{Job, Ran};
use crate::tx::Connection as TxConnection;
use crate::value::{Row, Value};
use crate::wake::{Touched, Wake};
use crate::{Error, Tx};

/// Closures that one commit takes at most, so that the first of them does not wait for ever.
const BATCH: usize = 1024;
/// Prepared statements kept per connection.
const STATEMENTS: usize = 512;

static BATCH_SIZES: LazyLock<prometheus::Histogram> =
    LazyLock::new(|| telemetry::size_histogram("dte_store_batch_size", "Transactions that shared one commit."));

pub(crate) struct Engine {
    writer: Option<mpsc::Sender<Box<dyn Job>>>,
    readers: Option<crossbeam_channel::Sender<Box<dyn Job>>>,
    threads: Vec<JoinHandle<()>>,
    path: PathBuf,
    /// Held as long as the engine lives: one process, one file.
    _lock: File,
}

impl Engine {
    pub(crate) fn open(path: &Path, fsync: bool, readers: usize, wake: Wake) -> Result<Self, Error> {
        let lock = lock(path)?;
        let writer = connect(path, fsync)?;
        let (write_jobs, queue) = mpsc::channel();
        let mut threads = vec![spawn("store-writer", move || write_loop(&writer, &queue, &wake))?];
        let (read_jobs, queue) = crossbeam_channel::unbounded();
        for number in 0..readers.max(1) {
            let connection = connect_reader(path)?;
            let queue = queue.clone();
            threads.push(spawn(&format!("store-reader-{number}"), move || read_loop(&connection, &queue))?);
        }
        Ok(Engine { writer: Some(write_jobs), readers: Some(read_jobs), threads, path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn write(&self, job: Box<dyn Job>) {
        match &self.writer {
            Some(writer) => {
                if let Err(mpsc::SendError(job)) = writer.send(job) {
                    job.fail(Error::Closed);
                }
            }
            None => job.fail(Error::Closed),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self, job: Box<dyn Job>) {
        match &self.readers {
            Some(readers) => {
                if let Err(crossbeam_channel::SendError(job)) = readers.send(job) {
                    job.fail(Error::Closed);
                }
            }
            None => job.fail(Error::Closed),
        }
    }
}

impl Drop for Engine {
    /// Finishes what was asked, then ends the threads and closes the file.
    fn drop(&mut self) {
        self.writer = None;
        self.readers = None;
        for thread in self.threads.drain(..) {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a store thread panicked");
            }
        }
    }
}

/// Writes the log into the file and empties it, so that what was overwritten is in neither. Gives false when a long read kept
/// it from that.
pub(crate) fn empty_log(path: &Path) -> Result<bool, Error> {
    let failed = |error: rusqlite::Error| Error::Open(format!("{}: {error}", path.display()));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA secure_delete = ON;").map_err(failed)?;
    let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    Ok(is_busy.map_err(failed)? == 0)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Error::Open(format!("cannot start a thread: {error}")))
}

fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(|error| Error::Open(format!("{}: {error}", name.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Open(format!("{} is in use by another dte process", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(Error::Open(format!("{}: {error}", name.display()))),
    }
}

fn connect(path: &Path, fsync: bool) -> Result<Connection, Error> {
    let opened = Connection::open(path).map_err(|error| Error::Open(format!("{}: {error}", path.display())))?;
    private_to_owner(path)?;
    let synchronous = if fsync { "FULL" } else { "OFF" };
    opened.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON;
         PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000;
         PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; PRAGMA secure_delete = ON;"
    ))?;
    opened.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(opened)
}

/// The file holds what users entrusted to us, so only its owner reads it.
fn private_to_owner(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| Error::Open(format!("{}: {error}", path.display())))
}

fn connect_reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| Error::Open(format!("{}: {error}", path.display())))?;
    connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4000;")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn write_loop(connection: &Connection, queue: &mpsc::Receiver<Box<dyn Job>>, wake: &Wake) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        BATCH_SIZES.observe(batch.len() as f64);
        run_batch(connection, batch, wake);
    }
}

/// One commit for all jobs; each under its own savepoint.
fn run_batch(connection: &Connection, mut batch: Vec<Box<dyn Job>>, wake: &Wake) {
    let mut touched = Touched::default();
    match run_jobs(connection, &mut batch, &mut touched) {
        Ok(()) => {
            wake.ring(&touched);
            batch.into_iter().for_each(|job| job.answer());
        }
        Err(error) => {
            tracing::error!(%error, jobs = batch.len(), "a commit failed; nothing of it is kept");
            if !connection.is_autocommit()
                && let Err(error) = connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "rollback failed");
            }
            let full = matches!(error, Error::Full);
            for job in batch {
                job.fail(if full { Error::Full } else { Error::Database(error.to_string()) });
            }
        }
    }
}

fn run_jobs(connection: &Connection, batch: &mut [Box<dyn Job>], touched: &mut Touched) -> Result<(), Error> {
    execute(connection, "BEGIN IMMEDIATE", &[])?;
    for job in batch {
        execute(connection, "SAVEPOINT job", &[])?;
        let mut tx = Tx::new(TxConnection::Sqlite(connection));
        let ran = job.run(&mut tx);
        if connection.is_autocommit() {
            // The database gave the whole transaction up (disk full, I/O error): no job of this batch stands.
            return Err(Error::Full);
        }
        match ran {
            Ran::Ok => touched.merge(tx.touched),
            Ran::Failed => {
                execute(connection, "ROLLBACK TO job", &[])?;
            }
        }
        execute(connection, "RELEASE job", &[])?;
    }
    execute(connection, "COMMIT", &[])?;
    Ok(())
}

fn read_loop(connection: &Connection, queue: &crossbeam_channel::Receiver<Box<dyn Job>>) {
    while let Ok(mut job) = queue.recv() {
        let began = execute(connection, "BEGIN DEFERRED", &[]);
        if let Err(error) = began {
            job.fail(error);
            continue;
        }
        job.run(&mut Tx::new(TxConnection::Sqlite(connection)));
        match execute(connection, "COMMIT", &[]) {
            Ok(_) => job.answer(),
            Err(error) => job.fail(error),
        }
    }
}

pub(crate) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let changed = statement.execute(rusqlite::params_from_iter(params))?;
    Ok(changed as u64)
}

pub(crate) fn query(
    connection: &Connection,
    sql: &str,
    params: &[Value],
    each: &mut dyn FnMut(&Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let width = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(params))?;
    let mut row = Row { columns: Vec::with_capacity(width) };
    while let Some(found) = rows.next()? {
        row.columns.clear();
        for index in 0..width {
            row.columns.push(match found.get_ref(index)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(n) => Value::Int(n),
                ValueRef::Real(_) => return Err(Error::Column { index, wanted: "an integer, text or blob" }),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => Value::Blob(bytes.to_owned()),
            });
        }
        each(&row)?;
    }
    Ok(())
}
