//! Who may read the bytes of files, and the tokens with which storage of this engine lets them. Not of Rucio.
//!
//! * `GET|PUT /access/{scope}`: `{"readers": ["alice", "/vo/group"]}`; none is everybody.
//! * `POST /credentials/storage` with `{"dids": [{"scope": …, "name": …}]}`: a token that reads just these files wherever the
//!   engine's own edge holds them, for a few minutes; 403 when one of them is not for the asker. This is the one rule of every
//!   door: people download with such a token, and pods are given inputs for whose owner there would be one.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use dte_identity::{Group, Require, Routes};
use dte_protocol_rucio::rse::Operation;
use dte_protocol_rucio::{Class, Did, LakeClient, ReplicaState};
use dte_store::Tx;
use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::answer::{Answer, Failure, done, json};
use super::own_storage::{is_here, web_url};
use super::request::{Asking, Call, LAKE_SCOPE, dids, invalid};
use super::{CHANGES, READS};
use crate::error::{Error, Result};
use crate::model::access::{MOST_READERS, Reader, may_read};
use crate::model::policy::Caller;
use crate::store::rses::best;
use crate::store::{access, accounts, replicas, rses};
use crate::{Lake, Service};

/// Files that one token is for: it has to fit into a header of 16 KiB, with the longest names and two copies of each.
const MOST_FILES: usize = LakeClient::READ_AT_ONCE;
/// Below this path our edges show their areas.
const EDGE_PREFIX: &str = "/dav";

/// Bytes are more than names: a token for reading the catalogue is not enough.
const DOWNLOADS: Require =
    Require::OneOf(&[LAKE_SCOPE], "who reads the scope: every account, unless its owner names the readers");

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes.get("/access/{scope}", READS, readers).put("/access/{scope}", CHANGES, set_readers).post(
        "/credentials/storage",
        DOWNLOADS,
        storage,
    )
}

async fn readers(State(lake): State<Lake>, _: Asking, Path(scope): Path<String>) -> Answer {
    let (owner, readers) =
        lake.store.read(move |tx| Ok::<_, Error>((accounts::owner(tx, &scope)?, access::readers(tx, &scope)?))).await?;
    let readers: Vec<String> = readers.iter().map(Reader::text).collect();
    json(&json!({"owner": owner, "readers": readers}))
}

async fn set_readers(
    State(lake): State<Lake>,
    Asking(caller, _): Asking,
    Path(scope): Path<String>,
    call: Call,
) -> Answer {
    let named = call.dictionary()?.required_list("readers")?;
    if named.len() > MOST_READERS {
        return Err(invalid(&format!("at most {MOST_READERS} readers can be named")));
    }
    let parse = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        Reader::parse(text)
            .ok_or_else(|| invalid(&format!("{value} is neither an account nor a group such as /vo/group")))
    };
    let named: Vec<Reader> = named.iter().map(parse).collect::<std::result::Result<_, Failure>>()?;
    lake.change(move |tx| {
        let owner = accounts::owner(tx, &scope)?;
        caller.needs_account(&owner, "name the readers of the scope").map_err(Error::from)?;
        access::set_readers(tx, &scope, &named)
    })
    .await?;
    done()
}

async fn storage(State(lake): State<Lake>, Asking(caller, principal): Asking, call: Call) -> Answer {
    let wanted = dids(&call.dictionary()?.required_list("dids")?)?;
    if wanted.len() > MOST_FILES {
        return Err(invalid(&format!("one token is for at most {MOST_FILES} files")));
    }
    let mut groups = principal.groups.to_vec();
    groups.extend(lake.identity.groups_of_account(principal.name()));
    let urls = lake.store.read(move |tx| {
        check(tx, &caller, &groups, &wanted)?;
        places(tx, &wanted)
    });
    let mut scopes: Vec<String> = urls
        .await?
        .iter()
        .filter(|url| is_here(&lake, url))
        .filter_map(|url| {
            url.path().strip_prefix(EDGE_PREFIX).filter(|below| below.starts_with('/')).map(str::to_owned)
        })
        .map(|path| format!("storage.read:{path}"))
        .collect();
    scopes.sort();
    scopes.dedup();
    if scopes.is_empty() {
        // Other storage has tokens of its own.
        return json(&json!({"token": null}));
    }
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let token = lake.identity.acting_token(&principal.user_ref(), Service::NAME, &scopes, None);
    let token = token.map_err(|error| Failure::new(Class::AccessDenied, error.to_string()))?;
    json(&json!({"token": token.expose()}))
}

/// Whether all of these may be read by the caller.
fn check(tx: &mut Tx<'_>, caller: &Caller, groups: &[Group], wanted: &[Did]) -> Result<()> {
    let scopes: BTreeSet<&str> = wanted.iter().map(|did| did.scope.as_str()).collect();
    for scope in scopes {
        let owner = accounts::owner(tx, scope)?;
        if !may_read(caller, groups, &owner, &access::readers(tx, scope)?) {
            let text = format!("Account {} is not among the readers of the scope {scope}", caller.account);
            let denied = dte_protocol_rucio::Exception::new(Class::AccessDenied, text).at(StatusCode::FORBIDDEN);
            return Err(denied.into());
        }
    }
    Ok(())
}

/// Where copies of files can be read. Only where the place follows from the name: one that was stated by whoever registered the
/// copy could be the place of anybody's file. And only at protocols that the engine or its administrators have set: one of the
/// lake's administrators could lead to anybody's home.
fn places(tx: &mut Tx<'_>, wanted: &[Did]) -> Result<Vec<Url>> {
    let all = rses::all(tx)?;
    let protocols = rses::all_protocols(tx)?;
    let trusted = rses::set_by_engine(tx)?;
    let mut found = Vec::new();
    for (did, copies) in replicas::of_files(tx, wanted)? {
        for copy in copies.iter().filter(|copy| copy.state == ReplicaState::Available && copy.path.is_none()) {
            let protocol = protocols.get(&copy.rse).and_then(|own| best(own, Operation::Read));
            let path = all.formula(&copy.rse).path(&did.scope, &did.name);
            let protocol = protocol.filter(|protocol| trusted.contains(&rses::protocol_key(&copy.rse, protocol)));
            found.extend(protocol.and_then(|protocol| web_url(protocol, &path)));
        }
    }
    Ok(found)
}
