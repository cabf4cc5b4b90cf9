//! The wire: one file for each thing that a client may ask.

mod asked;
mod change;
mod condition;
mod get;
mod listing;
mod lock;
mod propfind;
mod proppatch;
mod put;
mod reference;
mod refusal;
mod relocate;
pub mod report;
mod third_party;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dte_http::Problem;
use dte_identity::{Principal, Require, Routes};
use dte_protocol_webdav::lock::unmet;
use dte_protocol_webdav::multistatus;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::edge::Edge;
use asked::Asked;

/// The methods that a resource may have.
const METHODS: HeaderValue =
    HeaderValue::from_static("OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, PROPFIND, PROPPATCH, MOVE, COPY, LOCK, UNLOCK");
const DAV: HeaderName = HeaderName::from_static("dav");
const CHECKED: Require = Require::Storage("those of the path; a person's own home");
const OPEN: Require = Require::Public("clients probe what a server can do before they show a token");

/// All routes of the edge.
pub fn routes(edge: Arc<Edge>) -> Routes {
    let mut routes = Routes::new(crate::Service::NAME);
    for path in ["/", "/{*path}"] {
        routes = routes.options(path, OPEN, options).any(path, CHECKED, serve);
    }
    routes.with_state(edge)
}

async fn options() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.headers_mut().insert(DAV, HeaderValue::from_static("1, 2"));
    response.headers_mut().insert(ALLOW, METHODS);
    response.headers_mut().insert("ms-author-via", HeaderValue::from_static("DAV"));
    response
}

async fn serve(State(edge): State<Arc<Edge>>, principal: Principal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = match Asked::read(&edge, principal, &parts) {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    let prefix = asked.prefix.clone();
    let outcome = match prepare(&asked).await {
        Ok(()) => dispatch(asked, parts.method, body).await,
        Err(problem) => Err(problem),
    };
    outcome.unwrap_or_else(|problem| render(problem, &prefix))
}

async fn prepare(asked: &Asked) -> Result<(), Problem> {
    asked.prepare_home().await?;
    asked.check_conditions().await
}

/// That a lock is in the way is said as WebDAV clients expect it.
fn render(problem: Problem, prefix: &str) -> Response {
    if problem.status() != StatusCode::LOCKED {
        return problem.into_response();
    }
    let members = problem.to_json();
    let member = |name: &str| members.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    let body = unmet(member(refusal::UNMET), &format!("{prefix}{}", member(refusal::WHERE)));
    (StatusCode::LOCKED, [(CONTENT_TYPE, multistatus::CONTENT_TYPE)], body).into_response()
}

async fn dispatch(asked: Asked, method: Method, body: Body) -> Result<Response, Problem> {
    match method.as_str() {
        "GET" => get::get(asked, get::Part::Content).await,
        "HEAD" => get::get(asked, get::Part::HeadOnly).await,
        "PUT" => put::put(asked, body).await,
        "DELETE" => change::delete(asked).await,
        "MKCOL" => change::mkcol(asked, body).await,
        "PROPFIND" => propfind::propfind(asked, body).await,
        "PROPPATCH" => proppatch::proppatch(asked, body).await,
        "LOCK" => lock::lock(asked, body).await,
        "UNLOCK" => lock::unlock(asked).await,
        "MOVE" => relocate::relocate(asked, relocate::Verb::Move).await,
        "COPY" if third_party::is_meant(&asked) => third_party::copy(asked).await,
        "COPY" => relocate::relocate(asked, relocate::Verb::Copy).await,
        other => {
            let problem = Problem::method_not_allowed(format!("there is no {other} here"));
            Err(problem.with_header(ALLOW, METHODS.to_str().unwrap_or_default()))
        }
    }
}
