//! Erasing a person: nothing that says who they were stays, and what must stay stands under a pseudonym.
//!
//! One transaction takes the account away with its ways in, its profile, its memberships and what programs may do in its
//! name, puts the pseudonym wherever tables name it, and tells other services by `org.dte.identity.account.erased`. Then the
//! audit trail is looked through, in parts: records are written anew under the pseudonym, their salts are destroyed, and the
//! chain stays verifiable (`store::audit`). Records may still be on their way, and tokens of the account may be
//! shown for a week: what to look for is kept encrypted so long, each minute looks through what is new, and then it is
//! forgotten. A kill in between loses nothing: what is unfinished goes on at the next start.
//!
//! What stays says [`Erasure::remains`]. A keyed hash of the name stays for good, so that the name is never given again.
//! A ban stays in force: it moves to the identities elsewhere by which the person could come back.

use std::sync::Arc;
use std::time::Duration;

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_store::{Event, Tx};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::accounts::store as ways_in;
use crate::audit::Entry;
use crate::directory::{Ban, NewBan, PSEUDONYM_PREFIX};
use crate::issue::{Error, LONGEST_LIFETIME};
use crate::issuer::{programs, store as issuing};
use crate::model::erased::Traces;
use crate::policy::store as agreed;
use crate::store::erasure as table;
use crate::{FIRST_ADMIN, Identity, store};

/// The event by which other services are told. Its subject is the pseudonym; `GET /policy/v1/erasures` says whose it is, for
/// as long as that is known.
pub const ERASED: &str = "org.dte.identity.account.erased";
/// How often late records are looked for.
const ROUND: Duration = Duration::from_secs(60);
/// How long: no token of the account is good for longer, and records wait a minute at most.
const WATCHED: Duration = LONGEST_LIFETIME.saturating_add(Duration::from_secs(3_600));
/// Erasures in one answer.
pub(crate) const MOST: usize = 500;

/// What stays, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    pub what: String,
    /// Nothing when it is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    pub why: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// In place of the name, from now on.
    pub pseudonym: String,
    pub remains: Vec<Remains>,
}

/// An erasure as administrators see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Known {
    pub(crate) pseudonym: String,
    pub(crate) begun: Timestamp,
    /// Whose it is, until that is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    acceptances: u64,
    programs: u64,
    bans: u64,
}

impl Identity {
    /// Erases a person. `by` is who does it, for the audit: the person or an administrator.
    pub async fn erase(&self, name: &str, by: &str) -> Result<Erasure, Error> {
        if name == FIRST_ADMIN {
            return Err(Error::NotErased(format!(
                "{name} is the account of whoever runs the engine, and comes back with every start: it cannot be erased"
            )));
        }
        let pseudonym = format!("{PSEUDONYM_PREFIX}{}", new_id().simple());
        let traces = Arc::new(self.traces_of(name, &pseudonym)?);
        self.audit().write_permits().await;
        // Whoever erases themselves has no account when this is done, and still hears what became of it.
        crate::stay::to_the_end();
        let kept = self.take_account_away(&traces, by).await?;
        self.reload_accounts().await?;
        self.policy_refresh().await?;
        let (mut records, mut reached) = (0, Some(0));
        while let Some(seq) = reached {
            let (written, end) = self.audit().erase_after(&traces, seq).await?;
            records += written;
            reached = end;
        }
        self.forget_deleted().await;
        Ok(Erasure { pseudonym, remains: remains(kept, records) })
    }

    /// By what an account is known here.
    fn traces_of(&self, name: &str, pseudonym: &str) -> Result<Traces, Error> {
        let directory = self.directory();
        if !directory.users.contains_key(name) {
            return Err(Error::NoAccount(name.to_owned()));
        }
        let who = self.known_as(name);
        let shown =
            who.linked.iter().filter_map(|identity| directory.links.get(identity).map(|link| link.shown.clone()));
        let mut others: Vec<String> = shown.collect();
        if let Some(profile) = self.0.policy.state().profile(name) {
            others.extend([&profile.email, &profile.display].map(Clone::clone));
        }
        others.retain(|text| text.len() >= crate::policy::trace::SHORTEST && text != name);
        others.sort();
        others.dedup();
        Ok(Traces { who, others, pseudonym: pseudonym.to_owned() })
    }

