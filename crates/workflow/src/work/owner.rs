//! A twin rests while its owner is suspended or their account is closed: nothing is taken in, no run starts, nothing is
//! concluded. People see why among its troubles. When the owner is back, all parts are looked at again, and go on where they were.

use std::future::Future;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_identity::UserRef;
use dte_store::{Claim, Error, Outcome};

use super::engine::{Engine, Failure};
use super::{Target, ended};
use crate::store::{request_apply, request_model, request_observe, troubles, twins};

/// Work of an owner who is away waits for them; where their coming back was not heard of, so long.
const AWAY: Duration = Duration::from_secs(60);

/// Works for a twin, unless its owner is away.
pub async fn attend(
    engine: &Engine,
    claim: &Claim,
    kind: &str,
    work: impl Future<Output = Result<(), Failure>>,
) -> Outcome {
    match is_away(engine, claim, kind).await {
        Ok(true) => Outcome::Later(AWAY),
        Ok(false) => {
            let result = work.await;
            // The ban may have come while this was at work: then it is no trouble of the work.
            match is_away(engine, claim, kind).await {
                Ok(true) if result.is_err() => Outcome::Later(AWAY),
                _ => ended(engine, claim, kind, result).await,
            }
        }
        Err(failure) => ended(engine, claim, kind, Err(failure)).await,
    }
}

async fn is_away(engine: &Engine, claim: &Claim, kind: &str) -> Result<bool, Failure> {
    let Ok(target) = claim.payload::<Target>() else { return Ok(false) };
    let name = target.twin.clone();
    let twin = engine.store.read(move |tx| twins::get(tx, &name)).await.map_err(Failure::Store)?;
    let Some(twin) = twin else { return Ok(false) };
    if engine.absent.is_here(&twin.owner) {
        return Ok(false);
    }
    let (name, part) = (target.twin.clone(), target.part_of(kind));
    let text = format!("{} is suspended; the twin rests until that is lifted", twin.owner.name);
    engine.store.write(move |tx| troubles::note(tx, &name, &part, &text)).await.map_err(Failure::Store)?;
    Ok(true)
}

/// Wakes the twins of those who are back.
pub fn start(engine: &Engine, tasks: &Tasks) {
    let (engine, stop) = (engine.clone(), tasks.clone());
    tasks.spawn("workflow-owners", async move {
        loop {
            let back = tokio::select! {
                back = engine.absent.returned() => back,
                () = stop.stopping() => return,
            };
            for owner in back {
                if let Err(error) = wake(&engine, &owner).await {
                    // The twins are looked at when their time has come.
                    tracing::warn!(owner = owner.name, %error, "the twins of somebody who is back could not be woken");
                }
            }
        }
    });
}

async fn wake(engine: &Engine, owner: &UserRef) -> Result<(), Failure> {
    let names = engine.store.read(twins::alive).await.map_err(Failure::Store)?;
    for name in names {
        let Some(loaded) = engine.load(&name).await? else { continue };
        if loaded.twin.owner != *owner {
            continue;
        }
        let write = engine.store.write(move |tx| {
            let name = &loaded.twin.name;
            request_apply(tx, name)?;
            for observes in &loaded.document.observes {
                request_observe(tx, name, &observes.name.value)?;
            }
            loaded.document.models.iter().try_for_each(|model| request_model(tx, name, &model.name.value))
        });
        write.await.map_err(|error: Error| Failure::Store(error))?;
    }
    Ok(())
}
