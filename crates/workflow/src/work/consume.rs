//! Events of the log that concern twins.

use dte_base::tasks::Tasks;
use dte_store::{Consumer, Error, Event, Tx};
use serde_json::Value;

use crate::model::names;
use crate::model::run::{Happening, State};
use crate::store::observations::{self, Announced};
use crate::store::{request_model, request_observe, runs, sources};
use crate::work::engine::Engine;

const FILE_CREATED: &str = "org.dte.events.file.created";
const DATASET_READY: &str = "org.dte.lake.dataset.ready";
const POD_FINISHED: &str = "org.dte.offload.pod.finished";

/// Follows the log.
pub fn start(engine: &Engine, tasks: &Tasks) {
    let own = engine.clone();
    Consumer::new(&engine.store, "workflow").types(&[FILE_CREATED, DATASET_READY, POD_FINISHED]).run(
        tasks,
        move |tx, event| match event.kind.as_str() {
            FILE_CREATED => file_created(&own, tx, event),
            DATASET_READY => dataset_ready(&own, tx, event),
            POD_FINISHED => pod_finished(tx, event),
            _ => Ok(()),
        },
    );
}

/// A new file in a watched folder.
fn file_created(engine: &Engine, tx: &mut Tx<'_>, event: &Event) -> Result<(), Error> {
    #[derive(serde::Deserialize)]
    struct Created {
        watch: String,
        name: String,
        size: u64,
        adler32: String,
    }
    let Ok(created) = serde_json::from_value::<Created>(event.data.clone()) else {
        tracing::warn!(event = %event.id, "a new file was announced without the usual fields");
        return Ok(());
    };
    let Some(source) = sources::by_watch(tx, &created.watch)? else { return Ok(()) };
    let Some(loaded) = engine.load_in(tx, &source.twin)? else { return Ok(()) };
    let Some(observes) = loaded.document.observes(&source.source) else { return Ok(()) };
    let month = names::month_of(&observes.pattern.value, &created.name);
    let file = Announced { name: created.name, bytes: created.size, adler32: created.adler32, month };
    observations::announce(tx, &source.twin, &source.source, &file, event.seq)?;
    request_observe(tx, &source.twin, &source.source)
}

/// A dataset is where its rules want it: an observation's or a product's, or none of ours.
fn dataset_ready(engine: &Engine, tx: &mut Tx<'_>, event: &Event) -> Result<(), Error> {
    let (Some(scope), Some(name)) = (event.data["scope"].as_str(), event.data["name"].as_str()) else {
        tracing::warn!(event = %event.id, "a dataset was announced without scope and name");
        return Ok(());
    };
    ready(engine, tx, &format!("{scope}:{name}"))
}

/// Notes that a dataset is in place, and wakes the models that wait for it.
pub fn ready(engine: &Engine, tx: &mut Tx<'_>, dataset: &str) -> Result<(), Error> {
    let whose = match observations::set_ready(tx, dataset)? {
        Some(whose) => Some(whose),
        None => runs::set_product_ready(tx, dataset)?,
    };
    match whose {
        Some((twin, data)) => wake_models(engine, tx, &twin, &data),
        None => Ok(()),
    }
}

/// Requests the models that `data` starts.
pub fn wake_models(engine: &Engine, tx: &mut Tx<'_>, twin: &str, data: &str) -> Result<(), Error> {
    let Some(loaded) = engine.load_in(tx, twin)? else { return Ok(()) };
    for model in loaded.document.models.iter().filter(|model| model.on.dataset_ready.value == data) {
        request_model(tx, twin, &model.name.value)?;
    }
    Ok(())
}

/// What the end of a run is judged by; the list of inputs is long and known.
fn outcome(event: &Event) -> Value {
    let mut data = event.data.clone();
    if let Some(told) = data.as_object_mut() {
        told.retain(|name, _| !matches!(name.as_str(), "inputs" | "annotations"));
    }
    data
}

/// A pod has ended, one way or the other.
fn pod_finished(tx: &mut Tx<'_>, event: &Event) -> Result<(), Error> {
    let Some(uid) = event.data["uid"].as_str() else { return Ok(()) };
    let Some(run) = runs::get(tx, uid)? else { return Ok(()) };
    let Some(state) = run.state.after(Happening::PodEnded) else { return Ok(()) };
    debug_assert_eq!(state, State::Ended);
    let from = run.state;
    let (twin, model) = (run.twin.clone(), run.model.clone());
    // The end may be told before the answer to the hand-over was noted.
    let submitted = run.submitted.or(Some(event.time));
    let changed = runs::Run { state, submitted, outcome: Some(outcome(event)), ..run };
    runs::update(tx, from, &changed)?;
    request_model(tx, &twin, &model)
}
