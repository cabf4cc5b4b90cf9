//! Requests become FTS jobs. The job's identity is written down before the job is asked for, so that after a crash the same
//! job is asked for again, and "exists already" means done.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_identity::{Error as IdentityError, UserRef};
use dte_protocol_fts::identifier::deterministic_job_id;
use dte_protocol_fts::{FileSubmission, FtsClient, FtsError, Submission};
use dte_protocol_rucio::ReplicaState;
use dte_protocol_rucio::rse::Operation;
use dte_store::{Claim, Outcome, Tx, Worker};
use serde_json::json;

use crate::error::Result;
use crate::store::requests::{self, QUEUE, Request, RequestState};
use crate::store::rses::{READ, best};
use crate::store::{evaluate, replicas, rse_facts, rses};
use crate::{Lake, Service};

/// The right that acting tokens for the FTS carry: nothing else can be done with them.
const TRANSFER_SCOPE: &str = "dte.transfer";
/// Submissions at once in this process.
const CONCURRENCY: usize = 64;
/// Submissions at once to one storage element, over all processes.
const PER_RSE: usize = 64;
/// Requests of somebody who is suspended wait until they are back; where that was not heard of, so long.
const AWAY: Duration = Duration::from_secs(300);
/// Requests that are woken in one transaction when their owner is back.
const WOKEN: usize = 500;
/// Where the transfer service cannot be reached, it is asked again this often.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

pub(super) fn start(lake: &Lake, tasks: &Tasks) {
    let shared = lake.clone();
    let (own, stop) = (lake.clone(), tasks.clone());
    tasks.spawn("lake.returned", async move {
        loop {
            let back = tokio::select! {
                back = own.absent.returned() => back,
                () = stop.stopping() => return,
            };
            for user in back {
                if let Err(error) = wake(&own, &user).await {
                    // They are found when their time has come.
                    tracing::warn!(%error, user = user.name, "the requests of somebody who is back could not be woken");
                }
            }
        }
    });
    Worker::new(&lake.store, QUEUE)
        .concurrency(CONCURRENCY)
        .per_lane(PER_RSE)
        .backoff(BACKOFF)
        .max_attempts(u32::MAX)
        .run(tasks, move |claim| {
            let lake = shared.clone();
            async move { handle(&lake, claim).await }
        });
}

