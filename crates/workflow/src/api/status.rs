//! `GET …/status`: how a twin is doing, in one answer.

use axum::extract::{Path, State};
use dte_http::{Json, Problem};
use dte_identity::Principal;
use dte_store::{Error, Tx};
use serde_json::{Map, Value, json};

use super::{owned, runs::view};
use crate::model::document::{Document, Observes, SkillCheck};
use crate::model::skill::{self, Score, Verdict};
use crate::store::observations::{self, Observation, State as FileState};
use crate::store::{alerts, forecasts, runs, sources, troubles, twins};
use crate::work::engine::{Engine, Loaded};

/// Refused and held files that are shown; the counts say how many there are.
const SHOWN: usize = 20;

pub async fn get(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let loaded = owned(&engine, &principal, &name).await?;
    let status = engine.store.read(move |tx| status(tx, &loaded)).await.map_err(Problem::from)?;
    Ok(Json(status))
}

fn status(tx: &mut Tx<'_>, loaded: &Loaded) -> Result<Value, Error> {
    let (name, document) = (loaded.twin.name.as_str(), loaded.document.as_ref());
    // Read again: all of the answer is of one moment.
    let twin = twins::get(tx, name)?.ok_or(Error::NotFound)?;
    let observes = document.observes.iter().map(|one| source(tx, name, one)).collect::<Result<Vec<_>, _>>()?;
    let models = models(tx, name, document)?;
    let behind: u64 = models.iter().filter_map(|model| model["behind"].as_u64()).max().unwrap_or(0);
    let arrived = observes.iter().any(|one| one["accepted"].as_u64().unwrap_or(0) > 0);
    let troubles = troubles::of(tx, name)?;
    let produces =
        document.produces.iter().map(|one| product(tx, name, &one.name.value)).collect::<Result<Vec<_>, _>>()?;
    let skill =
        document.checks.skill.iter().map(|check| skill_table(tx, loaded, check)).collect::<Result<Vec<_>, _>>()?;
    let raised = alerts::of(tx, name)?;
    let open: Vec<_> = raised.iter().filter(|one| one.ended_issue_month.is_none()).cloned().collect();
    let last = runs::last_of_twin(tx, name)?;
    Ok(json!({
        "twin": name,
        "version": twin.version,
        "state": twin.state,
        "owner": twin.owner.name,
        "description": document.description,
        "freshness": {
            "state": match (arrived, behind) { (false, _) => "waiting", (true, 0) => "fresh", (true, _) => "stale" },
            "behind": behind,
            "newest_observation": observes.iter().filter_map(|one| one["newest"].as_str()).max(),
            "newest_forecast": produces.iter().filter_map(|one| one["newest_issue_month"].as_str()).max(),
        },
        "observes": observes,
        "models": models,
        "produces": produces,
        "skill": skill,
        "alerts": { "raised": raised.len(), "open": open },
        "cost": {
            "cpu_seconds": twin.cpu as f64 / 1e6,
            "wall_seconds": twin.wall as f64 / 1e6,
            "budget_cpu_seconds": document.policy.budget.cpu.map(|span| span.0.as_secs_f64()),
        },
        "last_run": last.as_ref().map(view),
        "troubles": troubles,
    }))
}

fn file(one: &Observation) -> Value {
    json!({
        "file": one.name, "month": one.month, "reason": one.reason, "bytes": one.bytes, "adler32": one.adler32,
        "seen": one.seen,
    })
}

