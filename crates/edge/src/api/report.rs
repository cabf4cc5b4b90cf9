//! The storage resource report at `/srr`, and accounting records at `/srr/star`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use dte_http::Problem;
use dte_identity::{Mount, Require, Routes};
use dte_protocol_webdav::multistatus::CONTENT_TYPE as XML;
use http::header::{CONTENT_TYPE, RETRY_AFTER};

use crate::model::report::Report;
use crate::reporting::Reporting;

const ADMIN: Require = Require::Admin;
const OPEN: Require = Require::Public("the operator opened it: [edge.report] public = true");

pub fn mount(reporting: Arc<Reporting>) -> Mount {
    let require = if reporting.is_public() { OPEN } else { ADMIN };
    let routes = Routes::new(crate::Service::NAME)
        .get("/", require, report)
        // They name people.
        .get("/star", ADMIN, records)
        .with_state(reporting);
    Mount { prefix: "/srr", routes }
}

async fn report(State(reporting): State<Arc<Reporting>>) -> Result<Json<Report>, Problem> {
    reporting.report().map(Json).ok_or_else(not_yet)
}

async fn records(State(reporting): State<Arc<Reporting>>) -> Result<Response, Problem> {
    let records = reporting.records().ok_or_else(not_yet)?;
    Ok(([(CONTENT_TYPE, XML)], records).into_response())
}

fn not_yet() -> Problem {
    let problem = Problem::unavailable("the areas have not been looked through yet; try again in a minute");
    problem.with_header(RETRY_AFTER, "60")
}
