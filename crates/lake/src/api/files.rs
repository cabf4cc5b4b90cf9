//! Files below collections at any depth: each once, in order, a page in memory.

use std::collections::{BTreeMap, VecDeque};

use axum::extract::State;
use dte_protocol_rucio::{Did, DidType};
use dte_store::Tx;
use serde_json::{Value, json};

use super::answer::{Answer, PAGE, stream};
use super::request::{Asking, Call, dids as read_dids};
use crate::Lake;
use crate::error::{Error, Result};
use crate::store::contents::Child;
use crate::store::dids::DidRow;
use crate::store::{contents, dids};

/// The files of several datasets as one ordered row without repetition: a merge of ordered rows.
#[derive(Clone, Default)]
pub(super) struct FileMerge {
    /// By the next file of each.
    sources: BTreeMap<Did, Vec<Source>>,
    /// Files that are read of a source at once: many datasets share the memory of one page.
    share: usize,
}

#[derive(Clone)]
struct Source {
    /// Where to read more; `None` when all is read.
    dataset: Option<Did>,
    ready: VecDeque<Child>,
    /// The file was asked for by its own name.
    direct: bool,
}

/// A file of a merge.
#[derive(Clone, Debug)]
pub(super) struct MergedFile {
    pub file: Child,
    pub direct: bool,
}

impl FileMerge {
    /// All files that `inputs` name or contain. What does not exist is left out, or refused if `strict`.
    pub(super) fn open(tx: &mut Tx<'_>, inputs: &[Did], strict: bool) -> Result<FileMerge> {
        let known = dids::get_many(tx, inputs)?;
        let (mut direct, mut datasets) = (Vec::new(), Vec::new());
        for input in inputs {
            match known.get(input) {
                None if strict => return Err(dids::not_found(input)),
                None => {}
                Some(row) if row.kind == DidType::File => direct.push(row),
                Some(_) => datasets.extend(contents::datasets_below(tx, input)?),
            }
        }
        let mut merge = FileMerge { sources: BTreeMap::new(), share: (PAGE / datasets.len().max(1)).max(10) };
        for row in direct {
            merge.enter(Source::single(row));
        }
        for dataset in datasets {
            let source = Source { dataset: Some(dataset), ready: VecDeque::new(), direct: false };
            merge.read_on(tx, source, &Did::new("", ""))?;
        }
        Ok(merge)
    }

    /// The next files, at most `limit`; fewer means that these are the last.
    pub(super) fn next(&mut self, tx: &mut Tx<'_>, limit: usize) -> Result<Vec<MergedFile>> {
        let mut files: Vec<MergedFile> = Vec::new();
        while files.len() < limit {
            let Some((did, sources)) = self.sources.pop_first() else { break };
            let direct = sources.iter().any(|source| source.direct);
            let mut file = None;
            for mut source in sources {
                file = source.ready.pop_front().or(file);
                match source.ready.is_empty() {
                    true => self.read_on(tx, source, &did)?,
                    false => self.enter(source),
                }
            }
            files.extend(file.map(|file| MergedFile { file, direct }));
        }
        Ok(files)
    }

    fn enter(&mut self, source: Source) {
        if let Some(next) = source.ready.front() {
            self.sources.entry(next.did.clone()).or_default().push(source);
        }
    }

    fn read_on(&mut self, tx: &mut Tx<'_>, mut source: Source, after: &Did) -> Result<()> {
        if let Some(dataset) = &source.dataset {
            let page = contents::page(tx, dataset, after, self.share)?;
            if page.len() < self.share {
                source.dataset = None;
            }
            source.ready.extend(page);
        }
        self.enter(source);
        Ok(())
    }
}

impl Source {
    fn single(row: &DidRow) -> Source {
        let child = Child {
            did: row.did.clone(),
            kind: row.kind,
            bytes: row.bytes,
            adler32: row.adler32.clone(),
            md5: row.md5.clone(),
        };
        Source { dataset: None, ready: VecDeque::from([child]), direct: true }
    }
}

fn entry(file: &Child, row: Option<&DidRow>, long: bool) -> Value {
    let guid = row.and_then(|row| row.guid.as_deref()).map(|guid| guid.replace('-', "").to_uppercase());
    let mut value = json!({"scope": file.did.scope, "name": file.did.name, "bytes": file.bytes,
        "adler32": file.adler32, "guid": guid, "events": null});
    if long {
        value["lumiblocknr"] = Value::Null;
    }
    value
}

pub(super) async fn list(lake: Lake, did: Did, call: Call) -> Answer {
    let long = call.query("long").is_some();
    let merge = lake.store.read(move |tx| FileMerge::open(tx, std::slice::from_ref(&did), true)).await?;
    stream(merge, move |merge| {
        let lake = lake.clone();
        async move {
            lake.store
                .read(move |tx| {
                    let mut merge = merge.clone();
                    let files = merge.next(tx, PAGE)?;
                    let names: Vec<Did> = files.iter().map(|one| one.file.did.clone()).collect();
                    let rows = dids::get_many(tx, &names)?;
                    let values = files.iter().map(|one| entry(&one.file, rows.get(&one.file.did), long)).collect();
                    Ok::<_, Error>((values, (files.len() == PAGE).then_some(merge)))
                })
                .await
        }
    })
    .await
}

/// The files of several DIDs, each with the DID that it was asked for through.
pub(super) async fn bulk(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let parents = read_dids(&call.dictionary()?.required_list("dids")?)?;
    stream((VecDeque::from(parents), None::<(Did, FileMerge)>), move |(mut todo, current)| {
        let lake = lake.clone();
        async move {
            let (parent, merge) = match current {
                Some(current) => current,
                None => {
                    let Some(parent) = todo.pop_front() else { return Ok((Vec::new(), None)) };
                    let did = parent.clone();
                    (parent, lake.store.read(move |tx| FileMerge::open(tx, std::slice::from_ref(&did), false)).await?)
                }
            };
            let through = parent.clone();
            let (values, merge) = lake
                .store
                .read(move |tx| {
                    let mut merge = merge.clone();
                    let files = merge.next(tx, PAGE)?;
                    let names: Vec<Did> = files.iter().map(|one| one.file.did.clone()).collect();
                    let rows = dids::get_many(tx, &names)?;
                    let values: Vec<Value> = files
                        .iter()
                        .map(|one| {
                            let mut value = entry(&one.file, rows.get(&one.file.did), false);
                            value["parent_scope"] = json!(through.scope);
                            value["parent_name"] = json!(through.name);
                            value
                        })
                        .collect();
                    Ok::<_, Error>((values, (files.len() == PAGE).then_some(merge)))
                })
                .await?;
            let current = merge.map(|merge| (parent, merge));
            let more = current.is_some() || !todo.is_empty();
            Ok((values, more.then_some((todo, current))))
        }
    })
    .await
}
