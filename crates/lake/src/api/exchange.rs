//! `/export` and `/import`: storage elements and distances, as one document; `/dirac/addfiles`.

use std::collections::BTreeMap;

use axum::extract::State;
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::{Class, Did, Protocol};
use dte_store::Tx;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, created, json};
use super::dids_change::register_owned;
use super::own_storage::{may_change, may_set};
use super::replicas::copy_to_register;
use super::request::{Asking, Call, Fields, check_bulk, invalid};
use super::rses::{attribute, full_of, row};
use super::rses_change::{check_domains, fresh, take};
use super::settings::quiet;
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::{Error, Result};
use crate::model::expression::is_rse_name;
use crate::model::policy::Caller;
use crate::store::collections::{ChildToAttach, attach};
use crate::store::dids::{self, DidRow};
use crate::store::register::CopyToRegister;
use crate::store::rses::{self, Rse};
use crate::store::{accounts, rse_facts};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    ["", "/"].into_iter().fold(routes, |routes, end| {
        routes.get(&format!("/export{end}"), READS, export).post(&format!("/import{end}"), CHANGES, import).post(
            &format!("/dirac/addfiles{end}"),
            CHANGES,
            add_files,
        )
    })
}

async fn export(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("export data").map_err(quiet)?;
    let with_distances = call.query("distance").is_none_or(|word| !word.eq_ignore_ascii_case("false"));
    let (all, protocols, distances) = lake
        .store
        .read(move |tx| Ok::<_, Error>((rses::all(tx)?, rses::all_protocols(tx)?, rse_facts::distances(tx)?)))
        .await?;
    let none = BTreeMap::new();
    let rses: Map<String, Value> = all
        .rows
        .values()
        .map(|rse| {
            let attributes = all.attributes.get(&rse.rse).unwrap_or(&none);
            let mut value = row(rse);
            let own = protocols.get(&rse.rse).map(Vec::as_slice).unwrap_or_default();
            if let (Value::Object(value), Value::Object(full)) = (&mut value, full_of(rse, attributes, own)) {
                value.extend(full);
            }
            value["attributes"] = attributes.iter().map(|(key, text)| (key.clone(), attribute(text))).collect();
            (rse.rse.clone(), value)
        })
        .collect();
    let mut answer = json!({"rses": rses});
    if with_distances {
        let mut table: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for one in distances {
            let row = json!({"src_rse": one.source, "dest_rse": one.destination, "distance": one.distance,
                "ranking": one.distance});
            table.entry(one.source).or_default().insert(one.destination, row);
        }
        answer["distances"] = json!(table);
    }
    json(&answer)
}

/// One storage element of a document.
struct RseToImport {
    name: String,
    fields: Map<String, Value>,
    attributes: Vec<(String, String)>,
    protocols: Vec<Protocol>,
}

fn read_rse(name: &str, value: &Value) -> Result<RseToImport, Failure> {
    if !is_rse_name(name) {
        return Err(invalid(&format!("{name} is not an RSE name")));
    }
    let fields = Fields::of(value)?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let attributes = fields.dictionary("attributes")?.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    let list = match fields.get("protocols") {
        Some(Value::Object(map)) => map.get("protocols").cloned().unwrap_or(Value::Null),
        other => other.cloned().unwrap_or(Value::Null),
    };
    let protocols: Vec<Protocol> = match list {
        Value::Null => Vec::new(),
        list => serde_json::from_value(list).map_err(|error| invalid(&format!("protocols of {name}: {error}")))?,
    };
    for protocol in &protocols {
        check_domains(&protocol.domains)?;
    }
    // What the other server said of itself is not taken over.
    let mut own = fields.0;
    own.retain(|key, _| !["availability", "id", "name", "created_at", "updated_at"].contains(&key.as_str()));
    Ok(RseToImport { name: name.to_owned(), fields: own, attributes, protocols })
}

/// Adds what is not there and changes what is; what the document does not name stays.
async fn import(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("import data").map_err(quiet)?;
    let fields = call.dictionary()?;
    let rses: Vec<RseToImport> =
        fields.dictionary("rses")?.iter().map(|(name, value)| read_rse(name, value)).collect::<Result<_, _>>()?;
    let mut distances = Vec::new();
    for (from, row) in fields.dictionary("distances")? {
        for (to, value) in row.as_object().into_iter().flatten() {
            let distance = value["distance"].as_i64().or(value["ranking"].as_i64()).unwrap_or(1);
            distances.push((from.clone(), to.clone(), distance));
        }
    }
    let now = Timestamp::now();
    let mut rows: Vec<(Rse, RseToImport)> = Vec::new();
    let known = lake.store.read(rses::all).await?;
    for one in rses {
        let mut rse =
            known.rows.get(&one.name).cloned().unwrap_or_else(|| fresh(&one.name, new_id().simple().to_string(), now));
        take(&mut rse, &Fields(one.fields.clone()))?;
        rse.updated_at = now;
        rows.push((rse, one));
    }
    let shared = lake.clone();
    lake.change(move |tx| {
        for (rse, one) in &rows {
            import_rse(tx, &shared, &asking.0, rse, one, now)?;
        }
        distances.iter().try_for_each(|(from, to, distance)| rse_facts::set_distance(tx, from, to, *distance, now))
    })
    .await?;
    created()
}

