//! `/twins/api/v1`: this engine's own JSON API for twins.
//!
//! A twin is seen and changed by its owner and by administrators.

mod alerts;
mod apply;
mod logs;
mod runs;
mod series;
mod status;
mod twins;

use dte_base::units::Bytes;
use dte_http::Problem;
use dte_identity::{Principal, Require, Routes};

use crate::model::mistake::MAX_BYTES;
use crate::work::engine::{Engine, Failure, Loaded};

/// The scope that a confined token needs; whose twin it is, the handlers look at.
const OWNED: Require = Require::Scope("dte.twins");

/// All routes.
pub fn routes(engine: &Engine) -> Routes {
    Routes::new(crate::Service::NAME)
        .body_limit(Bytes(MAX_BYTES as u64 + 1))
        .get("/api/v1/twins", OWNED, twins::list)
        .get("/api/v1/twins/{name}", OWNED, twins::get)
        .put("/api/v1/twins/{name}", OWNED, apply::put)
        .delete("/api/v1/twins/{name}", OWNED, twins::delete)
        .get("/api/v1/twins/{name}/status", OWNED, status::get)
        .get("/api/v1/twins/{name}/observations", OWNED, series::observations)
        .get("/api/v1/twins/{name}/forecasts", OWNED, series::forecasts)
        .get("/api/v1/twins/{name}/alerts", OWNED, alerts::list)
        .get("/api/v1/twins/{name}/runs", OWNED, runs::list)
        .get("/api/v1/twins/{name}/runs/{id}", OWNED, runs::get)
        .get("/api/v1/twins/{name}/logs", OWNED, logs::get)
        .with_state(engine.clone())
}

/// The twin of this name, if it is there and this principal's to see.
async fn owned(engine: &Engine, principal: &Principal, name: &str) -> Result<Loaded, Problem> {
    let loaded = engine.load(name).await.map_err(problem)?;
    let alive = loaded.filter(|loaded| loaded.twin.state != crate::store::twins::State::Deleted);
    let loaded = alive.ok_or_else(|| Problem::not_found(format!("there is no twin {name}")))?;
    if principal.is_admin() || principal.is(&loaded.twin.owner) {
        return Ok(loaded);
    }
    Err(Problem::forbidden(format!("the twin {name} belongs to somebody else")))
}

/// A failure for the client; causes of our own go to the log.
fn problem(failure: Failure) -> Problem {
    match failure {
        Failure::Store(error) => error.into(),
        Failure::Http(error) if error.is_transient() => Problem::unavailable(error.to_string()),
        other => {
            tracing::error!(error = %other, "a request for a twin failed");
            Problem::internal(other.to_string())
        }
    }
}
