//! Runs and the files that they share.

use std::collections::HashMap;

use dte_base::time::Timestamp;
use dte_store::{Error, Row, Tx, Value, params, values};

use super::{AT_ONCE, Scope, keys, marks};
use crate::model::run::{About, File, Run};

/// Writes a run down. `false` when it was known: the same run is recorded once.
pub fn record(tx: &mut Tx<'_>, run: &Run) -> Result<bool, Error> {
    let about = serde_json::to_string(&run.about).map_err(|error| Error::Invalid(format!("a run: {error}")))?;
    let number = tx.query_opt(
        "INSERT INTO provenance_runs (id, owner, about, recorded) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO NOTHING RETURNING number",
        &params![&run.id, &run.about.user, about, Timestamp::now()],
        |row| row.get::<i64>(0),
    )?;
    let Some(number) = number else { return Ok(false) };
    let inputs = file_numbers(tx, &run.inputs)?;
    let outputs = file_numbers(tx, &run.outputs)?;
    for file in run.outputs.iter().filter(|file| file.dataset.is_some()) {
        tx.execute(
            "UPDATE provenance_files SET dataset = ?3 WHERE did = ?1 AND adler32 = ?2",
            &params![&file.did, &file.adler32, file.dataset.clone()],
        )?;
    }
    for (table, files) in [("provenance_used", inputs), ("provenance_generated", outputs)] {
        let rows: Vec<Vec<Value>> = files.into_iter().map(|file| values![number, file]).collect();
        tx.insert_new_many(table, &["run", "file"], &rows)?;
    }
    Ok(true)
}

/// The numbers of files, which get one where they had none.
fn file_numbers(tx: &mut Tx<'_>, files: &[File]) -> Result<Vec<i64>, Error> {
    let mut numbers = Vec::with_capacity(files.len());
    for chunk in files.chunks(AT_ONCE) {
        let mut known = known_numbers(tx, chunk)?;
        let key = |file: &File| (file.did.clone(), file.adler32.clone());
        let rows: Vec<Vec<Value>> = chunk
            .iter()
            .filter(|file| !known.contains_key(&key(file)))
            .map(|file| values![&file.did, &file.adler32, file.bytes])
            .collect();
        if !rows.is_empty() {
            tx.insert_new_many("provenance_files", &["did", "adler32", "bytes"], &rows)?;
            known = known_numbers(tx, chunk)?;
        }
        numbers.extend(chunk.iter().filter_map(|file| known.get(&key(file))));
    }
    Ok(numbers)
}

fn known_numbers(tx: &mut Tx<'_>, files: &[File]) -> Result<HashMap<(String, String), i64>, Error> {
    let sql = format!("SELECT did, adler32, number FROM provenance_files WHERE did IN ({})", marks(0, files.len()));
    let values: Vec<Value> = files.iter().map(|file| Value::from(&file.did)).collect();
    let rows = tx.query(&sql, &values, |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.into_iter().collect())
}

fn read_about(row: &Row, at: usize) -> Result<About, Error> {
    let text: String = row.get(at)?;
    serde_json::from_str(&text).map_err(|error| Error::Invalid(format!("a stored run: {error}")))
}

/// A run by its id, if `scope` covers it.
pub fn get(tx: &mut Tx<'_>, id: &str, scope: &Scope) -> Result<Option<Run>, Error> {
    let found = tx.query_opt("SELECT number, owner FROM provenance_runs WHERE id = ?1", &params![id], |row| {
        Ok((row.get::<i64>(0)?, row.get::<String>(1)?))
    })?;
    match found.filter(|(_, owner)| scope.covers(owner)) {
        Some((number, _)) => Ok(load(tx, &[number])?.into_values().next()),
        None => Ok(None),
    }
}

/// Runs by their numbers, whole.
pub fn load(tx: &mut Tx<'_>, numbers: &[i64]) -> Result<HashMap<i64, Run>, Error> {
    let mut runs = HashMap::new();
    for chunk in numbers.chunks(AT_ONCE) {
        let sql = format!("SELECT number, id, about FROM provenance_runs WHERE number IN ({})", marks(0, chunk.len()));
        let rows = tx.query(&sql, &keys(chunk), |row| {
            let run = Run { id: row.get(1)?, about: read_about(row, 2)?, inputs: Vec::new(), outputs: Vec::new() };
            Ok((row.get::<i64>(0)?, run))
        })?;
        runs.extend(rows);
        for (table, is_input) in [("provenance_used", true), ("provenance_generated", false)] {
            let sql = format!(
                "SELECT e.run, f.did, f.bytes, f.adler32, f.dataset FROM {table} e
                 JOIN provenance_files f ON f.number = e.file WHERE e.run IN ({}) ORDER BY e.run, f.did, f.adler32",
                marks(0, chunk.len())
            );
            let files = tx.query(&sql, &keys(chunk), |row| {
                let file = File { did: row.get(1)?, bytes: row.get(2)?, adler32: row.get(3)?, dataset: row.get(4)? };
                Ok((row.get::<i64>(0)?, file))
            })?;
            for (number, file) in files {
                if let Some(run) = runs.get_mut(&number) {
                    if is_input { run.inputs.push(file) } else { run.outputs.push(file) }
                }
            }
        }
    }
    Ok(runs)
}
