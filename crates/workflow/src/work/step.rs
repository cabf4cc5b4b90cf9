//! Runs one model, arrival by arrival: one run for each, in order, never two at once.
//!
//! A run is committed to before its pod is handed over, and the pod's identity is derived from it; so whoever repeats the
//! hand-over after a kill names the same pod.

use dte_base::time::Timestamp;
use dte_protocol_interlink::{InterlinkError, PodCreateRequests};
use dte_protocol_rucio::{Attachment, NewDid};
use dte_store::{Claim, Error, Event, Tx};
use serde_json::json;

use crate::model::check;
use crate::model::document::Model;
use crate::model::names::Place;
use crate::model::pod::{self, File, Staged};
use crate::model::run::{Happening, State};
use crate::store::runs::{self, Run};
use crate::store::{SOURCE, observations, request_model, troubles, twins};
use crate::work::Target;
use crate::work::conclude;
use crate::work::engine::{Engine, Failure, Loaded};

/// What is to be done for a model now.
enum Next {
    /// Nothing, until something happens.
    Wait,
    /// Nothing, and a person should know why.
    Hindered(String),
    Submit(Box<Run>),
    Conclude(Box<Run>),
    /// Something was decided; look again.
    Again,
}

/// Works until there is nothing to do for the model now.
pub async fn advance(engine: &Engine, claim: &Claim) -> Result<(), Failure> {
    let target: Target = claim.payload()?;
    let part = format!("model {}", target.part);
    let mut troubled = true;
    while !engine.tasks.is_stopping() {
        let Some(loaded) = engine.load(&target.twin).await? else { return Ok(()) };
        let Some(model) = loaded.document.model(&target.part).cloned() else { return Ok(()) };
        let next = decide(engine, &loaded, &model).await?;
        let hindrance = match next {
            Next::Submit(run) => {
                submit(engine, &loaded, &model, &run).await?;
                None
            }
            Next::Conclude(run) => {
                conclude::conclude(engine, &loaded, &model, *run).await?;
                None
            }
            Next::Again => None,
            Next::Wait => {
                settle_trouble(engine, &target.twin, &part, None, troubled).await?;
                return Ok(());
            }
            Next::Hindered(why) => {
                settle_trouble(engine, &target.twin, &part, Some(why), true).await?;
                return Ok(());
            }
        };
        settle_trouble(engine, &target.twin, &part, hindrance, troubled).await?;
        troubled = false;
    }
    Ok(())
}

async fn settle_trouble(
    engine: &Engine,
    twin: &str,
    part: &str,
    text: Option<String>,
    write: bool,
) -> Result<(), Failure> {
    if !write {
        return Ok(());
    }
    let (twin, part) = (twin.to_owned(), part.to_owned());
    engine
        .store
        .write(move |tx| match &text {
            Some(text) => troubles::note(tx, &twin, &part, text),
            None => troubles::clear(tx, &twin, &part),
        })
        .await?;
    Ok(())
}

/// Looks where the model is, and commits to the next run when it can begin.
async fn decide(engine: &Engine, loaded: &Loaded, model: &Model) -> Result<Next, Failure> {
    let (loaded, model) = (loaded.clone(), model.clone());
    let decided = engine
        .store
        .write(move |tx| {
            let (twin, name) = (loaded.twin.name.as_str(), model.name.value.as_str());
            let last = runs::last(tx, twin, name)?;
            let arrival = match last {
                Some(run) if run.state == State::Starting => return Ok::<_, Error>(Next::Submit(Box::new(run))),
                Some(run) if run.state == State::Submitted => return Ok(Next::Wait),
                Some(run) if run.state == State::Ended => return Ok(Next::Conclude(Box::new(run))),
                Some(run) => run.arrival + 1,
                None => 1,
            };
            let state = twins::get(tx, twin)?.map(|now| now.state);
            if state != Some(twins::State::Active) {
                return Ok(Next::Wait);
            }
            begin(tx, &loaded, &model, arrival)
        })
        .await?;
    Ok(decided)
}

