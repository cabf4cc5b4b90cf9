//! `/policy/v1/erasures`: people erase themselves, administrators anybody; services ask whose a pseudonym is.

use axum::extract::State;
use dte_http::{Json, Problem, Query};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Identity;
use crate::erasure::{Erasure, MOST};
use crate::model::principal::{Principal, Standing};
use crate::policy::groups::is_person_in_person;
use crate::routes::{Require, Routes};

pub(super) fn native(routes: Routes<Identity>) -> Routes<Identity> {
    routes.get("/v1/erasures", Require::Admin, list).post(
        "/v1/erasures",
        Require::HandlerChecks("administrators; people, themselves"),
        erase,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    /// The name once more: there is no way back.
    confirm: String,
}

async fn erase(
    State(identity): State<Identity>,
    principal: Principal,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Erasure>, Problem> {
    let is_own = matches!(principal.standing, Standing::User { .. }) && principal.name() == wanted.name;
    if !is_own {
        principal.must_be_admin()?;
    } else if !is_person_in_person(&principal) {
        return Err(Problem::forbidden(
            "people erase themselves on the page of their account, or with a token that they made themselves (`dte token`): \
             none of a program, a service or another issuer",
        ));
    }
    if wanted.confirm != wanted.name {
        return Err(Problem::bad_request("confirm: say the name of the account once more; there is no way back"));
    }
    Ok(Json(identity.erase(&wanted.name, principal.name()).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: String,
}

async fn list(State(identity): State<Identity>, Query(page): Query<After>) -> Result<Json<Value>, Problem> {
    let found = identity.erasures(&page.after).await?;
    let next = (found.len() == MOST).then(|| found.last().map(|one| one.pseudonym.clone())).flatten();
    Ok(Json(json!({"erasures": found, "next": next})))
}
