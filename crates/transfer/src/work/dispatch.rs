//! What is too large for one transaction, piece by piece: handing the files of large jobs to the movers, cancelling them, and
//! what bans mean for files that wait.

use std::sync::Arc;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_store::{Claim, Error, Outcome, Worker};
use uuid::Uuid;

use crate::shared::Shared;
use crate::store::cancel::{self, Cancelled};
use crate::store::submit::{Dispatched, dispatch};
use crate::store::{BAN_QUEUE, CANCEL_QUEUE, DISPATCH_QUEUE, ban, row};

/// Until the movers may have room for more of a job.
const PAUSE: Duration = Duration::from_millis(100);

pub fn start(shared: &Arc<Shared>, tasks: &Tasks) {
    for queue in [DISPATCH_QUEUE, CANCEL_QUEUE, BAN_QUEUE] {
        let shared = Arc::clone(shared);
        Worker::new(&shared.store.clone(), queue).concurrency(2).max_attempts(u32::MAX).run(tasks, move |claim| {
            let shared = Arc::clone(&shared);
            async move { step(&shared, claim).await }
        });
    }
}

async fn step(shared: &Shared, claim: Claim) -> Outcome {
    if claim.queue == BAN_QUEUE {
        return enforce(shared, claim).await;
    }
    let Ok(job_id) = claim.id.parse::<Uuid>() else {
        return Outcome::Dead { error: format!("{:?} is not the identifier of a job", claim.id) };
    };
    let more = if claim.queue == CANCEL_QUEUE {
        go_on_cancelling(shared, job_id).await
    } else {
        hand_over(shared, job_id).await
    };
    match more {
        Ok(None) => Outcome::Done,
        Ok(Some(wait)) => Outcome::Later(wait),
        Err(error) => Outcome::Retry { error: error.to_string() },
    }
}

/// How long to wait before the next piece, if there is one.
async fn hand_over(shared: &Shared, job_id: Uuid) -> Result<Option<Duration>, Error> {
    Ok(match shared.store.claim(move |tx| dispatch(tx, job_id)).await? {
        Dispatched::All => None,
        Dispatched::More => Some(Duration::ZERO),
        Dispatched::Enough => Some(PAUSE),
    })
}

async fn go_on_cancelling(shared: &Shared, job_id: Uuid) -> Result<Option<Duration>, Error> {
    let piece = shared.store.write(move |tx| match row::job(tx, job_id)? {
        Some(job) => cancel::job(tx, &job, Timestamp::now()),
        None => Ok(Cancelled::WasOver),
    });
    Ok((piece.await? == Cancelled::More).then_some(Duration::ZERO))
}

async fn enforce(shared: &Shared, claim: Claim) -> Outcome {
    let Some(subject) = ban::Subject::parse(&claim.id) else {
        return Outcome::Dead { error: format!("{:?} is no subject of a ban", claim.id) };
    };
    let piece = shared.store.write(move |tx| ban::enforce(tx, &subject, Timestamp::now())).await;
    match piece {
        Ok(piece) => {
            shared.note_cancellation();
            if piece == ban::Enforced::More { Outcome::Later(Duration::ZERO) } else { Outcome::Done }
        }
        Err::<_, Error>(error) => Outcome::Retry { error: error.to_string() },
    }
}
