//! The wire: records and summaries, as JSON. People see their own usage, administrators all.

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use dte_base::time::Timestamp;
use dte_http::{Json, Page, Problem, Query};
use dte_identity::{Mount, Principal, Require, Routes};
use dte_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::price::{Prices, micro};
use crate::model::summary::{Group, sum, twin};
use crate::model::usage::Kind;
use crate::store::records::{self, Filter, Kept};
use crate::store::summaries;

/// What reading needs, where a token is confined to scopes.
const READ: Require = Require::Scope("accounting.read");

/// What handlers share.
#[derive(Clone)]
pub struct State {
    pub store: Store,
    pub prices: Prices,
}

/// The routes at `/accounting`.
pub fn mount(state: State) -> Mount {
    let routes = Routes::new("accounting")
        .get("/records", READ, list)
        .get("/summary", READ, summary)
        .get("/prices", READ, prices)
        .with_state(state);
    Mount { prefix: "/accounting", routes }
}

async fn prices(Shared(state): Shared<State>) -> Json<Prices> {
    Json(state.prices)
}

/// Whose usage is shown: an administrator's wish, or one's own.
fn whose(principal: &Principal, wished: Option<String>) -> Result<Option<String>, Problem> {
    let own = principal.name();
    match wished {
        wished if principal.is_admin() => Ok(wished),
        Some(other) if other != own => Err(Problem::forbidden("the usage of others is for administrators")),
        _ => Ok(Some(own.to_owned())),
    }
}

#[derive(Deserialize)]
struct Wanted {
    kind: Option<String>,
    user: Option<String>,
    twin: Option<String>,
    since: Option<String>,
}

/// One record on the wire.
#[derive(Serialize)]
struct Shown {
    id: uuid::Uuid,
    kind: Kind,
    user: String,
    twin: Option<String>,
    site: String,
    subject: String,
    started: Timestamp,
    charged: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    compute: Option<Compute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<i64>,
    cost_micro: i64,
}

#[derive(Serialize)]
struct Compute {
    cpu_seconds: f64,
    wall_seconds: f64,
    core_seconds: f64,
    max_rss_bytes: i64,
}

impl Shown {
    fn of(kept: Kept, prices: &Prices, now: Timestamp) -> Shown {
        let seconds = |micros: i64| micros as f64 / 1e6;
        let minutes = (now.as_micros() - kept.charged.as_micros()).max(0) / 60_000_000;
        let cost_nano = match kept.kind {
            Kind::Storage => prices.storage_nano(i128::from(kept.bytes) * i128::from(minutes)),
            Kind::Compute | Kind::Transfer => kept.cost_nano,
        };
        let is_compute = kept.kind == Kind::Compute;
        Shown {
            id: kept.id,
            kind: kept.kind,
            user: kept.user,
            twin: Some(kept.twin).filter(|twin| !twin.is_empty()),
            site: kept.site,
            subject: kept.subject,
            started: kept.started,
            charged: kept.charged,
            compute: is_compute.then(|| Compute {
                cpu_seconds: seconds(kept.cpu_micros),
                wall_seconds: seconds(kept.wall_micros),
                core_seconds: seconds(kept.core_micros),
                max_rss_bytes: kept.max_rss_bytes,
            }),
            bytes: (!is_compute).then_some(kept.bytes),
            cost_micro: micro(cost_nano),
        }
    }
}

async fn list(
    Shared(state): Shared<State>,
    principal: Principal,
    page: Page,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let kind = match wanted.kind.as_deref() {
        None => None,
        Some(text) => {
            Some(Kind::parse(text).ok_or_else(|| Problem::bad_request("kind must be compute, storage or transfer"))?)
        }
    };
    let since = match wanted.since.as_deref() {
        None => None,
        Some(text) => Some(time(text)?),
    };
    let after = match page.after.as_deref() {
        None => 0,
        Some(text) => text.parse::<i64>().map_err(|_| Problem::bad_request("after must be the `next` of a page"))?,
    };
    let filter = Filter { kind, user: whose(&principal, wanted.user)?, twin: wanted.twin, since };
    let limit = page.limit;
    let mut found = state.store.read(move |tx| records::list(tx, &filter, after, limit + 1)).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.number.to_string());
    let now = Timestamp::now();
    let shown: Vec<Shown> = found.into_iter().map(|kept| Shown::of(kept, &state.prices, now)).collect();
    let mut body = json!({ "currency": state.prices.currency, "records": shown });
    if let Some(next) = next {
        body["next"] = json!(next);
    }
    Ok(Json(body).into_response())
}

/// An RFC 3339 time, or a day.
fn time(text: &str) -> Result<Timestamp, Problem> {
    text.parse()
        .or_else(|_| format!("{text}T00:00:00Z").parse::<Timestamp>())
        .map_err(|_| Problem::bad_request("since and until are days (1983-01-31) or RFC 3339 times"))
}

#[derive(Deserialize)]
struct Summing {
    group: Option<String>,
    user: Option<String>,
    twin: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

async fn summary(
    Shared(state): Shared<State>,
    principal: Principal,
    Query(wanted): Query<Summing>,
) -> Result<Response, Problem> {
    let text = wanted.group.as_deref().unwrap_or("day");
    let group = Group::parse(text).ok_or_else(|| Problem::bad_request("group must be day, user or twin"))?;
    let day = |text: Option<&str>, default: &str| match text {
        None => Ok(default.to_owned()),
        Some(text) => time(text).map(Timestamp::day),
    };
    let (since, until) = (day(wanted.since.as_deref(), "")?, day(wanted.until.as_deref(), "9999-12-31")?);
    let user = whose(&principal, wanted.user)?;
    let (mut cells, twins) = state
        .store
        .read(move |tx| {
            let cells = summaries::cells(tx, user.as_deref(), &since, &until)?;
            Ok::<_, dte_store::Error>((cells, summaries::twins(tx)?))
        })
        .await?;
    if let Some(wanted) = wanted.twin {
        cells.retain(|cell| twin(cell, &twins) == wanted);
    }
    let rows = sum(&cells, group, &twins, &state.prices, Timestamp::now());
    let total = rows.iter().fold(0_i64, |total, row| total.saturating_add(row.cost_micro));
    let body = json!({ "currency": state.prices.currency, "group": text, "rows": rows, "cost_micro": total });
    Ok(Json(body).into_response())
}
