//! Series for plots: what was observed, what was forecast.

use axum::extract::{Path, State};
use dte_http::{Json, Problem, Query};
use dte_identity::Principal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::owned;
use crate::model::document::ProductFormat;
use crate::model::month::Month;
use crate::store::{forecasts as stored, observations as seen};
use crate::work::engine::Engine;

/// Which part of a series.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The observed or produced thing; the first of the document if not said.
    name: Option<String>,
    from: Option<Month>,
    to: Option<Month>,
    /// Forecasts: one issue month, or `latest`.
    issue: Option<String>,
    /// Forecasts: one lead only.
    lead: Option<u32>,
}

impl Wanted {
    fn bounds(&self) -> (Month, Month) {
        const MOST: i32 = 9_999 * 12 + 11;
        let zero = Month::EARLIEST;
        (self.from.unwrap_or(zero), self.to.unwrap_or_else(|| zero.plus(MOST)))
    }
}

/// What was observed, with the reference climatology where there is one.
pub async fn observations(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let loaded = owned(&engine, &principal, &name).await?;
    let document = loaded.document.clone();
    let observed = match &wanted.name {
        Some(name) => document.observes(name),
        None => document.observes.first(),
    };
    let observed = observed.ok_or_else(|| Problem::not_found("the twin observes no such series"))?.clone();
    let (from, to) = wanted.bounds();
    let source = observed.name.value.clone();
    let reference = document.checks.skill.iter().find(|check| check.against.value == source);
    let period = reference.map(|check| (check.reference.from.value, check.reference.to.value));
    let (twin, series) = (loaded.twin.name.clone(), source.clone());
    let (values, climatology) = engine
        .store
        .read(move |tx| {
            let climatology = match period {
                Some((first, last)) => stored::climatology(tx, &twin, &series, first, last)?,
                None => None,
            };
            Ok::<_, dte_store::Error>((seen::values(tx, &twin, &series, from, to)?, climatology))
        })
        .await
        .map_err(Problem::from)?;
    let values: Vec<Value> = values
        .into_iter()
        .map(|(month, value)| match &climatology {
            Some(climatology) => json!({
                "month": month, "value": value, "climatology": climatology.at(month),
                "anomaly": climatology.anomaly(month, value),
            }),
            None => json!({ "month": month, "value": value }),
        })
        .collect();
    Ok(Json(json!({ "name": source, "unit": observed.series.unit, "start": observed.start, "values": values })))
}

/// What was forecast.
pub async fn forecasts(
    State(engine): State<Engine>,
    principal: Principal,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let loaded = owned(&engine, &principal, &name).await?;
    let document = &loaded.document;
    let product = match &wanted.name {
        Some(name) => document.product(name),
        None => document.produces.iter().find(|one| one.format == ProductFormat::ForecastCsv),
    };
    let product = product.ok_or_else(|| Problem::not_found("the twin produces no such forecast"))?.name.value.clone();
    let issue = match wanted.issue.as_deref() {
        None => None,
        Some("latest") => Some(None),
        Some(text) => Some(Some(text.parse::<Month>().map_err(|error| Problem::bad_request(error.to_string()))?)),
    };
    let (bounds, lead) = (wanted.bounds(), wanted.lead);
    let (twin, name) = (loaded.twin.name.clone(), product.clone());
    let rows = engine
        .store
        .read(move |tx| {
            let (from, to) = match issue {
                None => bounds,
                Some(Some(month)) => (month, month),
                Some(None) => match stored::newest(tx, &twin, &name)? {
                    Some(month) => (month, month),
                    None => return Ok::<_, dte_store::Error>(Vec::new()),
                },
            };
            stored::issued(tx, &twin, &name, from, to)
        })
        .await
        .map_err(Problem::from)?;
    let rows: Vec<Value> = rows
        .into_iter()
        .filter(|(_, row)| lead.is_none_or(|lead| row.lead == lead))
        .map(|(issue, row)| {
            json!({
                "issue_month": issue, "target_month": row.target, "lead": row.lead, "mean": row.mean,
                "lower80": row.lower80, "upper80": row.upper80, "lower95": row.lower95, "upper95": row.upper95,
            })
        })
        .collect();
    Ok(Json(json!({ "name": product, "forecasts": rows })))
}
