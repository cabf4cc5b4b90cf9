//! Which programs may act for a person, and how the person ends that: what was consented to is forgotten, and all that the
//! program holds is void.

use std::collections::BTreeMap;

use dte_base::time::Timestamp;
use dte_store::Tx;
use serde_json::json;

use super::rules::{Revocable, revoke};
use super::store::{clients, codes, grants};
use crate::Identity;
use crate::audit::{Audit, Entry};
use crate::issue::Error;

/// Grants of one person that are looked at for the list.
const MOST_GRANTS: usize = 1_000;
/// Programs that the list shows.
const MOST_PROGRAMS: usize = 200;

/// A program that may act for somebody, as they see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) client_id: String,
    pub(crate) title: String,
    /// What it may have without asking again, or has.
    pub(crate) scopes: Vec<String>,
    /// When it last got a token with a grant that is not over.
    pub(crate) used: Option<Timestamp>,
    /// It goes on while the person is away.
    pub(crate) is_lasting: bool,
}

impl Identity {
    /// The programs that a person once agreed to, or that hold something of theirs now; those that were used last first.
    pub(crate) async fn programs_of(&self, name: &str) -> Result<Vec<Program>, Error> {
        let (now, idle) = (Timestamp::now(), self.0.issuing.config.refresh_idle.0);
        let user = name.to_owned();
        let read = self.0.store.read(move |tx| -> Result<Vec<Program>, dte_store::Error> {
            let mut found: BTreeMap<String, Program> = BTreeMap::new();
            let mut add = |client_id: String, scopes: Vec<String>, used: Option<Timestamp>, is_lasting: bool| {
                let program = found.entry(client_id).or_insert_with_key(|client_id| Program {
                    client_id: client_id.clone(),
                    title: client_id.clone(),
                    scopes: Vec::new(),
                    used: None,
                    is_lasting: false,
                });
                program.scopes.extend(scopes);
                program.used = program.used.max(used);
                program.is_lasting |= is_lasting;
            };
            for (client_id, scopes, _) in clients::consents(tx, &user, MOST_PROGRAMS)? {
                add(client_id, scopes, None, false);
            }
            for family in grants::live(tx, &user, now, MOST_GRANTS)? {
                let is_lasting = family.number > 0;
                if !is_lasting || now.since(family.used) <= idle {
                    add(family.client_id, family.granted.scopes, Some(family.used), is_lasting);
                }
            }
            let mut programs: Vec<Program> = found.into_values().collect();
            programs.sort_by(|a, b| (b.used, &a.client_id).cmp(&(a.used, &b.client_id)));
            programs.truncate(MOST_PROGRAMS);
            for program in &mut programs {
                program.scopes.sort();
                program.scopes.dedup();
                if let Some(registration) = clients::find(tx, &program.client_id)? {
                    program.title = registration.title().to_owned();
                }
            }
            Ok(programs)
        });
        Ok(read.await?)
    }

    /// Ends what a program may do for a person. Gives false when it may nothing already.
    pub(crate) async fn end_program(&self, name: &str, client_id: &str, by: &str) -> Result<bool, Error> {
        let (user, client) = (name.to_owned(), client_id.to_owned());
        // First that nothing new comes of it, then what there is by then.
        let pending = self.0.store.write(move |tx| -> Result<(bool, Vec<String>), dte_store::Error> {
            let agreed = clients::forget_consent(tx, &user, &client)?;
            let waiting = codes::take_granted(tx, Some(&client), |granted| granted.user == user)?;
            Ok((agreed || waiting > 0, grants::live_ids(tx, &user, Some(&client), Timestamp::now())?))
        });
        let (was_there, ids) = pending.await?;
        if !was_there && ids.is_empty() {
            return Ok(false);
        }
        let entry = Entry::change(by, "program.end", client_id, json!({"user": name, "grants": ids.len()}));
        let what: Vec<Revocable<'_>> = ids.iter().map(|id| Revocable::Grant(id)).collect();
        let ended = ids.clone();
        let end = move |tx: &mut Tx<'_>| {
            let now = Timestamp::now();
            ended.iter().try_for_each(|id| grants::end(tx, id, now).map(drop))
        };
        self.take_back(&what, entry, end).await?;
        Ok(true)
    }
}

/// Ends what any program may do for a person who is suspended, is gone, or whose password somebody else set: none comes back
/// with the person. In the transaction of what ends it, so that no kill falls between; it counts as soon as the directory is
/// read again.
pub(crate) fn end_all(tx: &mut Tx<'_>, audit: &Audit, name: &str, by: &str) -> Result<(), dte_store::Error> {
    let now = Timestamp::now();
    clients::forget_consents_of(tx, name)?;
    codes::take_granted(tx, None, |granted| granted.user == name)?;
    let ids = grants::live_ids(tx, name, None, now)?;
    for id in &ids {
        revoke(tx, Revocable::Grant(id), now)?;
        grants::end(tx, id, now)?;
    }
    if ids.is_empty() {
        return Ok(());
    }
    let detail = json!({"why": "with the person", "user": name, "grants": ids.len()});
    audit.append(tx, &[Entry::change(by, "grant.end", name, detail)])
}
