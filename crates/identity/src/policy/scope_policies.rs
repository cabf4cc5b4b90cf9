//! Which scopes an account may have: policies for one account, for the members of a group, for everybody.

use super::change::Refusal;
use super::model::scopes::{Asking, Ready, ScopePolicy, permitted};
use super::store::scope_policies as table;
use crate::Identity;
use dte_base::time::Timestamp;
use serde_json::json;

/// The most policies of one engine: each grant asks all of them.
const MOST: usize = 1_000;

impl Identity {
    /// Makes a policy, or with `id` puts it in the place of one.
    pub(crate) async fn put_scope_policy(
        &self,
        id: Option<i64>,
        wanted: ScopePolicy,
        by: &str,
    ) -> Result<ScopePolicy, Refusal> {
        let wanted = Ready::new(wanted).map_err(Refusal::Invalid)?.policy;
        if let Some(account) = &wanted.account
            && !self.directory().users.contains_key(account)
        {
            return Err(Refusal::Invalid(format!("there is no account {account}")));
        }
        if let Some(group) = &wanted.group_id
            && self.0.policy.state().group(group).is_none()
        {
            return Err(Refusal::Invalid(format!("there is no group {group}")));
        }
        self.policy_change(by, move |change| {
            let all = table::all(change.tx)?;
            let before = id.map(|id| {
                let found = all.iter().find(|known| known.id == id && !known.deleted);
                found.ok_or_else(|| Refusal::NoSuch(format!("scope policy {id}")))
            });
            let before = before.transpose()?;
            let is_same = |known: &&ScopePolicy| {
                let same = |policy: &ScopePolicy| {
                    let ScopePolicy { rule, matching, account, group_id, scopes, .. } = policy.clone();
                    (rule.name(), matching.name(), account, group_id, scopes)
                };
                !known.deleted && Some(known.id) != id && same(known) == same(&wanted)
            };
            if let Some(twin) = all.iter().find(is_same) {
                return Err(Refusal::Conflict(format!("scope policy {} says the same", twin.id)));
            }
            if before.is_none() && all.iter().filter(|known| !known.deleted).count() >= MOST {
                return Err(Refusal::Conflict(format!("there are {MOST} scope policies already")));
            }
            let made = ScopePolicy {
                id: id.unwrap_or_else(|| all.last().map_or(1, |last| last.id + 1)),
                created: before.map_or(change.now, |known| known.created),
                updated: change.now,
                deleted: false,
                ..wanted.clone()
            };
            table::put(change.tx, &made, change.version)?;
            let detail = json!({
                "rule": made.rule.name(), "matching": made.matching.name(), "account": made.account, "group": made.group_id,
                "scopes": made.scopes,
            });
            change.note("scope_policy.put", &made.id.to_string(), detail);
            Ok(made)
        })
        .await
    }

    pub(crate) async fn delete_scope_policy(&self, id: i64, by: &str) -> Result<(), Refusal> {
        self.policy_change(by, move |change| {
            let all = table::all(change.tx)?;
            let found = all.into_iter().find(|known| known.id == id && !known.deleted);
            let found = found.ok_or_else(|| Refusal::NoSuch(format!("scope policy {id}")))?;
            table::put(change.tx, &ScopePolicy { deleted: true, updated: change.now, ..found }, change.version)?;
            change.note("scope_policy.delete", &id.to_string(), json!({}));
            Ok(())
        })
        .await
    }

    /// Those of the wanted scopes that a local account may have. One without a decision is dropped.
    pub(crate) fn permitted_scopes(&self, user: &str, wanted: &[String]) -> Vec<String> {
        let is_admin = self.directory().users.get(user).is_some_and(|account| account.admin);
        let now = Timestamp::now();
        let state = self.0.policy.state();
        let counting = state.memberships_of(user).into_iter().filter(|(_, _, standing)| standing.counts(now));
        let group_ids: Vec<String> = counting.map(|(group, _, _)| group.id.clone()).collect();
        let who = Asking { account: user, group_ids: &group_ids, is_admin };
        permitted(state.scope_policies(), who, wanted).into_iter().cloned().collect()
    }
}