/// How far an observed series is.
fn source(tx: &mut Tx<'_>, twin: &str, observes: &Observes) -> Result<Value, Error> {
    let name = observes.name.value.as_str();
    let place = sources::get(tx, twin, name)?;
    let counts = observations::counts(tx, twin, name)?;
    let count =
        |state: FileState| counts.iter().find(|(known, _)| known == state.as_str()).map_or(0, |(_, count)| *count);
    let next = place.as_ref().and_then(|place| place.next_month);
    let shown = |tx: &mut Tx<'_>, state| -> Result<Vec<Value>, Error> {
        Ok(observations::newest(tx, twin, name, state, SHOWN)?.iter().map(file).collect())
    };
    let waiting_for = next.map_or_else(
        || observes.history.as_ref().map(|history| history.file.value.clone()),
        |month| Some(month.to_string()),
    );
    Ok(json!({
        "name": name,
        "unit": observes.series.unit,
        "folder": observes.folder.value,
        "files": counts.iter().map(|(_, count)| count).sum::<u64>(),
        "accepted": count(FileState::Accepted),
        "arrivals": place.as_ref().map_or(0, |place| place.next_arrival.saturating_sub(1)),
        "newest": next.map(|month| month.plus(-1)),
        "next": waiting_for,
        "pending": count(FileState::Pending),
        "held": { "count": count(FileState::Held), "newest": shown(tx, FileState::Held)? },
        "refused": { "count": count(FileState::Refused), "newest": shown(tx, FileState::Refused)? },
        "missing": { "count": count(FileState::Missing), "newest": shown(tx, FileState::Missing)? },
        "superseded": count(FileState::Superseded),
    }))
}

fn models(tx: &mut Tx<'_>, twin: &str, document: &Document) -> Result<Vec<Value>, Error> {
    let counts = runs::counts(tx, twin)?;
    let mut models = Vec::new();
    for model in &document.models {
        let name = model.name.value.as_str();
        let states: Map<String, Value> = counts
            .iter()
            .filter(|(known, _, _)| known == name)
            .map(|(_, state, count)| (state.clone(), json!(count)))
            .collect();
        let root = crate::model::check::root(document, &model.on.dataset_ready.value);
        let place = match root {
            Some(root) => sources::get(tx, twin, &root.name.value)?,
            None => None,
        };
        let arrived = place.map_or(0, |place| place.next_arrival.saturating_sub(1));
        let last = runs::last(tx, twin, name)?;
        let done = last.as_ref().map_or(0, |run| if run.state.is_final() { run.arrival } else { run.arrival - 1 });
        models.push(json!({
            "name": name,
            "on": model.on.dataset_ready.value,
            "site": model.site,
            "runs": states,
            "behind": arrived.saturating_sub(done),
            "last_run": last.as_ref().map(view),
        }));
    }
    Ok(models)
}

fn product(tx: &mut Tx<'_>, twin: &str, name: &str) -> Result<Value, Error> {
    let (count, newest) = runs::product_summary(tx, twin, name)?;
    let (issue, did) = newest.unzip();
    Ok(json!({ "name": name, "published": count, "newest_issue_month": issue, "newest": did }))
}

/// RMSE per lead of the model and of what costs nothing, and what the gate says.
fn skill_table(tx: &mut Tx<'_>, loaded: &Loaded, check: &SkillCheck) -> Result<Value, Error> {
    let scores = forecasts::scores(tx, &loaded.twin.name, &check.forecast.value)?;
    let unit = loaded.document.observes(&check.against.value).map(|one| one.series.unit.clone());
    let verdict = skill::verdict(&scores, &check.baselines, &check.leads.value, check.after);
    let (gate, worse) = match verdict {
        Verdict::Waiting => ("waiting", Vec::new()),
        Verdict::Passed => ("passed", Vec::new()),
        Verdict::Failed(leads) => ("failed", leads),
    };
    Ok(json!({
        "forecast": check.forecast.value,
        "against": check.against.value,
        "unit": unit,
        "reference": { "from": check.reference.from.value, "to": check.reference.to.value },
        "gate": gate,
        "not_better_at": worse,
        "leads": scores.iter().map(|(lead, score)| row(*lead, score)).collect::<Vec<_>>(),
    }))
}

fn row(lead: u32, score: &Score) -> Value {
    json!({
        "lead": lead,
        "n": score.count,
        "model": score.rmse(score.model),
        "persistence": score.rmse(score.persistence),
        "climatology": score.rmse(score.climatology),
    })
}
