//! `/ping` and `/auth`: tokens are those of the engine, shown as they are. Nothing is exchanged here.

use axum::extract::State;
use dte_identity::{Principal, Require, Routes};
use dte_protocol_rucio::Class;
use dte_protocol_rucio::date::rfc1123_utc;
use serde_json::json;

use super::READS;
use super::answer::{Answer, Failure, headers, json};
use super::request::Asking;
use crate::Lake;

/// The version of the server whose API this is.
const VERSION: &str = "41.5.1";

const OPEN: Require = Require::Public("says the protocol's version; how to log in");

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .get("/ping", OPEN, ping)
        .get("/ping/", OPEN, ping)
        .get("/auth/validate", READS, validate)
        .get("/auth/oidc_refresh", READS, refresh)
        .get("/auth/{method}", OPEN, elsewhere)
}

async fn ping() -> Answer {
    json(&json!({"version": VERSION}))
}

/// What the token says, in the form of a Python dictionary.
async fn validate(State(_): State<Lake>, Asking(caller, principal): Asking) -> Answer {
    let quoted = |text: &str| format!("'{}'", text.replace(['\'', '\\'], "_"));
    let text = format!(
        "{{'account': {}, 'identity': {}, 'authz_scope': {}, 'lifetime': {}, 'vo': 'def'}}",
        quoted(&caller.account),
        quoted(&format!("SUB={}, ISS={}", principal.subject, principal.issuer)),
        quoted(&principal.scopes.names().join(" ")),
        quoted(&rfc1123_utc(principal.expires)),
    );
    headers(&[], text)
}

/// There is nothing to refresh: the answer's headers are empty.
async fn refresh(_: Asking) -> Answer {
    headers(&[("x-rucio-auth-token", ""), ("x-rucio-auth-token-expires", "")], String::new())
}

async fn elsewhere(_: Option<Principal>) -> Answer {
    let message = "Log in with a token of the engine: set auth_type = oidc and auth_token_file_path in rucio.cfg; \
                   `dte token` prints one";
    Err(Failure::new(Class::CannotAuthenticate, message))
}