fn import_rse(
    tx: &mut Tx<'_>,
    lake: &Lake,
    caller: &Caller,
    rse: &Rse,
    one: &RseToImport,
    now: Timestamp,
) -> Result<()> {
    if !one.attributes.is_empty() || !one.protocols.is_empty() {
        may_change(tx, lake, caller, &rse.rse)?;
    }
    if rses::all(tx)?.rows.contains_key(&rse.rse) {
        rses::update(tx, rse)?;
    } else if !rses::add(tx, rse)? {
        return Err(Error::new(Class::Duplicate, format!("RSE '{}' was deleted; its name stays taken", rse.rse)));
    }
    let there = rses::attributes(tx, &rse.rse)?;
    for (key, value) in &one.attributes {
        if there.contains_key(key) {
            rses::delete_attribute(tx, &rse.rse, key)?;
        }
        rses::add_attribute(tx, &rse.rse, key, value)?;
    }
    let there = rses::protocols(tx, &rse.rse)?;
    for new in &one.protocols {
        let same = |old: &&Protocol| (&old.scheme, &old.hostname, old.port) == (&new.scheme, &new.hostname, new.port);
        if let Some(old) = there.iter().find(same) {
            rses::delete_protocols(tx, &rse.rse, &old.scheme, Some(&old.hostname), Some(old.port))?;
        }
        may_set(lake, caller, new)?;
        rses::add_protocol(tx, &rse.rse, new, caller.engine_admin, now)?;
    }
    Ok(())
}

/// The scope of a logical file name: `/user/jdoe/…` is in `user.jdoe`, `/vo/…` in `vo`.
fn scope_of(lfn: &str) -> Option<String> {
    let mut parts = lfn.strip_prefix('/')?.split('/');
    let first = parts.next().filter(|part| !part.is_empty())?;
    Some(match first {
        "user" | "group" => format!("{first}.{}", parts.next().filter(|part| !part.is_empty())?),
        other => other.to_owned(),
    })
}

/// The folders above a logical file name, the nearest first.
fn folders(lfn: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = lfn;
    while let Some((above, _)) = rest.rsplit_once('/').filter(|(above, _)| !above.is_empty()) {
        all.push(above.to_owned());
        rest = above;
    }
    all
}

/// A file with the collections above it.
struct Placed {
    rse: String,
    copy: CopyToRegister,
    folders: Vec<Did>,
}

/// Files by their logical names: the folder of a file is a dataset, the folders above are containers.
async fn add_files(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let list = fields.required_list("lfns")?;
    check_bulk(list.len())?;
    let all = list
        .iter()
        .map(|item| {
            let mut file = Fields::of(item)?;
            let lfn = file.required_text("lfn")?;
            let scope = scope_of(&lfn).ok_or_else(|| {
                Failure::new(Class::InvalidPath, format!("'{lfn}' is not a logical file name such as /user/jdoe/file"))
            })?;
            let rse = file.required_text("rse")?;
            file.0.insert("scope".to_owned(), json!(scope));
            file.0.insert("name".to_owned(), json!(lfn));
            let folders = folders(&lfn).into_iter().map(|name| Did::new(&scope, name)).collect();
            Ok(Placed { rse, copy: copy_to_register(&file)?, folders })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        for one in &all {
            accounts::owner(tx, &one.copy.did.scope)?;
            register_owned(tx, &one.rse, std::slice::from_ref(&one.copy), &asking.0, now)?;
            let mut child = one.copy.did.clone();
            for (index, folder) in one.folders.iter().enumerate() {
                let kind = if index == 0 {
                    dte_protocol_rucio::DidType::Dataset
                } else {
                    dte_protocol_rucio::DidType::Container
                };
                if dids::find(tx, folder)?.is_none() {
                    dids::insert(tx, &[DidRow::new(folder.clone(), kind, &asking.0.account, now)])?;
                }
                attach(tx, folder, &[ChildToAttach::from(child)], true, now)?;
                child = folder.clone();
            }
        }
        Ok::<_, Error>(())
    })
    .await?;
    created()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logical_names() {
        assert_eq!(scope_of("/user/jdoe/a/b").as_deref(), Some("user.jdoe"));
        assert_eq!(scope_of("/belle/a").as_deref(), Some("belle"));
        assert_eq!(scope_of("belle/a"), None);
        assert_eq!(scope_of("/user//a"), None);
        assert_eq!(folders("/user/jdoe/a/b"), ["/user/jdoe/a", "/user/jdoe", "/user"]);
    }
}