/// The requests of somebody who is welcome again go on.
async fn wake(lake: &Lake, user: &UserRef) -> Result<()> {
    let principal = serde_json::to_string(user)
        .map_err(|error| crate::error::Error::from(dte_store::Error::Effect(error.to_string())))?;
    let mut after = String::new();
    loop {
        let (principal, from) = (principal.clone(), after.clone());
        let woken = lake.store.claim(move |tx| requests::wake_queued(tx, &principal, &from, WOKEN)).await?;
        match woken {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// Calls transfers off that nobody wants any more. One that is over already, or was never made, is fine.
pub(super) fn start_cancelling(lake: &Lake, tasks: &Tasks) {
    let shared = lake.clone();
    Worker::new(&lake.store, requests::CANCEL).backoff(BACKOFF).run(tasks, move |claim| {
        let lake = shared.clone();
        async move { cancel(&lake, &claim).await }
    });
}

async fn cancel(lake: &Lake, claim: &Claim) -> Outcome {
    let principal = claim.payload["principal"].as_str().unwrap_or_default();
    let fts = match fts(lake, principal) {
        Ok(fts) => fts,
        // The transfers of somebody who is suspended were stopped by that.
        Err(FtsRefusal::Final(error) | FtsRefusal::Away(error)) => return Outcome::Dead { error },
        Err(FtsRefusal::Later(error)) => return Outcome::Retry { error },
    };
    let Ok(job_id) = claim.id.parse() else { return Outcome::Dead { error: "not a job".to_owned() } };
    match fts.cancel(job_id).await {
        Ok(_) | Err(FtsError::NotFound { .. }) => Outcome::Done,
        Err(error) if error.may_pass() => Outcome::Retry { error: error.to_string() },
        Err(error) => Outcome::Dead { error: error.to_string() },
    }
}

async fn handle(lake: &Lake, claim: Claim) -> Outcome {
    match advance(lake, &claim).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Retry { error: error.to_string() },
    }
}

/// What the store says of a request.
enum Plan {
    /// Nobody wants it any more, or the FTS has it.
    Nothing,
    NotYet(Duration),
    /// A request that had been given up has rested long enough.
    Revive(Request),
    Impossible(Request, String),
    Submit {
        request: Request,
        source: Place,
        destination: Place,
    },
}

/// A copy, there or to be.
struct Place {
    rse: String,
    pfn: String,
}

async fn advance(lake: &Lake, claim: &Claim) -> Result<Outcome> {
    let id = claim.id.clone();
    let now = Timestamp::now();
    let plan = lake.store.read(move |tx| plan(tx, &id, now)).await?;
    match plan {
        Plan::Nothing => Ok(Outcome::Done),
        Plan::Revive(request) => {
            // The request is queued again, and so is this work.
            lake.change(move |tx| evaluate::revive(tx, &request, now)).await?;
            Ok(Outcome::Done)
        }
        Plan::NotYet(wait) => Ok(Outcome::Later(wait)),
        Plan::Impossible(request, error) => give_up(lake, claim, request, error).await,
        Plan::Submit { request, source, destination } => submit(lake, claim, request, source, destination).await,
    }
}

fn plan(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<Plan> {
    let Some(request) = requests::find(tx, id)? else { return Ok(Plan::Nothing) };
    if let Some(due) = request.due_at.filter(|due| *due > now) {
        return Ok(Plan::NotYet(due.since(now)));
    }
    if request.state == RequestState::Failed {
        return Ok(Plan::Revive(request));
    }
    let all = rses::all(tx)?;
    let protocols = rses::all_protocols(tx)?;
    let sources = match &request.source_expression {
        None => None,
        Some(expression) => match all.select(expression) {
            Ok(names) => Some(names),
            Err(error) => return Ok(Plan::Impossible(request, format!("source expression: {error}"))),
        },
    };
    let copies = replicas::of_files(tx, std::slice::from_ref(&request.did))?;
    let copies = copies.get(&request.did).map(Vec::as_slice).unwrap_or_default();
    if copies.iter().any(|copy| copy.rse == request.rse && copy.state == ReplicaState::Available) {
        return Ok(Plan::Nothing);
    }
    let place = |rse: &str, path: &Option<String>, operations: [Operation; 2]| -> Option<Place> {
        let own = protocols.get(rse)?;
        let protocol = operations.into_iter().find_map(|operation| best(own, operation))?;
        let path = path.clone().unwrap_or_else(|| all.formula(rse).path(&request.did.scope, &request.did.name));
        Some(Place { rse: rse.to_owned(), pfn: protocol.pfn(&path) })
    };
    let writes = [Operation::ThirdPartyCopyWrite, Operation::Write];
    let Some(destination) = place(&request.rse, &None, writes) else {
        let error = format!("RSEProtocolNotSupported: {} offers no protocol for writing", request.rse);
        return Ok(Plan::Impossible(request, error));
    };
    let reads = [Operation::ThirdPartyCopyRead, Operation::Read];
    let mut readable: Vec<Place> = copies
        .iter()
        .filter(|copy| copy.state == ReplicaState::Available && copy.rse != request.rse)
        .filter(|copy| sources.as_ref().is_none_or(|names| names.contains(&copy.rse)) && all.may(&copy.rse, READ))
        .filter_map(|copy| place(&copy.rse, &copy.path, reads))
        .collect();
    if readable.is_empty() {
        return Ok(Plan::Impossible(request, requests::NO_SOURCE.to_owned()));
    }
    // Near ones first, disk before tape; where no distance is known, it is far.
    let near: BTreeMap<String, i64> = rse_facts::distances_to(tx, &request.rse)?.into_iter().collect();
    readable.sort_by_key(|place| {
        let tape = all.rows.get(&place.rse).is_some_and(|rse| rse.rse_type == "TAPE");
        (tape, near.get(&place.rse).copied().unwrap_or(i64::MAX))
    });
    // Each attempt begins at another source.
    let turn = usize::try_from(request.attempt - 1).unwrap_or(0) % readable.len();
    let source = readable.remove(turn);
    Ok(Plan::Submit { request, source, destination })
}

/// A request that cannot be done now rests, and people see why.
async fn give_up(lake: &Lake, claim: &Claim, request: Request, error: String) -> Result<Outcome> {
    let rest = requests::rest(request.rounds);
    let now = Timestamp::now();
    let claim = claim.clone();
    lake.change(move |tx| {
        // Ended first, so that the next try is new work with its own time.
        tx.finished(&claim)?;
        match requests::find(tx, &request.id)? {
            Some(current) if current.attempt == request.attempt && current.state != RequestState::Failed => {
                evaluate::failed(tx, &current, &error, now)
            }
            _ => Ok(()),
        }
    })
    .await?;
    tracing::debug!(?rest, "a transfer request rests");
    Ok(Outcome::Done)
}

/// What names the job: one for each attempt.
fn sid(request: &Request) -> String {
    format!("lake-{}-{}", request.id, request.attempt)
}

/// The FTS as the owner of a request.
pub(super) fn fts(lake: &Lake, principal: &str) -> Result<FtsClient, FtsRefusal> {
    let user: UserRef = serde_json::from_str(principal).map_err(|error| FtsRefusal::Final(error.to_string()))?;
    let token =
        lake.identity.acting_token(&user, Service::NAME, &[TRANSFER_SCOPE], None).map_err(|error| match error {
            IdentityError::Banned(_) if !lake.absent.is_here(&user) => FtsRefusal::Away(error.to_string()),
            IdentityError::NoAccount(_) => FtsRefusal::Final(error.to_string()),
            other => FtsRefusal::Later(other.to_string()),
        })?;
    Ok(FtsClient::new(lake.client.clone(), lake.fts_url.clone(), token))
}

/// Why the FTS was not asked.
pub(super) enum FtsRefusal {
    Final(String),
    Later(String),
    /// The owner may do nothing for now.
    Away(String),
}

/// The virtual organisation of a user, asked for once.
async fn vo(lake: &Lake, fts: &FtsClient, principal: &str) -> Result<String, FtsError> {
    if let Some(vo) = lake.vos.lock().unwrap_or_else(PoisonError::into_inner).get(principal) {
        return Ok(vo.clone());
    }
    let vo = fts.whoami().await?.vos.into_iter().next().unwrap_or_default();
    lake.vos.lock().unwrap_or_else(PoisonError::into_inner).insert(principal.to_owned(), vo.clone());
    Ok(vo)
}

async fn submit(lake: &Lake, claim: &Claim, request: Request, source: Place, destination: Place) -> Result<Outcome> {
    let fts = match fts(lake, &request.principal) {
        Ok(fts) => fts,
        Err(FtsRefusal::Final(error)) => return give_up(lake, claim, request, error).await,
        Err(FtsRefusal::Later(error)) => return Ok(Outcome::Retry { error }),
        Err(FtsRefusal::Away(_)) => return Ok(Outcome::Later(AWAY)),
    };
    let vo = match vo(lake, &fts, &request.principal).await {
        Ok(vo) => vo,
        Err(error) => return Ok(Outcome::Retry { error: error.to_string() }),
    };
    let sid = sid(&request);
    let job_id = deterministic_job_id(&vo, &sid).to_string();
    let note = (request.id.clone(), request.attempt, job_id.clone(), source.rse.clone(), destination.pfn.clone());
    let now = Timestamp::now();
    let still_wanted = lake
        .store
        .claim(move |tx| {
            let (id, attempt, job_id, source_rse, dest_url) = &note;
            requests::submitting(tx, id, *attempt, job_id, source_rse, dest_url, now)
        })
        .await?;
    if !still_wanted {
        return Ok(Outcome::Done);
    }
    let bytes = u64::try_from(request.bytes).unwrap_or(0);
    let mut file = FileSubmission::new(&source.pfn, &destination.pfn);
    file = match &request.adler32 {
        Some(adler32) => file.expecting(bytes, adler32),
        None => FileSubmission { filesize: Some(bytes), ..file },
    };
    file.activity = Some(request.activity.clone());
    let file = file.with_metadata(json!({
        "request_id": request.id, "scope": request.did.scope, "name": request.did.name,
        "src_rse": source.rse, "dst_rse": request.rse, "activity": request.activity,
    }));
    let mut submission = Submission::of(vec![file]).verified().overwriting().deterministic(&sid);
    submission.params.priority = u8::try_from(request.priority).ok();
    match fts.submit(&submission).await {
        Ok(submitted) if submitted.to_string() == job_id => Ok(Outcome::Done),
        Ok(other) => {
            // The FTS counts us to another organisation than it said: learn it anew and ask again.
            lake.vos.lock().unwrap_or_else(PoisonError::into_inner).remove(&request.principal);
            Ok(Outcome::Retry { error: format!("the transfer service made the job {other}, not {job_id}") })
        }
        Err(error) if error.may_pass() => Ok(Outcome::Retry { error: error.to_string() }),
        Err(error) => give_up(lake, claim, request, error.to_string()).await,
    }
}
