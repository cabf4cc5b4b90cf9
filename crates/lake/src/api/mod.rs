//! The wire: Rucio's REST API. One file per resource; each parses, calls the store's functions in a transaction, renders.

mod access;
mod accounts;
mod answer;
mod auth;
mod bad;
mod dids;
mod dids_change;
mod dids_more;
mod dids_read;
mod exchange;
mod files;
mod limits;
mod locks;
mod metadata;
mod metalink;
mod opendata;
mod own_storage;
mod people;
mod records;
mod replicas;
mod replicas_list;
mod request;
mod requests;
mod rse_facts;
mod rses;
mod rses_change;
mod rules;
mod rules_change;
mod rules_replace;
mod settings;
mod subscriptions;

use axum::response::Response;
use dte_base::units::Bytes;
use dte_identity::{Denial, DenialKind, Require, Routes};
use dte_protocol_rucio::{AUTH_TOKEN_HEADER, Class, Exception};
use http::StatusCode;
use http::request::Parts;

use crate::Lake;

/// The largest body: a thousand DIDs with metadata and rules.
const LARGEST_BODY: Bytes = Bytes(16 << 20);

const READS: Require =
    Require::OneOf(&[request::LAKE_SCOPE, "dte.lake.read"], "nothing more: reading is for all accounts");
const CHANGES: Require = Require::OneOf(&[request::LAKE_SCOPE], "Rucio's policy: scope owners and administrators");

/// All routes. Paths that clients ask for with a slash at the end are there in both forms.
pub(crate) fn routes(lake: &Lake) -> Routes {
    let routes = Routes::new("lake").on_denied(denied).token_from(token).body_limit(LARGEST_BODY);
    let routes = auth::routes(routes);
    let routes = accounts::routes(routes);
    let routes = people::routes(routes);
    let routes = limits::routes(routes);
    let routes = access::routes(routes);
    let routes = rses::routes(routes);
    let routes = rse_facts::routes(routes);
    let routes = dids::routes(routes);
    let routes = bad::routes(routes);
    let routes = replicas::routes(routes);
    let routes = rules::routes(routes);
    let routes = locks::routes(routes);
    let routes = settings::routes(routes);
    let routes = subscriptions::routes(routes);
    let routes = records::routes(routes);
    let routes = exchange::routes(routes);
    let routes = opendata::routes(routes);
    let routes = requests::routes(routes);
    routes.with_state(lake.clone())
}

/// Clients carry the token in a header of their own.
fn token(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(AUTH_TOKEN_HEADER)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// A refusal in Rucio's words. Clients log in anew after a 401, so only a bad token is one.
fn denied(denial: Denial) -> Response {
    let exception = match denial.kind {
        DenialKind::NoToken => Exception::new(Class::ValueError, "Token must be set."),
        DenialKind::BadToken => Exception::new(
            Class::CannotAuthenticate,
            format!("Cannot authenticate with given credentials: {}", denial.detail),
        ),
        DenialKind::Insufficient => Exception::new(Class::AccessDenied, denial.detail).at(StatusCode::FORBIDDEN),
        DenialKind::NoRoute => Exception::new(Class::RucioException, "No such path").at(StatusCode::NOT_FOUND),
        DenialKind::NoMethod => {
            Exception::new(Class::RucioException, "No such method").at(StatusCode::METHOD_NOT_ALLOWED)
        }
    };
    answer::exception(&exception)
}
