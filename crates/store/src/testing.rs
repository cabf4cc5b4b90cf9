//! Stores for tests: thrown away at the end, on each engine that the test run offers.

use std::ops::Deref;

use crate::{Error, Options, Store};

/// A store in a temporary folder (or schema).
pub struct TemporaryStore {
    store: Store,
    // Dropped after the store.
    _folder: Option<tempfile::TempDir>,
}

impl Deref for TemporaryStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Names a PostgreSQL on which tests may make schemas of their own, for example
/// `postgres://postgres@127.0.0.1:5433/dte`.
pub const POSTGRES_VARIABLE: &str = "DTE_TEST_POSTGRES";

/// SQLite in a temporary folder.
pub async fn temporary() -> Result<TemporaryStore, Error> {
    let folder = tempfile::tempdir().map_err(|error| Error::Open(error.to_string()))?;
    let store = Store::open(&Options::sqlite(&folder.path().join("test.sqlite"))).await?;
    Ok(TemporaryStore { store, _folder: Some(folder) })
}

/// Options for a fresh schema on the PostgreSQL of the test run, if it has one.
pub fn postgres_options() -> Option<Options> {
    let url = std::env::var(POSTGRES_VARIABLE).ok().filter(|url| !url.is_empty())?;
    let schema = format!("test_{}", dte_base::id::new_id().simple());
    Some(Options { schema: Some(schema), ..Options::postgres(&url) })
}

/// One store of each engine that is at hand: SQLite always, PostgreSQL when [`POSTGRES_VARIABLE`] is set.
pub async fn stores() -> Result<Vec<TemporaryStore>, Error> {
    let mut stores = vec![temporary().await?];
    match postgres_options() {
        Some(options) => stores.push(TemporaryStore { store: Store::open(&options).await?, _folder: None }),
        None => eprintln!("SKIPPED on PostgreSQL: {POSTGRES_VARIABLE} is not set"),
    }
    Ok(stores)
}
