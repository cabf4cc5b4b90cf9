//! Scope policies. One that is deleted is only marked.

use dte_store::{Error, Row, Tx, params, values};

use crate::policy::model::scopes::{Matching, Rule, ScopePolicy};

const COLUMNS: &str = "id, description, rule, matching, account, group_id, scopes, created, updated, deleted";

fn policy(row: &Row) -> Result<ScopePolicy, Error> {
    let (rule, matching) = (row.get::<String>(2)?, row.get::<String>(3)?);
    Ok(ScopePolicy {
        id: row.get(0)?,
        description: row.get(1)?,
        rule: Rule::named(&rule).ok_or_else(|| Error::Invalid(format!("{rule:?} is no rule of a scope policy")))?,
        matching: Matching::named(&matching)
            .ok_or_else(|| Error::Invalid(format!("{matching:?} is no matching of a scope policy")))?,
        account: row.get(4)?,
        group_id: row.get(5)?,
        scopes: row.get::<String>(6)?.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        created: row.get(7)?,
        updated: row.get(8)?,
        deleted: row.get(9)?,
    })
}

pub(crate) fn after(tx: &mut Tx<'_>, changed: i64) -> Result<Vec<ScopePolicy>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM policy_scope_policies WHERE changed > ?1 ORDER BY id");
    tx.query(&sql, &params![changed], policy)
}

pub(crate) fn all(tx: &mut Tx<'_>) -> Result<Vec<ScopePolicy>, Error> {
    tx.query(&format!("SELECT {COLUMNS} FROM policy_scope_policies ORDER BY id"), &params![], policy)
}

pub(crate) fn put(tx: &mut Tx<'_>, one: &ScopePolicy, changed: i64) -> Result<(), Error> {
    let row = values![
        one.id,
        &one.description,
        one.rule.name(),
        one.matching.name(),
        one.account.clone(),
        one.group_id.clone(),
        one.scopes.join(" "),
        one.created,
        one.updated,
        one.deleted,
        changed
    ];
    let columns: Vec<&str> = COLUMNS.split(", ").chain(["changed"]).collect();
    tx.upsert_many("policy_scope_policies", &columns, &["id"], &[row]).map(drop)
}
