//! Services that answer as the real ones do, about a twin that has come as far as [`World::reach`] says.

#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Path, RawQuery, State};
use dte_dashboard::model::twin::Twin;
use dte_http::Problem;
use dte_identity::{Mount, Principal, Require, Routes};
use serde_json::{Value, json};

use crate::sample;

/// How many months after December 1979 have arrived.
#[derive(Clone)]
pub struct World(Arc<AtomicUsize>);

impl World {
    pub fn at(months: usize) -> World {
        World(Arc::new(AtomicUsize::new(months)))
    }

    pub fn reach(&self, months: usize) {
        self.0.store(months, Ordering::SeqCst);
    }

    fn twin(&self, lead: u32) -> Twin {
        let months = self.0.load(Ordering::SeqCst) as i64;
        sample::twin(lead, &sample::period("1979-12").plus(months).to_string())
    }
}

pub const NAME: &str = "enso";

/// All mounts but the dashboard's.
pub fn mounts(world: &World) -> Vec<Mount> {
    let any = Require::Authenticated;
    let twins = Routes::new("workflow")
        .get("/api/v1/twins", any, list)
        .get("/api/v1/twins/{name}/status", any, status)
        .get("/api/v1/twins/{name}/observations", any, observations)
        .get("/api/v1/twins/{name}/forecasts", any, forecasts)
        .get("/api/v1/twins/{name}/alerts", any, alerts)
        .get("/api/v1/twins/{name}/runs", any, runs)
        .with_state(world.clone());
    let provenance = Routes::new("provenance").get("/api/v0/lineage", any, lineage).with_state(world.clone());
    let accounting = Routes::new("accounting").get("/summary", any, summary).with_state(world.clone());
    let lake =
        Routes::new("lake").get("/rses/", any, rses).get("/rses/{rse}/usage", any, usage).with_state(world.clone());
    [("/twins", twins), ("/yprov", provenance), ("/accounting", accounting), ("/rucio", lake)]
        .into_iter()
        .map(|(prefix, routes)| Mount { prefix, routes })
        .collect()
}

type Answer = Result<axum::Json<Value>, Problem>;

fn known(name: &str, principal: &Principal) -> Result<(), Problem> {
    if name != NAME {
        return Err(Problem::not_found(format!("there is no twin {name}")));
    }
    if !principal.is_admin() {
        return Err(Problem::forbidden(format!("the twin {name} belongs to somebody else")));
    }
    Ok(())
}

async fn list(principal: Principal) -> axum::Json<Value> {
    let items = if principal.is_admin() {
        json!([{"twin": NAME, "version": 1, "state": "active", "owner": "admin"}])
    } else {
        json!([])
    };
    axum::Json(json!({ "items": items }))
}

async fn status(State(world): State<World>, principal: Principal, Path(name): Path<String>) -> Answer {
    known(&name, &principal)?;
    let twin = world.twin(1);
    let last = twin.observed.last().map(|o| o.period.to_string());
    let skill: Vec<Value> = twin
        .skill
        .iter()
        .map(|s| json!({"lead": s.lead, "n": s.count, "model": s.model, "persistence": s.persistence, "climatology": s.climatology}))
        .collect();
    let run = &twin.runs[0];
    Ok(axum::Json(json!({
        "twin": NAME, "version": 1, "state": "active", "owner": "admin", "description": twin.description,
        "freshness": {"state": "fresh", "behind": 0, "newest_observation": last, "newest_forecast": last},
        "observes": [{
            "name": "nino12", "unit": "degC", "folder": "/x", "files": 1, "accepted": 1, "arrivals": twin.counts.arrivals, "newest": last, "next": null,
            "pending": 0, "held": {"count": 0, "newest": []}, "superseded": 0,
            "refused": {"count": 1, "newest": [{"file": "nino12-1981-03.csv", "month": null, "reason": "line 2: \"warm\" is not a number", "bytes": 3, "adler32": "00000001", "seen": run.finished}]},
        }],
        "models": [{"name": "regression", "on": "nino12", "site": "local", "runs": {"succeeded": twin.counts.runs}, "behind": 0, "last_run": null}],
        "produces": [{"name": "forecast", "published": twin.counts.forecasts, "newest_issue_month": last, "newest": twin.newest_did}],
        "skill": [{"forecast": "forecast", "against": "nino12", "unit": "degC", "reference": {"from": "1950-01", "to": "1979-12"}, "gate": "passed", "not_better_at": [], "leads": skill}],
        "alerts": {"raised": twin.alerts.len(), "open": []},
        "cost": {"cpu_seconds": 3.3, "wall_seconds": 12.0, "budget_cpu_seconds": 7200.0},
        "last_run": null, "troubles": [],
    })))
}

async fn observations(State(world): State<World>, principal: Principal, Path(name): Path<String>) -> Answer {
    known(&name, &principal)?;
    let twin = world.twin(1);
    let climatology = twin.climatology();
    let values: Vec<Value> = twin
        .observed
        .iter()
        .map(|o| json!({"month": o.period, "value": o.value, "climatology": climatology.at(&o.period), "anomaly": 0.0}))
        .collect();
    Ok(axum::Json(json!({"name": "nino12", "unit": "degC", "start": "1980-01", "values": values})))
}

