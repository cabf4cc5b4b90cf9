//! Migrations: each crate has its own numbered list; what was applied is written down with a digest of its text, so that
//! a text that was changed after it ran is noticed at start and not at three in the morning.

use crate::sql::{self, Dialect};
use crate::{Error, Store, Tx, params};

/// One step of a crate's schema. Never change the text of one that was released; add another.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub version: i64,
    /// Portable SQL with `BYTES` for blobs and `SERIAL_ID` for a self-numbered primary key.
    pub sql: &'static str,
}

const OWN_TABLE: &str = "CREATE TABLE IF NOT EXISTS store_migrations (
    owner TEXT NOT NULL, version BIGINT NOT NULL, digest BIGINT NOT NULL, PRIMARY KEY (owner, version))";

impl Store {
    /// Brings the tables of `owner` up to date. Safe when several processes start at once.
    pub async fn migrate(&self, owner: &'static str, migrations: &'static [Migration]) -> Result<(), Error> {
        self.claim(move |tx| {
            if tx.dialect() == Dialect::Postgres {
                tx.query("SELECT 1 FROM (SELECT pg_advisory_xact_lock(7225119)) AS held", &[], |_| Ok(()))?;
            }
            tx.execute_batch(OWN_TABLE)?;
            migrations.iter().try_for_each(|migration| apply(tx, owner, migration))
        })
        .await
    }
}

fn apply(tx: &mut Tx<'_>, owner: &str, migration: &Migration) -> Result<(), Error> {
    let version = migration.version;
    let fail = |message: String| Error::Migration { owner: owner.to_owned(), version, message };
    let digest = digest(migration.sql);
    let applied = tx.query_opt(
        "SELECT digest FROM store_migrations WHERE owner = ?1 AND version = ?2",
        &params![owner, version],
        |row| row.get::<i64>(0),
    )?;
    match applied {
        Some(known) if known == digest => Ok(()),
        Some(_) => Err(fail("its text was changed after it had been applied".to_owned())),
        None => {
            let text = sql::migration(migration.sql, tx.dialect());
            tx.execute_batch(&text).map_err(|error| fail(error.to_string()))?;
            tx.execute("INSERT INTO store_migrations VALUES (?1, ?2, ?3)", &params![owner, version, digest])?;
            Ok(())
        }
    }
}

/// FNV-1a over the text with its white space folded: an edit is noticed, a reformat is not.
fn digest(text: &str) -> i64 {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let hash = folded
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash.cast_signed()
}