/// Begins the run of an arrival if what it needs is there.
fn begin(tx: &mut Tx<'_>, loaded: &Loaded, model: &Model, arrival: u64) -> Result<Next, Error> {
    let (twin, name) = (loaded.twin.name.as_str(), model.name.value.as_str());
    let Some(root) = check::root(&loaded.document, &model.on.dataset_ready.value) else { return Ok(Next::Wait) };
    let Some(observation) = observations::at_arrival(tx, twin, &root.name.value, arrival)? else {
        return Ok(Next::Wait);
    };
    let Some(issue) = observation.month else {
        return Err(Error::Invalid(format!("arrival {arrival} of {twin} has no month")));
    };
    let state = match trigger(tx, loaded, model, arrival, observation.ready)? {
        Trigger::Ready => State::Starting,
        Trigger::NotYet => return Ok(Next::Wait),
        Trigger::Never => State::Skipped,
    };
    if let Some(budget) = loaded.document.policy.budget.cpu
        && state == State::Starting
        && u128::from(twins::get(tx, twin)?.map_or(0, |now| now.cpu).unsigned_abs()) >= budget.0.as_micros()
    {
        return Ok(Next::Hindered(format!("the budget of {budget} CPU time is used up; no new run starts")));
    }
    let identity = pod::Run { twin, model: name, arrival, issue, attempt: 0 };
    let skipped = state == State::Skipped;
    let run = Run {
        uid: identity.uid().to_string(),
        twin: twin.to_owned(),
        model: name.to_owned(),
        arrival,
        issue,
        attempt: 0,
        version: loaded.twin.version,
        state,
        reason: skipped.then(|| format!("{} gave nothing for {issue}", model.on.dataset_ready.value)),
        exit_code: None,
        site: None,
        why: Some(format!("the document asks for the site {}", model.site)),
        outcome: None,
        log: None,
        started: Timestamp::now(),
        submitted: None,
        ended: None,
        cpu: 0,
        wall: 0,
    };
    runs::insert(tx, &run)?;
    if skipped {
        conclude::tell(tx, &run, &[])?;
        conclude::wake_followers(tx, &loaded.document, twin, name)?;
        return Ok(Next::Again);
    }
    let data = json!({
        "twin": twin, "model": name, "arrival": arrival, "issue_month": issue, "pod_uid": run.uid, "site": model.site,
    });
    tx.emit(Event::new("org.dte.workflow.run.started", SOURCE, format!("{twin}/{name}/{issue}"), data))?;
    Ok(Next::Submit(Box::new(run)))
}

enum Trigger {
    Ready,
    NotYet,
    /// What should start the model will not come.
    Never,
}

/// Whether what starts the model, and its inputs, are in place.
fn trigger(tx: &mut Tx<'_>, loaded: &Loaded, model: &Model, arrival: u64, observed: bool) -> Result<Trigger, Error> {
    let twin = loaded.twin.name.as_str();
    let needed = std::iter::once(model.on.dataset_ready.value.clone())
        .chain(pod::folders(model).into_iter().map(|(data, _)| data));
    for data in needed {
        let Some(product) = loaded.document.product(&data) else {
            if !observed {
                return Ok(Trigger::NotYet);
            }
            continue;
        };
        match runs::product_ready(tx, twin, &data, arrival)? {
            Some(true) => {}
            Some(false) => return Ok(Trigger::NotYet),
            None => {
                let maker = runs::at_arrival(tx, twin, &product.model.value, arrival)?;
                return Ok(if maker.is_some_and(|run| run.state.is_final()) {
                    Trigger::Never
                } else {
                    Trigger::NotYet
                });
            }
        }
    }
    Ok(Trigger::Ready)
}

/// Hands the pod over and notes the answer. Repeating it is harmless.
async fn submit(engine: &Engine, loaded: &Loaded, model: &Model, run: &Run) -> Result<(), Failure> {
    create_datasets(engine, loaded, run).await?;
    match hand_over(engine, loaded, model, run).await? {
        HandOver::Accepted => note(engine, loaded, run, Happening::Accepted, None).await,
        HandOver::Refused(why) => {
            note(engine, loaded, run, Happening::GaveNothing, Some(format!("the pod was refused: {why}"))).await
        }
    }
}

