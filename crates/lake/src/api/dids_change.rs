//! Making, filling, emptying, closing collections.

use axum::extract::State;
use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, Did, DidType};
use dte_store::Tx;
use http::StatusCode;
use serde_json::{Map, Value};

use super::answer::{Answer, Failure, created, done};
use super::replicas::copy_to_register;
use super::request::{Asking, Call, Fields, check_bulk, dids as read_dids, invalid};
use super::rules_change::{RuleWish, make};
use crate::Lake;
use crate::error::{Error, Result};
use crate::model::policy::Caller;
use crate::store::collections::{self, ChildToAttach};
use crate::store::dids::{self, DidRow};
use crate::store::register::{CopyToRegister, register};
use crate::store::{accounts, metadata, subscriptions};

/// A collection as a client declares it.
#[derive(Clone)]
struct CollectionWish {
    did: Did,
    kind: DidType,
    account: String,
    monotonic: bool,
    lifetime: Option<i64>,
    meta: Map<String, Value>,
    rules: Vec<RuleWish>,
    children: Vec<ChildToAttach>,
    /// Copies of the children to register first.
    copies: Option<(String, Vec<CopyToRegister>)>,
}

fn collection(fields: &Fields, did: Did, asking: &Asking) -> Result<CollectionWish, Failure> {
    let kind = fields.required_text("type")?;
    let kind = DidType::parse(&kind).ok_or_else(|| invalid(&format!("type {kind}")))?;
    if kind == DidType::File {
        return Err(Failure::new(
            Class::UnsupportedOperation,
            "Only collection (dataset/container) can be registered.",
        ));
    }
    let statuses = Fields(fields.dictionary("statuses")?);
    let account = fields.text("account")?.unwrap_or_else(|| asking.0.account.clone());
    let (children, copies) = children(fields)?;
    Ok(CollectionWish {
        did,
        kind,
        account,
        monotonic: statuses.truth("monotonic", false)?,
        lifetime: fields.integer("lifetime")?,
        meta: fields.dictionary("meta")?,
        rules: fields.list("rules")?.iter().map(|rule| RuleWish::read(&Fields::of(rule)?)).collect::<Result<_, _>>()?,
        children,
        copies,
    })
}

type Children = (Vec<ChildToAttach>, Option<(String, Vec<CopyToRegister>)>);

