//! Dataset locks: where rules have placed datasets.

use axum::extract::{Path, State};
use dte_identity::Routes;
use dte_protocol_rucio::{Did, DidType};
use serde_json::{Value, json};

use super::READS;
use super::answer::{Answer, PAGE, lines, stream};
use super::dids::no_route;
use super::request::{Asking, Call, did, dids as read_dids};
use crate::Lake;
use crate::error::Error;
use crate::store::locks::{self, DatasetLock};
use crate::store::{contents, dids, rses};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes.post("/locks/bulk_locks_for_dids", READS, bulk).get("/locks/{rse}", READS, at).get(
        "/locks/{scope}/{*name}",
        READS,
        of,
    )
}

fn render(lock: &DatasetLock) -> Value {
    json!({"rse_id": lock.rse_id, "rse": lock.rse, "scope": lock.did.scope, "name": lock.did.name,
        "rule_id": lock.rule_id, "account": lock.account, "state": lock.state.name(), "length": lock.length,
        "bytes": lock.bytes, "accessed_at": null})
}

async fn at(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>) -> Answer {
    stream((Did::new("", ""), String::new()), move |after| {
        let (lake, rse) = (lake.clone(), rse.clone());
        async move {
            let page = lake
                .store
                .read(move |tx| {
                    rses::get(tx, &rse)?;
                    locks::dataset_locks_at(tx, &rse, &after, PAGE)
                })
                .await?;
            let last = page.last().map(|lock| (lock.did.clone(), lock.rule_id.clone()));
            let next = last.filter(|_| page.len() == PAGE);
            Ok((page.iter().map(render).collect(), next))
        }
    })
    .await
}

async fn of(State(lake): State<Lake>, _: Asking, Path((scope, name)): Path<(String, String)>) -> Answer {
    if name.is_empty() {
        return Err(no_route());
    }
    let did = did(&scope, &name)?;
    let found = lake.store.read(move |tx| locks::dataset_locks_of(tx, &did)).await?;
    lines(&found.iter().map(render).collect::<Vec<_>>())
}

async fn bulk(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let wanted = read_dids(&call.dictionary()?.required_list("dids")?)?;
    let found = lake
        .store
        .read(move |tx| {
            let known = dids::get_many(tx, &wanted)?;
            let mut all = Vec::new();
            for did in wanted.iter().filter(|did| known.get(did).is_some_and(|row| row.kind != DidType::File)) {
                for dataset in contents::datasets_below(tx, did)? {
                    all.extend(locks::dataset_locks_of(tx, &dataset)?);
                }
            }
            Ok::<_, Error>(all)
        })
        .await?;
    lines(&found.iter().map(render).collect::<Vec<_>>())
}
