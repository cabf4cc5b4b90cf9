//! `/watches`: folders that are watched. For administrators, since a watch reads files with the engine's own rights.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use dte_http::{Json, Page, PageOf, Problem};
use dte_identity::Principal;
use http::StatusCode;
use http::header::LOCATION;

use super::State;
use crate::model::watch::Spec;
use crate::store::watches::{self as table, Declared, Watch};

fn check(spec: &Spec) -> Result<(), Problem> {
    spec.check().map(|_| ()).map_err(|error| Problem::unprocessable(error.to_string()))
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("there is no watch {name}"))
}

pub async fn list(Shared(state): Shared<State>, page: Page) -> Result<Json<PageOf<Watch>>, Problem> {
    let (after, limit) = (page.after.clone().unwrap_or_default(), page.limit + 1);
    let found = state.store.read(move |tx| table::list(tx, &after, limit)).await?;
    Ok(Json(PageOf::cut(found, &page, |watch| watch.spec.name.clone())))
}

/// The same declaration again answers 200, another of the same name 409.
pub async fn declare(
    Shared(state): Shared<State>,
    principal: Principal,
    Json(spec): Json<Spec>,
) -> Result<Response, Problem> {
    check(&spec)?;
    let (owner, wanted) = (principal.name().to_owned(), spec.clone());
    match state.store.write(move |tx| table::declare(tx, &wanted, &owner)).await? {
        Declared::New(watch) => {
            let location = format!("/events/api/v1/watches/{}", watch.spec.name);
            Ok((StatusCode::CREATED, [(LOCATION, state.client.url_of(&location))], Json(watch)).into_response())
        }
        Declared::Same(watch) => Ok(Json(watch).into_response()),
        Declared::Taken => {
            let text = format!("the watch {} exists with another declaration; PUT changes it", spec.name);
            Err(Problem::conflict(text))
        }
    }
}

pub async fn get(Shared(state): Shared<State>, Path(name): Path<String>) -> Result<Json<Watch>, Problem> {
    let wanted = name.clone();
    let found = state.store.read(move |tx| table::get(tx, &wanted)).await?;
    found.map(Json).ok_or_else(|| unknown(&name))
}

/// Changes a declaration, or makes it. What was published stays known.
pub async fn replace(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(name): Path<String>,
    Json(spec): Json<Spec>,
) -> Result<Response, Problem> {
    check(&spec)?;
    if spec.name != name {
        return Err(Problem::bad_request("the name in the path and in the body differ"));
    }
    let owner = principal.name().to_owned();
    let (watch, is_new) = state
        .store
        .write(move |tx| match table::replace(tx, &spec)? {
            Some(watch) => Ok((watch, false)),
            None => match table::declare(tx, &spec, &owner)? {
                Declared::New(watch) | Declared::Same(watch) => Ok((watch, true)),
                Declared::Taken => Err(dte_store::Error::Duplicate(spec.name.clone())),
            },
        })
        .await?;
    state.changes.ring();
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(watch)).into_response())
}

/// Ends a watch. A later watch of the same name begins anew and publishes what it finds.
pub async fn delete(Shared(state): Shared<State>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let wanted = name.clone();
    let gone = state.store.write(move |tx| table::delete(tx, &wanted)).await?;
    state.changes.ring();
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&name)) }
}