/// `dids` and, where `rse` is there too, the copies that they are.
fn children(fields: &Fields) -> Result<Children, Failure> {
    let list = fields.list("dids")?;
    if list.len() > dte_protocol_rucio::BULK_LIMIT {
        check_bulk(list.len())?;
    }
    let children = list
        .iter()
        .map(|item| {
            let item = Fields::of(item)?;
            Ok(ChildToAttach {
                did: item.did()?,
                bytes: item.integer("bytes")?,
                adler32: item.text("adler32")?,
                md5: item.text("md5")?,
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let copies = match fields.text("rse")? {
        None => None,
        Some(rse) => {
            let copies = list.iter().map(|item| copy_to_register(&Fields::of(item)?));
            Some((rse, copies.collect::<Result<Vec<_>, Failure>>()?))
        }
    };
    Ok((children, copies))
}

pub(super) async fn create_many(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let list = call.list()?;
    check_bulk(list.len())?;
    let wishes = list
        .iter()
        .map(|item| {
            let fields = Fields::of(item)?;
            let did = fields.did()?;
            collection(&fields, did, &asking)
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    create_all(lake, asking, wishes).await
}

pub(super) async fn create(lake: Lake, asking: Asking, did: Did, call: Call) -> Answer {
    let wish = collection(&call.dictionary()?, did, &asking)?;
    create_all(lake, asking, vec![wish]).await
}

async fn create_all(lake: Lake, asking: Asking, wishes: Vec<CollectionWish>) -> Answer {
    let caller = asking.0.clone();
    let principal = asking.principal_text()?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        let owners = dids::scope_owners(tx, wishes.iter().map(|wish| wish.did.scope.clone()))?;
        for wish in &wishes {
            let owner = owners.get(&wish.did.scope).map(String::as_str).unwrap_or_default();
            caller.needs_scope(&wish.did.scope, owner, &format!("add data identifier {}", wish.did))?;
            caller.needs_account(&wish.account, "add data identifier for another account")?;
        }
        insert(tx, &wishes, now)?;
        wishes.iter().try_for_each(|wish| fill(tx, wish, &caller, &principal, now))
    })
    .await?;
    created()
}

fn insert(tx: &mut Tx<'_>, wishes: &[CollectionWish], now: Timestamp) -> Result<()> {
    let names: Vec<Did> = wishes.iter().map(|wish| wish.did.clone()).collect();
    let mut seen = dids::get_many(tx, &names)?;
    let mut rows = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let seconds = |life: i64| now + std::time::Duration::from_secs(u64::try_from(life).unwrap_or(0));
        let row = DidRow {
            monotonic: wish.monotonic,
            expired_at: wish.lifetime.map(seconds),
            ..DidRow::new(wish.did.clone(), wish.kind, &wish.account, now)
        };
        if seen.insert(wish.did.clone(), row.clone()).is_some() {
            let message = format!("Data Identifier {} already exists!", wish.did);
            return Err(Error::new(Class::DataIdentifierAlreadyExists, message));
        }
        rows.push(row);
    }
    dids::insert(tx, &rows)
}

fn fill(tx: &mut Tx<'_>, wish: &CollectionWish, caller: &Caller, principal: &str, now: Timestamp) -> Result<()> {
    metadata::set(tx, &wish.did, &wish.meta)?;
    if let Some((rse, copies)) = &wish.copies {
        register_owned(tx, rse, copies, caller, now)?;
    }
    if !wish.children.is_empty() {
        collections::attach(tx, &wish.did, &wish.children, false, now)?;
    }
    for rule in &wish.rules {
        make(tx, rule, std::slice::from_ref(&wish.did), caller, principal, now)?;
    }
    let row = dids::get(tx, &wish.did)?;
    subscriptions::apply(tx, &row, &wish.meta, now)
}

/// Registers copies of files in scopes that the caller may write.
pub(super) fn register_owned(
    tx: &mut Tx<'_>,
    rse: &str,
    copies: &[CopyToRegister],
    caller: &Caller,
    now: Timestamp,
) -> Result<()> {
    let owners = dids::scope_owners(tx, copies.iter().map(|copy| copy.did.scope.clone()))?;
    for (scope, owner) in &owners {
        caller.needs_scope(scope, owner, &format!("add file replicas in the scope {scope}"))?;
    }
    register(tx, rse, copies, &caller.account, false, now)
}

pub(super) fn needs_parent(tx: &mut Tx<'_>, caller: &Caller, parent: &Did, what: &str) -> Result<()> {
    let owner = accounts::owner(tx, &parent.scope)?;
    Ok(caller.needs_scope(&parent.scope, &owner, &format!("{what} data identifiers of {parent}"))?)
}

/// What is inside of an archive and not known yet is made: in scopes that the caller may write.
fn needs_contents(tx: &mut Tx<'_>, caller: &Caller, parent: &Did, children: &[ChildToAttach]) -> Result<()> {
    if dids::get(tx, parent)?.kind != DidType::File {
        return Ok(());
    }
    let names: Vec<Did> = children.iter().map(|child| child.did.clone()).collect();
    let known = dids::get_many(tx, &names)?;
    let fresh = names.iter().filter(|did| !known.contains_key(did));
    for (scope, owner) in dids::scope_owners(tx, fresh.map(|did| did.scope.clone()))? {
        caller.needs_scope(&scope, &owner, &format!("add data identifiers in the scope {scope}"))?;
    }
    Ok(())
}

pub(super) async fn attach(lake: Lake, asking: Asking, parent: Did, call: Call) -> Answer {
    let (children, copies) = children(&call.dictionary()?)?;
    check_bulk(children.len())?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        needs_parent(tx, &asking.0, &parent, "attach")?;
        if let Some((rse, copies)) = &copies {
            register_owned(tx, rse, copies, &asking.0, now)?;
        }
        needs_contents(tx, &asking.0, &parent, &children)?;
        collections::attach(tx, &parent, &children, false, now)
    })
    .await
    .map_err(|error| {
        Failure::from(error).with_status(Class::FileConsistencyMismatch, StatusCode::INTERNAL_SERVER_ERROR)
    })?;
    created()
}

pub(super) async fn attachments(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let body = call.either()?;
    let (list, ignore_duplicate) = match &body {
        Value::Array(list) => (list.clone(), false),
        Value::Object(map) => {
            let fields = Fields(map.clone());
            (fields.required_list("attachments")?, fields.truth("ignore_duplicate", false)?)
        }
        _ => return Err(Failure::new(Class::TypeError, "body must be a json dictionary")),
    };
    check_bulk(list.len())?;
    let all = list
        .iter()
        .map(|item| {
            let fields = Fields::of(item)?;
            let (children, copies) = children(&fields)?;
            check_bulk(children.len())?;
            Ok((fields.did()?, children, copies))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        for (parent, children, copies) in &all {
            needs_parent(tx, &asking.0, parent, "attach")?;
            if let Some((rse, copies)) = copies {
                register_owned(tx, rse, copies, &asking.0, now)?;
            }
            needs_contents(tx, &asking.0, parent, children)?;
            collections::attach(tx, parent, children, ignore_duplicate, now)?;
        }
        Ok::<_, Error>(())
    })
    .await?;
    created()
}

pub(super) async fn detach(lake: Lake, asking: Asking, parent: Did, call: Call) -> Answer {
    let children = read_dids(&call.dictionary()?.required_list("dids")?)?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        needs_parent(tx, &asking.0, &parent, "detach")?;
        collections::detach(tx, &parent, &children, now)
    })
    .await?;
    done()
}

pub(super) async fn status(lake: Lake, asking: Asking, did: Did, call: Call) -> Answer {
    let fields = call.dictionary()?;
    if let Some(other) = fields.0.keys().find(|key| *key != "open") {
        return Err(Failure::new(
            Class::UnsupportedStatus,
            format!("The status {other} is not a valid data identifier status."),
        ));
    }
    if !fields.0.contains_key("open") {
        return Err(Failure::new(Class::UnsupportedStatus, "No status is given"));
    }
    let open = fields.truth("open", true)?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        let row = dids::get(tx, &did)?;
        let owner = accounts::owner(tx, &row.did.scope)?;
        if open {
            asking.0.needs_admin("open data identifiers again")?;
            return dids::reopen(tx, &did, now);
        }
        asking.0.needs_scope(&did.scope, &owner, &format!("set status on data identifier {did}"))?;
        collections::close(tx, &did, now)
    })
    .await?;
    done()
}
