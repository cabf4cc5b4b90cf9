//! What the engine as a whole remembers: so far only under which public URL it is known.
//!
//! The URL fixes issuer, audience and storage addresses, so it stays what it was at the first start even when the engine
//! listens elsewhere later, unless the configuration names it.

use dte_store::{Error, Migration, Store, params};
use url::Url;

use crate::failure::Failure;

const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, sql: "CREATE TABLE engine_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)" }];
const PUBLIC_URL: &str = "public_url";

/// The public URL: what is configured, else what is remembered, else `listening` (which is remembered then).
pub async fn public_url(store: &Store, configured: Option<Url>, listening: Url) -> Result<Url, Failure> {
    store.migrate("engine", MIGRATIONS).await?;
    let proposed = configured.clone().unwrap_or(listening).to_string();
    let remembered: String = store
        .write(move |tx| {
            tx.execute(
                "INSERT INTO engine_facts (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                &params![PUBLIC_URL, &proposed],
            )?;
            tx.query_one("SELECT value FROM engine_facts WHERE name = ?1", &params![PUBLIC_URL], |row| row.get(0))
        })
        .await
        .map_err(|error: Error| error)?;
    let remembered = Url::parse(&remembered)?;
    match configured {
        Some(wanted) if wanted != remembered => Err(Failure::new(format!(
            "[http] public_url is {wanted}, but this store was made as {remembered}; tokens, links and storage addresses carry \
             that name"
        ))),
        _ => Ok(remembered),
    }
}
