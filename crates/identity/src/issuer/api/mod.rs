//! The issuer on the wire: `PUBLIC_URL/oidc`, one file for each endpoint.

mod assertion;
mod authorize;
mod caller;
mod consent;
mod device;
mod device_page;
mod discovery;
mod exchange;
mod introspect;
mod logout;
mod policies;
mod redeem;
mod refresh;
mod register;
mod revoke;
mod token;
mod userinfo;

use axum::response::{IntoResponse, Response};
use dte_base::units::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    CACHE_CONTROL, HeaderValue, LOCATION, REFERRER_POLICY,
};
use http::{HeaderMap, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::model::params::{BadParams, Params};
use super::refusal::Refusal;
use crate::Identity;
use crate::policy::Obstacle;
use crate::routes::{Mount, Require, Routes};

const METADATA: Require = Require::Public("issuer metadata and public keys are for everybody");
const CLIENTS: Require = Require::Public("clients authenticate with their own credentials");
const PAGES: Require = Require::Public("the page asks who is not signed in to do so");
const SCRIPTS: Require = Require::Public("browsers ask before scripts of other pages may");

/// The issuer is `PUBLIC_URL/oidc`. Its metadata is beneath it (OpenID Connect Discovery) and, as RFC 8414 wants it,
/// with the well-known part before the issuer's path.
pub(crate) fn mounts(identity: &Identity) -> Vec<Mount> {
    let issuer = crate::pages::people(Routes::new("identity").body_limit(Bytes(64 << 10)))
        .get("/.well-known/openid-configuration", METADATA, discovery::metadata)
        .get("/.well-known/oauth-authorization-server", METADATA, discovery::metadata)
        .get("/jwk", METADATA, discovery::keys)
        .get("/authorize", PAGES, authorize::get)
        .post("/authorize", PAGES, authorize::post)
        .post("/consent", PAGES, consent::post)
        .post("/token", CLIENTS, token::post)
        .options("/token", SCRIPTS, preflight)
        .post("/devicecode", CLIENTS, device::post)
        .options("/devicecode", SCRIPTS, preflight)
        .get("/device", PAGES, device_page::get)
        .post("/device", PAGES, device_page::post)
        .get("/userinfo", Require::Public("the handler reads the token, whoever it is meant for"), userinfo::get)
        .post("/userinfo", Require::Public("the handler reads the token, whoever it is meant for"), userinfo::post)
        .options("/userinfo", SCRIPTS, preflight)
        .post("/introspect", CLIENTS, introspect::post)
        .post("/revoke", CLIENTS, revoke::post)
        .options("/revoke", SCRIPTS, preflight)
        .get("/logout", PAGES, logout::get)
        .post("/logout", PAGES, logout::post)
        .post("/register", Require::Public("programs register themselves, so many a minute"), register::post)
        .get("/register/{client_id}", Require::Public("the registration's own token is checked"), register::get)
        .put("/register/{client_id}", Require::Public("the registration's own token is checked"), register::put)
        .delete("/register/{client_id}", Require::Public("the registration's own token is checked"), register::delete)
        .with_state(identity.clone());
    let exchange = Routes::new("identity")
        .body_limit(Bytes(64 << 10))
        .get("/policies", Require::Admin, policies::list)
        .post("/policies", Require::Admin, policies::add)
        .delete("/policies/{id}", Require::Admin, policies::delete)
        .with_state(identity.clone());
    let inserted = || Routes::new("identity").get("/oidc", METADATA, discovery::metadata).with_state(identity.clone());
    vec![
        Mount { prefix: "/oidc", routes: issuer },
        Mount { prefix: "/oidc/iam/api/exchange", routes: exchange },
        Mount { prefix: "/.well-known/openid-configuration", routes: inserted() },
        Mount { prefix: "/.well-known/oauth-authorization-server", routes: inserted() },
    ]
}

/// What a browser asks before a script of another page may call. No cookie is ever let through.
async fn preflight() -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type, dpop"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Sends the browser somewhere; nobody keeps it, and the place does not learn where from.
fn see_other(place: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(place) else {
        return Refusal::request("the address to go back to cannot be written").into_response();
    };
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// Sends a person to where an obstacle is removed; they come back to `next`.
fn to_obstacle(obstacle: &Obstacle, next: &str) -> Response {
    let joint = if obstacle.page.contains('?') { '&' } else { '?' };
    see_other(&format!("{}{joint}next={}", obstacle.page, utf8_percent_encode(next, NON_ALPHANUMERIC)))
}

impl From<BadParams> for Refusal {
    fn from(bad: BadParams) -> Self {
        let error = if matches!(bad, BadParams::Audience(_)) { "invalid_target" } else { "invalid_request" };
        Refusal::new(error, bad.to_string())
    }
}

fn params(text: &[u8]) -> Result<Params, Refusal> {
    Ok(Params::parse(text)?)
}
