//! Looks now and then for what no event told: datasets that are in place, pods that nobody knows of.
//!
//! Events are durable, so this finds something only when a foreign lake or a foreign site lost a message.

use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_protocol_rucio::{Did, RuleState};
use dte_store::{Error, NewWork, Outcome, Worker};
use serde_json::json;

use crate::model::names::Place;
use crate::store::{observations, queue, request_model, request_observe, runs, twins};
use crate::work::consume;
use crate::work::engine::{Engine, Failure, Loaded};

/// How often.
const EVERY: Duration = Duration::from_secs(30);
/// A run that was handed over longer ago than this is asked about.
const OVERDUE: Duration = Duration::from_secs(120);
/// Most of a kind in one sweep.
const MOST: usize = 200;

/// Sweeps for ever: one process of the engine at a time.
pub fn start(engine: &Engine, tasks: &Tasks) {
    let own = engine.clone();
    tasks.spawn("workflow-sweep", async move {
        let declared = own.store.write(|tx| {
            let first = Timestamp::now() + EVERY;
            tx.enqueue(NewWork::new(queue::SWEEP, "sweep", json!({})).at(first))
        });
        if let Err::<bool, Error>(error) = declared.await {
            tracing::warn!(%error, "the sweep of twins could not be declared");
        }
    });
    let own = engine.clone();
    Worker::new(&engine.store, queue::SWEEP).concurrency(1).run(tasks, move |_| {
        let engine = own.clone();
        async move {
            if let Err(error) = sweep(&engine).await {
                tracing::warn!(%error, "the sweep of twins stopped early");
            }
            Outcome::Later(EVERY)
        }
    });
}

async fn sweep(engine: &Engine) -> Result<(), Failure> {
    let names = engine.store.read(twins::alive).await.map_err(Failure::Store)?;
    for name in names {
        let Some(loaded) = engine.load(&name).await? else { continue };
        if let Err(error) = twin(engine, &loaded).await {
            tracing::warn!(twin = name, %error, "a twin could not be swept");
        }
    }
    overdue(engine).await
}

/// Wakes a twin's parts, and asks the lake about what they wait for.
async fn twin(engine: &Engine, loaded: &Loaded) -> Result<(), Failure> {
    let own = loaded.clone();
    engine
        .store
        .write(move |tx| {
            for observes in &own.document.observes {
                observations::look_for_missing(tx, &own.twin.name, &observes.name.value)?;
                request_observe(tx, &own.twin.name, &observes.name.value)?;
            }
            own.document.models.iter().try_for_each(|model| request_model(tx, &own.twin.name, &model.name.value))
        })
        .await?;
    if !engine.absent.is_here(&loaded.twin.owner) {
        return Ok(());
    }
    let document = &loaded.document;
    for observes in &document.observes {
        let (name, source) = (loaded.twin.name.clone(), observes.name.value.clone());
        let waiting = engine.store.read(move |tx| observations::not_ready(tx, &name, &source)).await?;
        ask(engine, loaded, &Place::of_observes(document, observes), waiting).await?;
    }
    for product in &document.produces {
        let (name, source) = (loaded.twin.name.clone(), product.name.value.clone());
        let waiting = engine.store.read(move |tx| runs::product_not_ready(tx, &name, &source)).await?;
        ask(engine, loaded, &Place::of_product(document, product), waiting).await?;
    }
    Ok(())
}

/// Asks the lake about a dataset that is not in place as far as we know. Datasets come in order, so the oldest tells.
async fn ask(engine: &Engine, loaded: &Loaded, place: &Place, waiting: Option<String>) -> Result<(), Failure> {
    let Some(waiting) = waiting else { return Ok(()) };
    let lake = engine.lake(&loaded.twin.owner)?;
    let rules = lake.list_rules(&place.container()).await?;
    if rules.is_empty() || !rules.iter().all(|rule| rule.state == RuleState::Ok) {
        return Ok(());
    }
    let dataset: Did = waiting.parse().map_err(|error| Failure::Other(format!("{error}")))?;
    if lake.get_did(&dataset).await?.open == Some(false) {
        let own = engine.clone();
        engine.store.write(move |tx| consume::ready(&own, tx, &waiting)).await?;
    }
    Ok(())
}

/// Hands pods over again that should have ended: who knows them does nothing, who lost them begins them.
async fn overdue(engine: &Engine) -> Result<(), Failure> {
    let limit = Timestamp::now() - OVERDUE;
    let found = engine.store.read(move |tx| runs::submitted_before(tx, limit, MOST)).await.map_err(Failure::Store)?;
    for run in found {
        let Some(loaded) = engine.load(&run.twin).await? else { continue };
        let Some(model) = loaded.document.model(&run.model) else { continue };
        // Their pods stand still, so they are late for a reason.
        if !engine.absent.is_here(&loaded.twin.owner) {
            continue;
        }
        if run.submitted.is_some_and(|since| Timestamp::now().since(since) > model.timeout.0 + OVERDUE)
            && let Err(error) = super::step::hand_over(engine, &loaded, model, &run).await
        {
            tracing::warn!(twin = run.twin, run = run.uid, %error, "a pod could not be asked about");
        }
    }
    Ok(())
}
