//! Communities and agreements on the wire: the native API at `/policy/v1`, and what clients of INDIGO IAM look for beneath
//! the issuer's URL (`contracts`: "Embedded issuer: endpoints").

mod acceptances;
mod aups;
mod erasures;
mod groups;
mod iam_aup;
mod onboarding;
mod page;
mod requests;
mod scim;
mod scim_about;
mod scim_groups;
mod scim_users;
mod scope_policies;
mod trace;

use axum::response::{IntoResponse, Response};
use dte_base::units::Bytes;
use http::StatusCode;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use serde_json::json;

use super::change::Refusal;
use crate::Identity;
use crate::model::denial::Denial;
use crate::model::principal::{Principal, Standing};
use crate::routes::{Mount, Require, Routes};

/// The largest request of the native API and of the IAM-compatible one.
const BODY: Bytes = Bytes(256 << 10);
/// The largest request that names members of a group.
const MEMBERS_BODY: Bytes = Bytes(4 << 20);

/// What an IAM client's token says when it may read or change everything.
const IAM_READ: &str = "iam:admin.read";
const IAM_WRITE: &str = "iam:admin.write";

const MANAGERS: Require = Require::HandlerChecks("administrators and managers of the group");
const OWN: Require = Require::HandlerChecks("each their own; administrators all");

pub(crate) fn mounts(identity: &Identity) -> Vec<Mount> {
    let native = Routes::new("policy").body_limit(BODY);
    let native = onboarding::native(trace::native(acceptances::native(aups::native(native))));
    let native = groups::native(erasures::native(native)).with_state(identity.clone());
    let iam = Routes::new("policy").on_denied(iam_denied).body_limit(BODY);
    let iam = scope_policies::iam(requests::iam(iam_aup::iam(iam))).with_state(identity.clone());
    vec![
        Mount { prefix: "/policy", routes: native },
        Mount { prefix: "/oidc/iam", routes: iam },
        Mount { prefix: super::AUP_PAGE, routes: page::routes().with_state(identity.clone()) },
        Mount { prefix: "/oidc/scim/v2", routes: scim::routes().with_state(identity.clone()) },
    ]
}

/// Whether the principal has this administrative scope, which only clients and administrators have to any effect.
fn has_admin_scope(principal: &Principal, scope: &str) -> bool {
    let may_have = matches!(principal.standing, Standing::Client | Standing::User { admin: true });
    may_have && principal.scopes.contain_exactly(scope)
}

/// An administrator, or a client with `iam:admin.read` (or `write`).
fn is_iam_admin(principal: &Principal, write: bool) -> bool {
    principal.is_admin() || has_admin_scope(principal, IAM_WRITE) || (!write && has_admin_scope(principal, IAM_READ))
}

fn must_be_iam_admin(principal: &Principal, write: bool) -> Result<(), IamError> {
    if is_iam_admin(principal, write) {
        return Ok(());
    }
    let scope = if write { IAM_WRITE } else { IAM_READ };
    Err(IamError(StatusCode::FORBIDDEN, format!("this is for administrators, or needs the scope {scope}")))
}

/// A refusal as IAM words it: `{"error": "…"}`.
#[derive(Debug)]
struct IamError(StatusCode, String);

impl IntoResponse for IamError {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({"error": self.1}))).into_response()
    }
}

impl From<Refusal> for IamError {
    fn from(refusal: Refusal) -> Self {
        dte_http::Problem::from(refusal).into()
    }
}

impl From<dte_http::Problem> for IamError {
    fn from(problem: dte_http::Problem) -> Self {
        IamError(problem.status(), problem.detail().to_owned())
    }
}

impl From<dte_store::Error> for IamError {
    fn from(error: dte_store::Error) -> Self {
        dte_http::Problem::from(error).into()
    }
}

fn iam_denied(denial: Denial) -> Response {
    let mut response = IamError(denial.status(), denial.to_string()).into_response();
    if let Some(challenge) = denial.challenge().and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
