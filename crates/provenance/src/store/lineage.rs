//! Walking from a file to what it came of, or to what came of it.

use std::collections::{BTreeSet, HashSet};

use dte_store::{Error, Tx, params};

use super::{AT_ONCE, Scope, keys, marks, runs};
use crate::model::document::Document;
use crate::model::run::{File, Run};
use crate::model::subgraph::Direction;

/// Runs that one answer tells of at most.
pub const MOST_RUNS: usize = 10_000;

/// What a walk came to.
#[derive(Debug)]
pub enum Lineage {
    Found(Document),
    /// No file or dataset of this name is known to whom asks.
    Unknown,
    /// More than [`MOST_RUNS`].
    TooLarge,
}

/// One way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Way {
    /// The table that leads from a file to runs, and the one that leads on from those to files.
    fn tables(self) -> (&'static str, &'static str) {
        match self {
            Way::Up => ("provenance_generated", "provenance_used"),
            Way::Down => ("provenance_used", "provenance_generated"),
        }
    }
}

/// The lineage of a DID (a file, or all files of a dataset), through at most `depth` generations of runs. Runs of others end
/// the walk, unless an administrator asks.
pub fn walk(
    tx: &mut Tx<'_>,
    did: &str,
    direction: Direction,
    depth: Option<usize>,
    scope: &Scope,
) -> Result<Lineage, Error> {
    let begin = tx.query(
        "SELECT number, did, bytes, adler32, dataset FROM provenance_files WHERE did = ?1 OR dataset = ?1 ORDER BY number",
        &params![did],
        |row| {
            let file = File { did: row.get(1)?, bytes: row.get(2)?, adler32: row.get(3)?, dataset: row.get(4)? };
            Ok((row.get::<i64>(0)?, file))
        },
    )?;
    let numbers: Vec<i64> = begin.iter().map(|(number, _)| *number).collect();
    if numbers.is_empty() || !is_visible(tx, &numbers, scope)? {
        return Ok(Lineage::Unknown);
    }
    let mut told: Vec<Run> = Vec::new();
    let ways = [(Way::Up, direction != Direction::Down), (Way::Down, direction != Direction::Up)];
    for (way, _) in ways.into_iter().filter(|(_, wanted)| *wanted) {
        match one_way(tx, &numbers, way, depth, scope)? {
            Some(runs) => told.extend(runs),
            None => return Ok(Lineage::TooLarge),
        }
    }
    let mut document = Document::of(&told);
    for (_, file) in &begin {
        document.add_file(file);
    }
    Ok(Lineage::Found(document))
}

/// Whether some run of whom asks read or wrote one of the files.
fn is_visible(tx: &mut Tx<'_>, files: &[i64], scope: &Scope) -> Result<bool, Error> {
    for table in ["provenance_generated", "provenance_used"] {
        if !next_runs(tx, table, files, scope)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(*scope == Scope::All)
}

/// The runs on one way, each with those of its files that lie on the way. `None` when there are too many.
fn one_way(
    tx: &mut Tx<'_>,
    begin: &[i64],
    way: Way,
    depth: Option<usize>,
    scope: &Scope,
) -> Result<Option<Vec<Run>>, Error> {
    let (to_runs, to_files) = way.tables();
    let mut files: HashSet<i64> = begin.iter().copied().collect();
    let mut seen: BTreeSet<i64> = BTreeSet::new();
    let mut frontier: Vec<i64> = begin.to_vec();
    let mut generation = 0;
    while !frontier.is_empty() && depth.is_none_or(|depth| generation < depth) {
        let found: Vec<i64> =
            next_runs(tx, to_runs, &frontier, scope)?.into_iter().filter(|run| seen.insert(*run)).collect();
        if seen.len() > MOST_RUNS {
            return Ok(None);
        }
        let mut next = BTreeSet::new();
        for chunk in found.chunks(AT_ONCE) {
            let sql = format!("SELECT DISTINCT file FROM {to_files} WHERE run IN ({})", marks(0, chunk.len()));
            next.extend(tx.query(&sql, &keys(chunk), |row| row.get::<i64>(0))?);
        }
        frontier = next.into_iter().filter(|file| files.insert(*file)).collect();
        generation += 1;
    }
    let seen: Vec<i64> = seen.into_iter().collect();
    let mut runs: Vec<Run> = runs::load(tx, &seen)?.into_values().collect();
    // A run may have read or written what does not lie on the way.
    let on_the_way = names(tx, &files)?;
    for run in &mut runs {
        let side = if way == Way::Up { &mut run.outputs } else { &mut run.inputs };
        side.retain(|file| on_the_way.contains(&file.id()));
    }
    Ok(Some(runs))
}

fn next_runs(tx: &mut Tx<'_>, table: &str, files: &[i64], scope: &Scope) -> Result<BTreeSet<i64>, Error> {
    let mut found = BTreeSet::new();
    for chunk in files.chunks(AT_ONCE) {
        let sql = format!(
            "SELECT DISTINCT r.number, r.owner FROM {table} e JOIN provenance_runs r ON r.number = e.run WHERE e.file IN ({})",
            marks(0, chunk.len())
        );
        let rows = tx.query(&sql, &keys(chunk), |row| Ok((row.get::<i64>(0)?, row.get::<String>(1)?)))?;
        found.extend(rows.into_iter().filter(|(_, owner)| scope.covers(owner)).map(|(run, _)| run));
    }
    Ok(found)
}

fn names(tx: &mut Tx<'_>, files: &HashSet<i64>) -> Result<HashSet<String>, Error> {
    let files: Vec<i64> = files.iter().copied().collect();
    let mut names = HashSet::new();
    for chunk in files.chunks(AT_ONCE) {
        let sql = format!("SELECT did, adler32 FROM provenance_files WHERE number IN ({})", marks(0, chunk.len()));
        names.extend(tx.query(&sql, &keys(chunk), |row| {
            Ok(File { did: row.get(0)?, bytes: 0, adler32: row.get(1)?, dataset: None }.id())
        })?);
    }
    Ok(names)
}