    async fn take_account_away(&self, traces: &Arc<Traces>, by: &str) -> Result<Kept, Error> {
        let text = serde_json::to_vec(traces.as_ref()).map_err(|error| Error::Signing(error.to_string()))?;
        let sealed = self.0.vault.seal(&sealed_as(&traces.pseudonym), &text);
        let sealed = sealed.map_err(|error| Error::Signing(error.to_string()))?;
        let name_hash = self.erased_hash(&traces.who.name);
        let (identity, traces) = (self.clone(), Arc::clone(traces));
        let by = if by == traces.who.name { traces.pseudonym.clone() } else { by.to_owned() };
        let done = self.0.store.write(move |tx| -> Result<Kept, Error> {
            let now = Timestamp::now();
            let before = identity.has_administrator(tx)?;
            let one = table::Erased {
                pseudonym: traces.pseudonym.clone(),
                traces: Some(sealed.clone()),
                reached: 0,
                begun: now,
                finished: None,
            };
            table::insert(tx, &one, &name_hash)?;
            let kept = identity.pseudonymise(tx, &traces, now, &by)?;
            identity.must_keep_administrator(tx, before)?;
            let detail = json!({"acceptances": kept.acceptances, "programs": kept.programs, "bans": kept.bans});
            identity.audit().append(tx, &[Entry::change(&by, "user.erase", &traces.pseudonym, detail)])?;
            let data = json!({"pseudonym": traces.pseudonym, "known_until": now + WATCHED});
            let event = Event::new(ERASED, "/policy", &traces.pseudonym, data);
            tx.emit(event.with_request_id(dte_http::current_request_id().map(|id| id.to_string())))?;
            store::bump_version(tx)?;
            Ok(kept)
        });
        done.await
    }

    fn pseudonymise(&self, tx: &mut Tx<'_>, traces: &Traces, now: Timestamp, by: &str) -> Result<Kept, Error> {
        let (name, pseudonym) = (traces.who.name.as_str(), traces.pseudonym.as_str());
        let elsewhere: Vec<(String, String)> = ways_in::people::links(tx)?
            .into_iter()
            .filter(|link| link.name == name)
            .map(|link| (link.issuer, link.subject))
            .collect();
        self.keep_banned(tx, name, &elsewhere, now)?;
        programs::end_all(tx, self.audit(), name, by)?;
        let programs = issuing::person::erase(tx, name, pseudonym)?;
        ways_in::erase(tx, name, pseudonym, &elsewhere)?;
        let mut identities = vec![(self.issuer().to_owned(), name.to_owned())];
        identities.extend(elsewhere);
        let version = agreed::next_version(tx)?;
        let acceptances = agreed::person::erase(tx, traces, &identities, now, version)?;
        let bans = table::forget_account(tx, self.issuer(), name, pseudonym)?;
        Ok(Kept { acceptances, programs, bans })
    }

