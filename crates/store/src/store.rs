//! The store itself: opens an engine, runs closures on it.

use std::panic::Location;
use std::sync::Arc;

use dte_base::id::new_id;
use tokio::sync::watch;

use crate::engine::{Kind, TypedJob, postgres, sqlite};
use crate::options::{Options, StoreUrl};
use crate::wake::Wake;
use crate::{Error, Tx, events, work};

/// A database with an event log and durable work. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    wake: Wake,
    /// Names this process (more exactly, this opening of the store) in leases.
    instance: String,
    /// Ends the threads that carry notifications on PostgreSQL; dropped after the engine.
    _notices: Option<events::postgres::Notices>,
}

enum Engine {
    Sqlite(sqlite::Engine),
    Postgres(postgres::Engine),
}

impl Store {
    /// Opens (and where needed makes) the store, ready for [`Store::migrate`] of each crate.
    ///
    /// Blocks while it connects; call it from a blocking context or at start.
    pub async fn open(options: &Options) -> Result<Store, Error> {
        let options = options.clone();
        let opened = tokio::task::spawn_blocking(move || Store::connect(&options)).await;
        let store = opened.map_err(|error| Error::Open(error.to_string()))??;
        store.migrate("store", events::MIGRATIONS).await?;
        store.migrate("store.work", work::MIGRATIONS).await?;
        if let Engine::Sqlite(_) = store.inner.engine {
            // The lock on the file proves that every lease in it belongs to a process that is gone.
            store.write(work::release_all).await?;
            store.inner.wake.event(store.latest_seq().await?);
        }
        if let Some(notices) = &store.inner._notices {
            notices.begin();
            store.inner.wake.event(store.latest_seq().await?);
        }
        Ok(store)
    }

    fn connect(options: &Options) -> Result<Store, Error> {
        let wake = Wake::new(0);
        let url = options.url.as_ref().ok_or_else(|| Error::Open("no address is given".to_owned()))?;
        let (engine, notices) = match url {
            StoreUrl::Sqlite(path) => {
                if let Some(folder) = path.parent()
                    && !folder.as_os_str().is_empty()
                {
                    std::fs::create_dir_all(folder)
                        .map_err(|error| Error::Open(format!("{}: {error}", folder.display())))?;
                }
                (Engine::Sqlite(sqlite::Engine::open(path, options.fsync, options.threads, wake.clone())?), None)
            }
            StoreUrl::Postgres(url) => {
                let address = postgres::Address::new(url, options.schema.as_deref(), options.fsync)?;
                let notices = events::postgres::Notices::start(&address, wake.clone())?;
                let committed = notices.committed();
                (Engine::Postgres(postgres::Engine::open(&address, options.threads, committed)?), Some(notices))
            }
        };
        let instance = new_id().to_string();
        Ok(Store { inner: Arc::new(Inner { engine, wake, instance, _notices: notices }) })
    }

    /// Runs a transaction that may change things, and answers when it is on disk.
    ///
    /// The closure may run more than once; only its last run counts. An `Err` of the closure undoes what it did.
    #[track_caller]
    pub fn write<T, E, F>(&self, closure: F) -> impl Future<Output = Result<T, E>> + Send + 'static
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.submit(Kind::Write, Location::caller(), closure)
    }

    /// Runs a transaction that only reads, on a snapshot.
    #[track_caller]
    pub fn read<T, E, F>(&self, closure: F) -> impl Future<Output = Result<T, E>> + Send + 'static
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.submit(Kind::Read, Location::caller(), closure)
    }

    /// A write that on PostgreSQL runs at `READ COMMITTED`: only for what takes row or advisory locks itself.
    #[track_caller]
    pub fn claim<T, E, F>(&self, closure: F) -> impl Future<Output = Result<T, E>> + Send + 'static
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.submit(Kind::Claim, Location::caller(), closure)
    }

    fn submit<T, E, F>(
        &self,
        kind: Kind,
        place: &'static Location<'static>,
        closure: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'static
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, answer) = TypedJob::new(closure, kind, place);
        match &self.inner.engine {
            Engine::Sqlite(engine) if kind == Kind::Read => engine.read(Box::new(job)),
            Engine::Sqlite(engine) => engine.write(Box::new(job)),
            Engine::Postgres(engine) => engine.submit(kind, Box::new(job)),
        }
        async move { answer.await.unwrap_or_else(|_| Err(E::from(Error::Closed))) }
    }

    /// Makes that what was deleted or overwritten before is in none of the files any more, as far as the engine can: SQLite
    /// empties its log. Gives false when that has to be tried again. PostgreSQL has its own rhythm (vacuum, archived logs).
    pub async fn forget_deleted(&self) -> Result<bool, Error> {
        let path = match &self.inner.engine {
            Engine::Sqlite(engine) => engine.path().to_owned(),
            Engine::Postgres(_) => return Ok(true),
        };
        let emptied = tokio::task::spawn_blocking(move || sqlite::empty_log(&path)).await;
        emptied.map_err(|error| Error::Open(error.to_string()))?
    }

    /// The number of the newest event that can be read; changes wake the receiver.
    pub fn watch_events(&self) -> watch::Receiver<i64> {
        self.inner.wake.events()
    }

    /// Names this opening of the store in leases.
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// Whether other processes may share this store.
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.engine, Engine::Postgres(_))
    }

    pub(crate) fn wake(&self) -> &Wake {
        &self.inner.wake
    }
}