async fn forecasts(
    State(world): State<World>,
    principal: Principal,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    known(&name, &principal)?;
    let query = query.unwrap_or_default();
    let lead = query.split('&').find_map(|pair| pair.strip_prefix("lead=")).map(|lead| lead.parse::<u32>());
    let twin = match lead {
        Some(lead) => world.twin(lead.map_err(|_| Problem::bad_request("lead must be a number"))?.clamp(1, 6)),
        None => world.twin(1),
    };
    let rows = if query.contains("issue=latest") { &twin.newest } else { &twin.history };
    let rows: Vec<Value> = rows
        .iter()
        .map(|f| {
            let ((l80, u80), (l95, u95)) = (f.interval_80.expect("test data"), f.interval_95.expect("test data"));
            json!({"issue_month": f.issue, "target_month": f.target, "lead": f.lead, "mean": f.mean, "lower80": l80, "upper80": u80, "lower95": l95, "upper95": u95})
        })
        .collect();
    Ok(axum::Json(json!({"name": "forecast", "forecasts": rows})))
}

async fn alerts(State(world): State<World>, principal: Principal, Path(name): Path<String>) -> Answer {
    known(&name, &principal)?;
    let twin = world.twin(1);
    let rows: Vec<Value> = twin
        .alerts
        .iter()
        .rev()
        .map(|a| {
            let ended = a.until.as_ref().filter(|_| !a.is_open);
            json!({"id": "x", "alert": a.name, "forecast": "forecast", "severity": "warning", "message": a.text, "issue_month": a.issue, "lead": 3,
                "target_month": a.target, "anomaly": 1.4, "probability": 0.83, "run": "r", "raised": a.raised, "ended_issue_month": ended})
        })
        .collect();
    Ok(axum::Json(json!({ "items": rows })))
}

async fn runs(State(world): State<World>, principal: Principal, Path(name): Path<String>) -> Answer {
    known(&name, &principal)?;
    let twin = world.twin(1);
    let run = &twin.runs[0];
    Ok(axum::Json(json!({"items": [{
        "id": run.uid, "model": "regression", "arrival": 3, "issue_month": run.arrival, "attempt": 1, "version": 1, "state": "succeeded", "reason": null,
        "exit_code": 0, "site": "local", "why": run.why, "started": run.started, "submitted": run.started, "ended": run.finished, "cpu_seconds": 0.009, "wall_seconds": 0.04,
    }]})))
}

async fn summary() -> axum::Json<Value> {
    axum::Json(json!({"currency": "EUR", "group": "twin", "cost_micro": 1234, "rows": [{
        "key": NAME, "cost_micro": 1234, "compute": {"records": 12, "cpu_seconds": 0.31, "wall_seconds": 1.0, "core_hours": 0.1, "cost_micro": 1},
        "storage": {"records": 24, "bytes": 12_345, "gb_months": 0.0, "cost_micro": 1}, "transfer": {"records": 0, "bytes": 0, "cost_micro": 0},
    }]}))
}

async fn lineage(State(world): State<World>) -> axum::Json<Value> {
    let twin = world.twin(1);
    let name = |id: &str| json!({"$": id, "type": "prov:QUALIFIED_NAME"});
    let did = twin.newest_did.clone().unwrap_or_default();
    let mut entity = json!({ "product": {"prov:type": name("dte:File"), "dte:did": did, "dte:bytes": {"$": "412", "type": "xsd:long"}, "dte:adler32": "8c1b33f0"},
        "code:1": {"prov:type": name("prov:Plan"), "prov:label": "enso-model", "dte:sha256": "3fa2c11b00000000000000000000000000000000000000000000000000090d4f"} });
    let mut used = json!({"_:c": {"prov:activity": "run:1", "prov:entity": "code:1"}});
    for o in twin.observed.iter().filter(|o| Some(&o.period) >= twin.start.as_ref()) {
        let id = format!("did:{}", o.period);
        entity[&id] = json!({"prov:type": name("dte:File"), "dte:did": format!("enso:nino12-{}.csv", o.period), "dte:bytes": {"$": "27", "type": "xsd:long"}});
        used[format!("_:{}", o.period)] = json!({"prov:activity": "run:1", "prov:entity": id});
    }
    axum::Json(json!({
        "entity": entity, "used": used,
        "activity": {"run:1": {"prov:label": "enso-regression", "prov:startTime": "2026-01-01T00:00:00Z", "prov:endTime": "2026-01-01T00:00:00.041Z", "dte:exitCode": 0}},
        "agent": {"user:admin": {"prov:type": name("prov:Person"), "prov:label": "admin"}, "service:workflow": {"prov:type": name("prov:SoftwareAgent"), "prov:label": "workflow"},
            "site:local": {"prov:type": name("dte:Site"), "prov:label": "local"}},
        "wasGeneratedBy": {"_:g": {"prov:entity": "product", "prov:activity": "run:1"}},
        "wasAssociatedWith": {"_:a": {"prov:activity": "run:1", "prov:agent": "service:workflow"}, "_:b": {"prov:activity": "run:1", "prov:agent": "site:local"}},
        "actedOnBehalfOf": {"_:d": {"prov:delegate": "service:workflow", "prov:responsible": "user:admin", "prov:activity": "run:1"}},
    }))
}

async fn rses() -> &'static str {
    "{\"rse\": \"LOCAL\", \"rse_type\": \"DISK\"}\n"
}

async fn usage() -> &'static str {
    "{\"rse\": \"LOCAL\", \"used\": 121000, \"total\": 121000, \"files\": 745}\n"
}
