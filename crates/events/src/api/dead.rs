//! `/subscriptions/{id}/deadletters`: what a sink would not take; to look at, to try again, to throw away.

use axum::extract::{Path, State as Shared};
use dte_http::{Json, Page, PageOf, Problem};
use dte_identity::Principal;
use dte_store::NewWork;
use http::StatusCode;

use super::State;
use super::subscriptions::owned;
use crate::store::dead::{self as table, DeadLetter};
use crate::work::deliver::RETRY_QUEUE;

fn unknown() -> Problem {
    Problem::not_found("there is no such dead letter")
}

pub async fn list(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
    page: Page,
) -> Result<Json<PageOf<DeadLetter>>, Problem> {
    owned(&state, &principal, &id).await?;
    let after = match page.after.as_deref() {
        None => 0,
        Some(text) => text.parse().map_err(|_| Problem::bad_request("after must be the `next` of a page"))?,
    };
    let limit = page.limit + 1;
    let found = state.store.read(move |tx| table::list(tx, &id, after, limit)).await?;
    Ok(Json(PageOf::cut(found, &page, |letter| letter.seq.to_string())))
}

/// Tries again soon; the letter goes when the sink takes it.
pub async fn retry(
    Shared(state): Shared<State>,
    principal: Principal,
    Path((id, seq)): Path<(String, i64)>,
) -> Result<StatusCode, Problem> {
    owned(&state, &principal, &id).await?;
    let found = state
        .store
        .write(move |tx| {
            if table::get(tx, &id, seq)?.is_none() {
                return Ok::<_, dte_store::Error>(false);
            }
            tx.request(NewWork::new(RETRY_QUEUE, format!("{id}/{seq}"), serde_json::json!({})))?;
            Ok(true)
        })
        .await?;
    if found { Ok(StatusCode::ACCEPTED) } else { Err(unknown()) }
}

pub async fn drop(
    Shared(state): Shared<State>,
    principal: Principal,
    Path((id, seq)): Path<(String, i64)>,
) -> Result<StatusCode, Problem> {
    owned(&state, &principal, &id).await?;
    let gone = state.store.write(move |tx| table::remove(tx, &id, seq)).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(unknown()) }
}
