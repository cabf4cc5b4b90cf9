//! What clients ask of DIDs besides their content: samples, followers, archives, identifiers, resurrection, the tree below.

use std::collections::{BTreeSet, VecDeque};

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, DidType};
use dte_store::Tx;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::{Answer, Failure, PAGE, created, done, lines, stream};
use super::dids::no_route;
use super::dids_change::needs_parent;
use super::files::FileMerge;
use super::request::{Asking, Call, Fields, did, dids as read_dids, invalid};
use crate::Lake;
use crate::error::{Error, Result};
use crate::store::collections::{ChildToAttach, attach};
use crate::store::dids::DidRow;
use crate::store::{archives, contents, dids};

/// Most files of a sample.
const LARGEST_SAMPLE: usize = 10_000;
/// Deepest tree that is listed.
const DEEPEST: u32 = 32;

/// A dataset of some files of another, chosen by chance.
pub(super) async fn sample(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let input = did(&fields.required_text("input_scope")?, &fields.required_text("input_name")?)?;
    let output = did(&fields.required_text("output_scope")?, &fields.required_text("output_name")?)?;
    let number = fields.integer("nbfiles")?.ok_or_else(|| Failure::new(Class::KeyError, "'nbfiles' not defined"))?;
    make_sample(lake, asking, input, output, number).await
}

async fn make_sample(lake: Lake, asking: Asking, input: Did, output: Did, number: i64) -> Answer {
    let number = usize::try_from(number).ok().filter(|number| (1..=LARGEST_SAMPLE).contains(number));
    let number = number.ok_or_else(|| invalid(&format!("a sample has 1 to {LARGEST_SAMPLE} files")))?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        needs_parent(tx, &asking.0, &output, "add")?;
        let mut best: Vec<([u8; 32], ChildToAttach)> = Vec::new();
        let mut merge = FileMerge::open(tx, std::slice::from_ref(&input), true)?;
        loop {
            let page = merge.next(tx, PAGE)?;
            let full = page.len() == PAGE;
            best.extend(page.into_iter().map(|one| {
                // Chance that is the same when the transaction runs again.
                let draw = Sha256::digest(format!("{output} {} {now}", one.file.did));
                (draw.into(), ChildToAttach::from(one.file.did))
            }));
            best.sort_by_key(|one| one.0);
            best.truncate(number);
            if !full {
                break;
            }
        }
        if dids::find(tx, &output)?.is_some() {
            let message = format!("Data Identifier {output} already exists!");
            return Err(Error::new(Class::DataIdentifierAlreadyExists, message));
        }
        dids::insert(tx, &[DidRow::new(output.clone(), DidType::Dataset, &asking.0.account, now)])?;
        let children: Vec<ChildToAttach> = best.into_iter().map(|(_, child)| child).collect();
        attach(tx, &output, &children, false, now)
    })
    .await?;
    created()
}

pub(super) async fn resurrect(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let list = read_dids(&call.list()?)?;
    lake.change(move |tx| {
        for did in &list {
            needs_parent(tx, &asking.0, did, "resurrect")?;
            archives::resurrect(tx, did)?;
        }
        Ok::<_, Error>(())
    })
    .await?;
    created()
}

/// `GET /archives/SCOPE/NAME…/files`.
pub(super) async fn archive(State(lake): State<Lake>, _: Asking, Path(path): Path<String>) -> Answer {
    let whole = path.strip_suffix("/files").ok_or_else(no_route)?;
    let (scope, name) = whole.split_once('/').ok_or_else(no_route)?;
    let archive = did(scope, name)?;
    stream(Did::new("", ""), move |after| {
        let (lake, archive) = (lake.clone(), archive.clone());
        async move {
            let page = lake.store.read(move |tx| archives::page(tx, &archive, &after, PAGE)).await?;
            let next = (page.len() == PAGE).then(|| page.last().map(|child| child.did.clone())).flatten();
            let values = page.iter().map(|child| {
                json!({"scope": child.did.scope, "name": child.did.name, "bytes": child.bytes,
                    "adler32": child.adler32, "md5": child.md5})
            });
            Ok((values.collect(), next))
        }
    })
    .await
}

