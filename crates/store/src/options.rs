//! Where the store is and how careful it is.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use dte_base::secret::Secret;
use serde::Deserialize;

/// The address of a store.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// One file, one process.
    Sqlite(PathBuf),
    /// Any number of processes. The text may hold a password, so it is a secret.
    Postgres(Secret),
}

impl FromStr for StoreUrl {
    type Err = crate::Error;
    fn from_str(text: &str) -> Result<Self, crate::Error> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Ok(StoreUrl::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path))));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(StoreUrl::Postgres(Secret::new(text)));
        }
        Err(crate::Error::Open("the address must begin with sqlite: or postgres://".to_owned()))
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `[store]` in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Default: `dte.sqlite` in the data directory.
    pub url: Option<StoreUrl>,
    /// Each commit waits for the disk. Off only for measurements and throw-away engines.
    pub fsync: bool,
    /// Threads that read (SQLite) or the size of the connection pool (PostgreSQL).
    pub threads: usize,
    /// The PostgreSQL schema that holds the tables.
    pub schema: Option<String>,
    /// Events older than this are removed once every consumer has seen them.
    pub event_retention: dte_base::units::Span,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            url: None,
            fsync: true,
            threads: 4,
            schema: None,
            event_retention: dte_base::units::Span(std::time::Duration::from_secs(30 * 86_400)),
        }
    }
}

impl Options {
    /// Options for the SQLite file `path`.
    pub fn sqlite(path: &Path) -> Self {
        Options { url: Some(StoreUrl::Sqlite(path.to_owned())), ..Options::default() }
    }

    /// Options for a PostgreSQL database.
    pub fn postgres(url: &str) -> Self {
        Options { url: Some(StoreUrl::Postgres(Secret::new(url))), ..Options::default() }
    }

    /// Fills in the default place beneath the data directory.
    pub fn in_data_dir(mut self, data_dir: &Path) -> Self {
        self.url.get_or_insert_with(|| StoreUrl::Sqlite(data_dir.join("dte.sqlite")));
        self
    }
}
