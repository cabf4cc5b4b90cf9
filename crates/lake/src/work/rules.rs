//! Locks of large collections, step by step; the end of rules; rules whose time is over.

use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_identity::OpenError;
use dte_protocol_rucio::{Did, RuleState};
use dte_store::{Claim, NewWork, Outcome, Tx, Worker, params};
use serde_json::json;

use crate::Lake;
use crate::error::{Error, Result};
use crate::store::place::ground;
use crate::store::{bad, evaluate, events, inject, past_requests, ready, remove, requests, rules, undertake};

/// The queue that looks for rules whose time is over; it has one piece of work that never ends.
const EXPIRY: &str = "lake.expiry";
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long it is known what became of requests.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// DIDs that end in one look, and the steps that each is given.
const DIDS_AT_ONCE: usize = 100;
const STEPS_AT_ONCE: usize = 50;
/// Rules that end in one look.
const AT_ONCE: usize = 500;

pub(super) async fn start(lake: &Lake, tasks: &Tasks) -> Result<(), OpenError> {
    let shared = lake.clone();
    Worker::new(&lake.store, inject::QUEUE).concurrency(2).max_attempts(u32::MAX).run(tasks, move |claim| {
        let lake = shared.clone();
        async move { injected(&lake, claim).await }
    });
    let shared = lake.clone();
    Worker::new(&lake.store, remove::QUEUE).concurrency(2).max_attempts(u32::MAX).run(tasks, move |claim| {
        let lake = shared.clone();
        async move { Outcome::from(removed(&lake, claim).await) }
    });
    lake.store.write(|tx| tx.enqueue(NewWork::new(EXPIRY, "rules", json!({})))).await?;
    let shared = lake.clone();
    Worker::new(&lake.store, EXPIRY).concurrency(1).max_attempts(u32::MAX).run(tasks, move |_| {
        let lake = shared.clone();
        async move {
            let now = Timestamp::now();
            let looked = lake.change(move |tx| expire(tx, now)).await;
            if let Err(error) = looked {
                tracing::warn!(%error, "rules whose time is over could not be looked for");
            }
            if let Err(error) = undertaken(&lake, now).await {
                tracing::warn!(%error, "data identifiers whose time is over could not be ended");
            }
            Outcome::Later(LOOK_EVERY)
        }
    });
    Ok(())
}

fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<()> {
    rules::expired(tx, now, AT_ONCE)?.iter().try_for_each(|id| remove::request(tx, id))?;
    bad::returned(tx, now, AT_ONCE)?;
    past_requests::forget_ended(tx, now - KEPT)
}

/// Ends DIDs whose time is over, each in steps; what is left is done at the next look. Where none of a page can be ended, the
/// next page has its turn.
async fn undertaken(lake: &Lake, now: Timestamp) -> Result<()> {
    let mut skip = 0;
    loop {
        let mut failed = 0;
        for did in lake.store.read(move |tx| undertake::due(tx, now, skip, DIDS_AT_ONCE)).await? {
            if let Err(error) = ended(lake, &did, now).await {
                // The others have their end nevertheless; this one is tried again at the next look.
                tracing::warn!(%error, %did, "a data identifier whose time is over could not be ended");
                failed += 1;
            }
        }
        if failed < DIDS_AT_ONCE {
            return Ok(());
        }
        skip += failed;
    }
}

/// Some steps towards the end of a DID.
async fn ended(lake: &Lake, did: &Did, now: Timestamp) -> Result<()> {
    for _ in 0..STEPS_AT_ONCE {
        let one = did.clone();
        if !lake.change(move |tx| undertake::step(tx, &one, now)).await? {
            break;
        }
    }
    Ok(())
}

/// All steps of a rule. A rule that cannot be followed is stuck with the reason, and tried again.
async fn injected(lake: &Lake, claim: Claim) -> Outcome {
    loop {
        let (claim, id) = (claim.clone(), claim.id.clone());
        let now = Timestamp::now();
        let step = lake.change(move |tx| one_step(tx, &claim, &id, now)).await;
        match step {
            Ok(true) => {}
            Ok(false) => return Outcome::Done,
            Err(Error::Exception(exception)) => return Outcome::Retry { error: exception.message },
            Err(error) => return Outcome::Retry { error: error.to_string() },
        }
    }
}

/// Answers whether there is more. The end of the work is noted where there is none.
fn one_step(tx: &mut Tx<'_>, claim: &Claim, id: &str, now: Timestamp) -> Result<bool> {
    let Some(rule) = rules::find(tx, id)? else {
        inject::forget(tx, id)?;
        tx.finished(claim)?;
        return Ok(false);
    };
    let stepped = ground(tx, &rule).and_then(|ground| inject::step(tx, &rule, &ground, now));
    let (complete, more) = match stepped {
        Ok(done) => done,
        Err(Error::Exception(exception)) => {
            stuck(tx, rule, &exception.message, now)?;
            // Comes back: the storage elements may change.
            tx.finished(claim)?;
            let again = NewWork::new(inject::QUEUE, id, json!({})).at(now + requests::rest(0));
            tx.request(again)?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    evaluate::settle(tx, id, Some(requests::NO_SOURCE), now)?;
    ready::check(tx, complete, now)?;
    if !more {
        tx.finished(claim)?;
    }
    Ok(more)
}

fn stuck(tx: &mut Tx<'_>, rule: rules::Rule, error: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE lake_rules SET state = 'S', error = ?2, stuck_at = COALESCE(stuck_at, ?3), updated_at = ?3 WHERE id = ?1",
        &params![&rule.id, error, now],
    )?;
    if rule.state == RuleState::Stuck { Ok(()) } else { events::rule_stuck(tx, &rule, Some(error)) }
}

async fn removed(lake: &Lake, claim: Claim) -> Result<()> {
    loop {
        let id = claim.id.clone();
        let now = Timestamp::now();
        if !lake.change(move |tx| remove::step(tx, &id, now)).await? {
            return Ok(());
        }
    }
}
