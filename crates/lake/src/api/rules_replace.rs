//! Rules that take the place of others: moved ones, and ones with fewer copies.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_protocol_rucio::Class;
use serde_json::Value;

use super::answer::{Answer, Failure, created_with, json_text};
use super::request::{Asking, Call, Fields, invalid};
use super::rules_change::not_401;
use crate::Lake;
use crate::store::collections::RuleToMake;
use crate::store::{replace, rules};

/// The rule that shall be there instead; the old one ends when it is OK.
pub(super) async fn move_rule(State(lake): State<Lake>, asking: Asking, Path(id): Path<String>, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let expression = fields.required_text("rse_expression")?;
    let mut overrides = Fields(fields.dictionary("override")?);
    for key in ["activity", "source_replica_expression"] {
        if let Some(value) = fields.get(key) {
            overrides.0.insert(key.to_owned(), value.clone());
        }
    }
    let change = Overrides::read(&overrides)?;
    let now = Timestamp::now();
    let id = lake
        .change(move |tx| {
            let old = rules::get(tx, &id)?;
            asking.0.acts_as(&old.account, "move replication rule of another account")?;
            if old.locked {
                asking.0.needs_admin("move a locked replication rule")?;
            }
            let mut wish = replace::wish_of(&old, now);
            wish.expression.clone_from(&expression);
            wish.locked = false;
            // As for a new rule: that somebody let the old one be is no word on this one.
            wish.ignore_account_limit = asking.0.admin && old.account == asking.0.account;
            change.apply(&mut wish);
            replace::move_rule(tx, old, &wish, now)
        })
        .await
        .map_err(not_401)?;
    created_with(&Value::from(id))
}

/// What a moved rule has otherwise.
struct Overrides {
    activity: Option<String>,
    source_expression: Option<String>,
    copies: Option<u32>,
    weight: Option<String>,
    lifetime: Option<i64>,
    comments: Option<String>,
    priority: Option<i64>,
}

impl Overrides {
    fn read(fields: &Fields) -> Result<Overrides, Failure> {
        let copies = fields.integer("copies")?;
        Ok(Overrides {
            activity: fields.text("activity")?,
            source_expression: fields.text("source_replica_expression")?,
            copies: copies.map(u32::try_from).transpose().map_err(|_| invalid("copies"))?,
            weight: fields.text("weight")?,
            lifetime: fields.integer("lifetime")?,
            comments: fields.text("comment")?.or(fields.text("comments")?),
            priority: fields.integer("priority")?,
        })
    }

    fn apply(&self, wish: &mut RuleToMake) {
        wish.copies = self.copies.unwrap_or(wish.copies);
        wish.priority = self.priority.unwrap_or(wish.priority).clamp(1, 5);
        wish.activity = self.activity.clone().unwrap_or_else(|| wish.activity.clone());
        wish.lifetime = self.lifetime.or(wish.lifetime);
        for (own, new) in [
            (&mut wish.source_expression, &self.source_expression),
            (&mut wish.weight, &self.weight),
            (&mut wish.comments, &self.comments),
        ] {
            if new.is_some() {
                own.clone_from(new);
            }
        }
    }
}

pub(super) async fn reduce(State(lake): State<Lake>, asking: Asking, Path(id): Path<String>, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let copies = fields.integer("copies")?.ok_or_else(|| Failure::new(Class::KeyError, "'copies' not defined"))?;
    let copies = u32::try_from(copies).map_err(|_| invalid("copies"))?;
    let exclude = fields.text("exclude_expression")?.filter(|text| !text.is_empty());
    let now = Timestamp::now();
    let id = lake
        .change(move |tx| {
            let old = rules::get(tx, &id)?;
            asking.0.acts_as(&old.account, "reduce replication rule of another account")?;
            if old.locked {
                asking.0.needs_admin("reduce a locked replication rule")?;
            }
            replace::reduce(tx, old, copies, exclude.as_deref(), now)
        })
        .await
        .map_err(not_401)?;
    // 200, unlike the others: so the client wants it.
    json_text(Value::from(id).to_string())
}
