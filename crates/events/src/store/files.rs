//! What was published: the memory that keeps a file from being published twice, or not at all.

use std::collections::HashMap;

use dte_base::time::Timestamp;
use dte_store::{Error, Event, Tx, Value, params, values};
use uuid::Uuid;

use super::{marks, watches};
use crate::model::file::{Complete, FileCreated, News, Published, Replaced, event_id, identity, news};

/// The type of the event that tells of a file.
pub const FILE_CREATED: &str = "org.dte.events.file.created";

/// What is remembered of `names`; names that were never published are absent.
pub fn remembered(tx: &mut Tx<'_>, watch: &str, names: &[String]) -> Result<HashMap<String, Published>, Error> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT name, size, adler32, modified, inode, revision, event FROM events_files
         WHERE watch = ?1 AND name IN ({})",
        marks(1, names.len())
    );
    let values: Vec<Value> = std::iter::once(watch.into()).chain(names.iter().map(Value::from)).collect();
    let rows = tx.query(&sql, &values, |row| {
        let published = Published {
            size: row.get(1)?,
            adler32: row.get(2)?,
            modified: row.get(3)?,
            inode: row.get(4)?,
            revision: row.get(5)?,
            event: row.get(6)?,
        };
        Ok((row.get::<String>(0)?, published))
    })?;
    Ok(rows.into_iter().collect())
}

/// Publishes those of `files` that are news, in their order, with the memory of it in the same transaction. Answers how
/// many were; `None` when the watch is gone or another one by now.
pub fn publish(
    tx: &mut Tx<'_>,
    watch: &str,
    incarnation: Uuid,
    folder: &str,
    files: &[Complete],
) -> Result<Option<u64>, Error> {
    let Some(declared) = watches::get(tx, watch)?.filter(|known| known.incarnation == incarnation) else {
        return Ok(None);
    };
    let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
    let mut known = remembered(tx, watch, &names)?;
    let mut published = 0;
    let mut rows: HashMap<&str, Vec<Value>> = HashMap::new();
    for file in files {
        let before = known.get(&file.name);
        let (revision, replaces) = match news(before, file) {
            News::None => (before.map_or(1, |b| b.revision), None),
            News::First => (1, None),
            News::Replaces { event, size, adler32, revision } => {
                (revision + 1, Some(Replaced { event, size, adler32 }))
            }
        };
        let event = event_id(incarnation, file, revision);
        if before.is_none() || replaces.is_some() {
            tx.emit(created(&declared.owner, watch, folder, file, replaces)?.with_id(event))?;
            published += 1;
        }
        let look = file.look;
        let inode = look.inode.cast_signed();
        rows.insert(
            &file.name,
            values![watch, &file.name, look.size, &file.adler32, look.modified, inode, revision, event],
        );
        let now_known = Published {
            size: look.size,
            adler32: file.adler32.clone(),
            modified: look.modified,
            inode: look.inode,
            revision,
            event,
        };
        known.insert(file.name.clone(), now_known);
    }
    let rows: Vec<Vec<Value>> = rows.into_values().collect();
    let columns = ["watch", "name", "size", "adler32", "modified", "inode", "revision", "event"];
    tx.upsert_many("events_files", &columns, &["watch", "name"], &rows)?;
    if published > 0 {
        tx.execute(
            "UPDATE events_watches SET published = published + ?2, last_published = ?3 WHERE name = ?1",
            &params![watch, published, Timestamp::now()],
        )?;
    }
    Ok(Some(published))
}

fn created(
    owner: &str,
    watch: &str,
    folder: &str,
    file: &Complete,
    replaces: Option<Replaced>,
) -> Result<Event, Error> {
    let path = format!("{}/{}", folder.trim_end_matches('/'), file.name);
    let data = serde_json::to_value(FileCreated {
        watch,
        owner,
        path: path.clone(),
        name: &file.name,
        size: file.look.size,
        adler32: &file.adler32,
        modified: file.look.modified,
        identity: identity(watch, file),
        replaces,
    })
    .map_err(|error| Error::Invalid(format!("an event of a file: {error}")))?;
    Ok(Event::new(FILE_CREATED, format!("/events/watches/{watch}"), path, data))
}