/// The datasets that the run's products will be put into.
async fn create_datasets(engine: &Engine, loaded: &Loaded, run: &Run) -> Result<(), Failure> {
    let lake = engine.lake(&loaded.twin.owner)?;
    let document = &loaded.document;
    let places: Vec<Place> = document.products_of(&run.model).map(|one| Place::of_product(document, one)).collect();
    if places.is_empty() {
        return Ok(());
    }
    let datasets: Vec<NewDid> = places.iter().map(|place| NewDid::dataset(&place.dataset(run.issue))).collect();
    lake.ensure_dids(&datasets).await?;
    let attached: Vec<Attachment> =
        places.iter().map(|place| Attachment::new(&place.container(), [place.dataset(run.issue)])).collect();
    Ok(lake.attach(&attached).await?)
}

/// What came of a hand-over.
pub enum HandOver {
    Accepted,
    /// The pod itself is wrong; handing it over again will not help.
    Refused(String),
}

/// Hands the pod of a run over. Who knows the pod already says so and does nothing.
pub async fn hand_over(engine: &Engine, loaded: &Loaded, model: &Model, run: &Run) -> Result<HandOver, Failure> {
    let Some(program) = loaded.twin.programs.get(&run.model).filter(|program| !program.sha256.is_empty()) else {
        return Err(Failure::Other(format!("the program of {} is not in the lake yet", run.model)));
    };
    let staged = staged(engine, loaded, model, run).await?;
    let identity =
        pod::Run { twin: &run.twin, model: &run.model, arrival: run.arrival, issue: run.issue, attempt: run.attempt };
    let pod = pod::pod(&loaded.document, model, &identity, &loaded.twin.owner.name, program, &staged);
    match engine.interlink(&loaded.twin.owner)?.create(&PodCreateRequests::of(pod)).await {
        Ok(_) => Ok(HandOver::Accepted),
        Err(InterlinkError::Refused { status, text }) if matches!(status.as_u16(), 400 | 413 | 422) => {
            Ok(HandOver::Refused(text))
        }
        Err(error) => Err(error.into()),
    }
}

/// Every file that the run may know: those of arrivals up to its own, and none later.
async fn staged(engine: &Engine, loaded: &Loaded, model: &Model, run: &Run) -> Result<Vec<Staged>, Failure> {
    let (loaded, model, arrival) = (loaded.clone(), model.clone(), run.arrival);
    let staged = engine
        .store
        .read(move |tx| {
            let twin = loaded.twin.name.as_str();
            pod::folders(&model)
                .into_iter()
                .map(|(data, folder)| {
                    let files: Vec<File> = if loaded.document.product(&data).is_some() {
                        runs::product_files_up_to(tx, twin, &data, arrival)?
                    } else {
                        observations::files_up_to(tx, twin, &data, arrival)?
                    };
                    Ok::<_, Error>(Staged { folder, files })
                })
                .collect::<Result<Vec<Staged>, Error>>()
        })
        .await?;
    Ok(staged)
}

/// Notes what happened to a run that was being handed over.
async fn note(
    engine: &Engine,
    loaded: &Loaded,
    run: &Run,
    happening: Happening,
    reason: Option<String>,
) -> Result<(), Failure> {
    let (run, loaded) = (run.clone(), loaded.clone());
    engine
        .store
        .write(move |tx| {
            let Some(state) = run.state.after(happening) else { return Ok::<_, Error>(()) };
            let now = Timestamp::now();
            let failed = state == State::Failed;
            let changed = Run {
                state,
                reason: reason.clone(),
                submitted: Some(now),
                ended: failed.then_some(now),
                ..run.clone()
            };
            // Its end may have been told before the answer came.
            if runs::update(tx, run.state, &changed)? && failed {
                conclude::tell(tx, &changed, &[])?;
                conclude::wake_followers(tx, &loaded.document, &run.twin, &run.model)?;
                request_model(tx, &run.twin, &run.model)?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}