/// Datasets with the file of a GUID, however it is written.
pub(super) async fn by_guid(lake: Lake, guid: &str) -> Answer {
    let bare: String = guid.chars().filter(|c| c.is_ascii_hexdigit()).collect::<String>().to_ascii_lowercase();
    if bare.len() != 32 {
        return Err(Failure::new(Class::ValueError, format!("'{guid}' is not a GUID")));
    }
    let dashed = format!("{}-{}-{}-{}-{}", &bare[..8], &bare[8..12], &bare[12..16], &bare[16..20], &bare[20..]);
    let forms = vec![bare.to_ascii_uppercase(), dashed.to_ascii_uppercase(), bare, dashed];
    let found = lake.store.read(move |tx| archives::datasets_by_guid(tx, &forms)).await?;
    lines(&found.iter().map(|did| json!(did)).collect::<Vec<_>>())
}

pub(super) async fn followers(lake: Lake, did: Did) -> Answer {
    let found = lake
        .store
        .read(move |tx| {
            dids::get(tx, &did)?;
            archives::followers(tx, &did)
        })
        .await?;
    lines(&found.iter().map(|account| json!({"user": account})).collect::<Vec<_>>())
}

fn follower(fields: &Fields, asking: &Asking) -> Result<String, Failure> {
    Ok(fields.text("account")?.unwrap_or_else(|| asking.0.account.clone()))
}

pub(super) async fn follow(lake: Lake, asking: Asking, did: Did, call: Call) -> Answer {
    let account = follower(&call.optional_dictionary()?, &asking)?;
    asking.0.needs_account(&account, "follow for another account")?;
    let now = Timestamp::now();
    lake.change(move |tx| archives::follow(tx, &did, &account, now)).await?;
    done()
}

pub(super) async fn unfollow(lake: Lake, asking: Asking, did: Did, call: Call) -> Answer {
    let account = follower(&call.optional_dictionary()?, &asking)?;
    asking.0.needs_account(&account, "remove the follow of another account")?;
    lake.change(move |tx| archives::unfollow(tx, &did, &account)).await?;
    done()
}

/// One DID and, if wished, everything below it, depth first. What is in a collection is told where it is met first: collections
/// that are in many others would else make an answer that never ends.
pub(super) async fn tree(lake: Lake, root: Did, recursive: bool) -> Answer {
    stream(None::<Walk>, move |state| {
        let (lake, root) = (lake.clone(), root.clone());
        async move {
            lake.store
                .read(move |tx| {
                    let (mut values, mut walk) = match state.clone() {
                        Some(walk) => (Vec::new(), walk),
                        None => {
                            let row = dids::get(tx, &root)?;
                            let first = entry(&row.did, row.kind, None, 0, row.bytes);
                            let below = Step { parent: root.clone(), after: Did::new("", ""), level: 1 };
                            let descend = recursive && row.kind.is_collection();
                            (
                                vec![first],
                                Walk { todo: descend.then_some(below).into_iter().collect(), told: BTreeSet::new() },
                            )
                        }
                    };
                    while values.len() < PAGE && descend(tx, &mut walk, &mut values)? {}
                    let more = !walk.todo.is_empty();
                    Ok::<_, Error>((values, more.then_some(Some(walk))))
                })
                .await
        }
    })
    .await
}

/// How far the telling has come.
#[derive(Clone)]
struct Walk {
    todo: VecDeque<Step>,
    /// Collections whose content is told, or will be.
    told: BTreeSet<Did>,
}

/// The children of one collection that are still to be told.
#[derive(Clone)]
struct Step {
    parent: Did,
    after: Did,
    level: u32,
}

fn entry(did: &Did, kind: DidType, parent: Option<&Did>, level: u32, bytes: Option<i64>) -> Value {
    json!({"scope": did.scope, "name": did.name, "type": kind.name(), "parent": parent, "level": level, "bytes": bytes})
}

/// Tells the next child; `false` when there is none.
fn descend(tx: &mut Tx<'_>, walk: &mut Walk, values: &mut Vec<Value>) -> Result<bool> {
    let Walk { todo, told } = walk;
    let Some(step) = todo.pop_front() else { return Ok(false) };
    // A collection below is told with all that is in it before the next one.
    let wide = contents::page(tx, &step.parent, &step.after, PAGE)?;
    for (index, child) in wide.iter().enumerate() {
        values.push(entry(&child.did, child.kind, Some(&step.parent), step.level, child.bytes));
        let goes_down = child.kind.is_collection() && step.level < DEEPEST && told.insert(child.did.clone());
        if goes_down {
            todo.push_front(Step { after: child.did.clone(), ..step.clone() });
            todo.push_front(Step { parent: child.did.clone(), after: Did::new("", ""), level: step.level + 1 });
            return Ok(true);
        }
        if index + 1 == wide.len() && wide.len() == PAGE {
            todo.push_front(Step { after: child.did.clone(), ..step.clone() });
        }
    }
    Ok(!todo.is_empty())
}
