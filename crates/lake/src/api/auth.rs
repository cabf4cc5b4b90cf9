//! `/ping` and `/auth`: tokens are those of the engine. A name and a password of the engine give one; others are shown as they are.

use axum::Extension;
use axum::extract::State;
use dte_base::time::Timestamp;
use dte_http::PeerAddress;
use dte_identity::{AccountError, Principal, Require, Routes, USUAL_LIFETIME};
use dte_protocol_rucio::Class;
use dte_protocol_rucio::date::rfc1123_utc;
use http::HeaderMap;
use serde_json::json;

use super::READS;
use super::answer::{Answer, Failure, headers, json};
use super::request::Asking;
use crate::Lake;
use crate::model::policy::account_of;

/// The version of the server whose API this is.
const VERSION: &str = "41.5.1";

const OPEN: Require = Require::Public("says the protocol's version; how to log in");

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .get("/ping", OPEN, ping)
        .get("/ping/", OPEN, ping)
        .get("/auth/validate", READS, validate)
        .get("/auth/oidc_refresh", READS, refresh)
        .get("/auth/userpass", OPEN, userpass)
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

/// A token for a name and a password of the engine, as Rucio's clients fetch it. What it costs to guess is the identity's affair.
async fn userpass(State(lake): State<Lake>, peer: Option<Extension<PeerAddress>>, all: HeaderMap) -> Answer {
    let header = |name: &str| all.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let refused = || Failure::new(Class::CannotAuthenticate, "Cannot authenticate with given credentials");
    let (Some(name), Some(password)) = (header("x-rucio-username"), header("x-rucio-password")) else {
        return Err(Failure::new(Class::CannotAuthenticate, "A user name and a password are needed"));
    };
    let address = peer.map(|Extension(PeerAddress(address))| address);
    let principal = lake.identity.check_password(name, password, address).await.map_err(|error| match error {
        AccountError::Wrong | AccountError::Identity(_) => refused(),
        // In words that help: the password was right, or nobody looked at it.
        AccountError::SecondFactor | AccountError::Wait(_) | AccountError::Busy => {
            Failure::new(Class::CannotAuthenticate, error.to_string())
        }
        other => {
            tracing::error!(error = %other, "a password could not be checked");
            refused()
        }
    })?;
    let account = account_of(principal.name());
    if let Some(wanted) = header("x-rucio-account").filter(|wanted| *wanted != account) {
        let message = format!("Cannot authenticate to account {wanted} with given credentials");
        return Err(Failure::new(Class::CannotAuthenticate, message));
    }
    let known = lake.know(&account, &principal).await?;
    if !known.active {
        return Err(refused());
    }
    let token = lake
        .identity
        .issue_token(principal.name(), &[], None, USUAL_LIFETIME, principal.name())
        .map_err(|_| refused())?;
    let expires = rfc1123_utc(Timestamp::now() + USUAL_LIFETIME);
    headers(
        &[
            ("x-rucio-auth-token", token.expose()),
            ("x-rucio-auth-token-expires", &expires),
            ("x-rucio-auth-account", &account),
            ("cache-control", "no-cache, no-store, max-age=0, must-revalidate"),
            ("pragma", "no-cache"),
        ],
        String::new(),
    )
}

async fn elsewhere(_: Option<Principal>) -> Answer {
    let message = "Log in with a name and a password of the engine (auth_type = userpass), or with a token of it: set auth_type = oidc and auth_token_file_path in rucio.cfg; \
                   `dte token` prints one";
    Err(Failure::new(Class::CannotAuthenticate, message))
}