    /// A ban of the account becomes one of each identity elsewhere: being erased is no way around it.
    fn keep_banned(
        &self,
        tx: &mut Tx<'_>,
        name: &str,
        elsewhere: &[(String, String)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let is_own = |ban: &Ban| ban.who.issuer.as_deref().is_none_or(|issuer| issuer == self.issuer());
        for ban in store::bans(tx, false)? {
            if ban.who.subject.as_deref() != Some(name) || !is_own(&ban) {
                continue;
            }
            for (issuer, subject) in elsewhere {
                let who = NewBan {
                    issuer: Some(issuer.clone()),
                    subject: Some(subject.clone()),
                    reason: ban.who.reason.clone(),
                    ..NewBan::default()
                };
                let moved = Ban { id: new_id().to_string(), who, created: now, ..ban.clone() };
                store::insert_ban(tx, &moved)?;
            }
        }
        Ok(())
    }

    /// Under which pseudonym a service keeps what it still learns of an account by this name, when the account was erased.
    /// In a transaction of the service, so that nothing slips in between.
    pub fn pseudonym_of(&self, tx: &mut Tx<'_>, name: &str) -> Result<Option<String>, dte_store::Error> {
        table::pseudonym_of(tx, &self.erased_hash(name))
    }

    /// Whose name a pseudonym took the place of, for as long as that is known: for services that are told by [`ERASED`].
    pub fn erased_name(&self, tx: &mut Tx<'_>, pseudonym: &str) -> Result<Option<String>, dte_store::Error> {
        let one = table::find(tx, pseudonym)?;
        Ok(one.and_then(|one| self.opened(&one)).map(|traces| traces.who.name))
    }

    /// The keyed hash under which a name that was erased is remembered.
    pub(crate) fn erased_hash(&self, name: &str) -> Vec<u8> {
        self.0.vault.hash_secret(&format!("erased account {name}"))
    }

    /// Erasures after one, in the order of their pseudonyms.
    pub(crate) async fn erasures(&self, after: &str) -> Result<Vec<Known>, Error> {
        let after = after.to_owned();
        let found = self.0.store.read(move |tx| table::page(tx, &after, MOST)).await?;
        let known = |one: table::Erased| {
            let name = self.opened(&one).map(|traces| traces.who.name);
            Known { pseudonym: one.pseudonym, begun: one.begun, name, finished: one.finished }
        };
        Ok(found.into_iter().map(known).collect())
    }

    fn opened(&self, one: &table::Erased) -> Option<Traces> {
        let text = self.0.vault.unseal(&sealed_as(&one.pseudonym), one.traces.as_deref()?);
        match text.map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(traces)) => Some(self.completed(traces)),
            outcome => {
                tracing::error!(pseudonym = one.pseudonym, ?outcome, "what an erasure looks for cannot be read");
                None
            }
        }
    }

    /// What was begun before identities were told apart by their issuers says none.
    fn completed(&self, mut traces: Traces) -> Traces {
        if traces.who.issuer.is_empty() {
            self.issuer().clone_into(&mut traces.who.issuer);
        }
        traces
    }

    /// Takes what was overwritten, the salts above all, out of the files. What fails here fails no erasure: the records are
    /// rewritten, and the log is emptied again when the erasure ends.
    async fn forget_deleted(&self) {
        match self.0.store.forget_deleted().await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("the store's log still holds what was erased: a long read keeps it"),
            Err(error) => tracing::warn!(%error, "the store's log still holds what was erased"),
        }
    }

    /// Looks for records that came late, until no more can come.
    pub(crate) async fn finish_erasures(self, tasks: Tasks) {
        loop {
            if let Err(error) = self.look_for_late_records(Timestamp::now()).await {
                tracing::error!(%error, "records about people who were erased could not be looked for");
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    /// What the engine does each minute by itself.
    pub async fn look_for_late_records_now(&self) -> Result<(), dte_store::Error> {
        self.look_for_late_records(Timestamp::now()).await
    }

    pub(crate) async fn look_for_late_records(&self, now: Timestamp) -> Result<(), dte_store::Error> {
        for one in self.0.store.read(table::unfinished).await? {
            let Some(traces) = self.opened(&one).map(Arc::new) else { continue };
            let mut reached = Some(one.reached);
            let mut written = 0;
            while let Some(seq) = reached {
                let (more, end) = self.audit().erase_after(&traces, seq).await?;
                written += more;
                reached = end;
            }
            let is_over = now.since(one.begun) > WATCHED;
            if is_over {
                let end = self.0.store.write(move |tx| -> Result<(), dte_store::Error> {
                    agreed::person::forget(tx, &traces.who.name)?;
                    issuing::person::sweep(tx, now)?;
                    table::finish(tx, &traces.pseudonym, now)
                });
                end.await?;
            }
            if written > 0 || is_over {
                self.forget_deleted().await;
            }
        }
        Ok(())
    }
}

fn sealed_as(pseudonym: &str) -> String {
    format!("erasure {pseudonym}")
}

fn remains(kept: Kept, records: u64) -> Vec<Remains> {
    let counted = [
        (
            "audit records, under the pseudonym",
            records,
            "evidence of what was done, for incidents; the chain stays whole",
        ),
        ("acceptances of terms, under the pseudonym", kept.acceptances, "proof of what was agreed to"),
        (
            "registered programs, suspended",
            kept.programs,
            "others may use them: an administrator lets them in again or deletes them",
        ),
        (
            "bans and revocations, under the pseudonym",
            kept.bans,
            "evidence; a ban in force holds for the identities elsewhere that were linked",
        ),
    ];
    let always = [
        ("a keyed hash of the name", "the name is never given to somebody else"),
        (
            "bans that name the account's name, or a linked identity, but not this engine as the issuer",
            "they hold for whoever has that name at other issuers",
        ),
        (
            "what is looked for in records that come late, encrypted",
            "for a week, as long as a token of the account may be shown; then it is forgotten",
        ),
        (
            "data, jobs, transfers and provenance in the account's name",
            "they belong to the services that keep them, which are told by an event",
        ),
        ("accounting, under the pseudonym", "totals are kept as long as the law of their owner says"),
        ("backups, and free text that others wrote", "they are not the engine's to change; let backups run out"),
    ];
    let one =
        |what: &str, records: Option<u64>, why: &str| Remains { what: what.to_owned(), records, why: why.to_owned() };
    let counted =
        counted.into_iter().filter(|(_, count, _)| *count > 0).map(|(what, count, why)| one(what, Some(count), why));
    counted.chain(always.into_iter().map(|(what, why)| one(what, None, why))).collect()
}
