//! `/subscriptions`: events that are sent to a webhook, or kept a place for in the log.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_http::{Json, Page, PageOf, Problem, Query};
use dte_identity::Principal;
use http::header::{ACCEPT, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::read::{self, MOST, USUAL, wait_of};
use super::{State, failed, stream, viewer_of};
use crate::model::signature::new_secret;
use crate::model::subscription::{Declared, Protocol, Start};
use crate::store::dead;
use crate::store::subscriptions::{self as table, Progress, State as Activity, Subscription};
use crate::viewer::Subscriber;
use crate::work::send::secret_name;

/// Subscriptions that one person may have.
const MOST_SUBSCRIPTIONS: u64 = 1_000;

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no subscription {id}"))
}

/// A subscription as it is shown: what was declared, whose it is, how far it is.
fn shown(subscription: &Subscription) -> Value {
    let mut all = serde_json::to_value(&subscription.spec).unwrap_or_default();
    all["id"] = json!(subscription.id);
    all["owner"] = json!(subscription.owner);
    all["created"] = json!(subscription.created);
    all["signed"] = json!(subscription.sealed_secret.is_some());
    all["progress"] = json!(subscription.progress);
    all
}

/// The subscription, for its owner and for administrators. Others do not learn that it is there.
pub(super) async fn owned(state: &State, principal: &Principal, id: &str) -> Result<Subscription, Problem> {
    let wanted = id.to_owned();
    let found = state.store.read(move |tx| table::get(tx, &wanted)).await?;
    found
        .filter(|subscription| principal.is_admin() || subscription.owner == principal.name())
        .ok_or_else(|| unknown(id))
}

pub async fn list(
    Shared(state): Shared<State>,
    principal: Principal,
    page: Page,
) -> Result<Json<PageOf<Value>>, Problem> {
    let owner = (!principal.is_admin()).then(|| principal.name().to_owned());
    let (after, limit) = (page.after.clone().unwrap_or_default(), page.limit + 1);
    let found = state.store.read(move |tx| table::list(tx, owner.as_deref(), &after, limit)).await?;
    let cut = PageOf::cut(found, &page, |subscription| subscription.id.clone());
    Ok(Json(PageOf { items: cut.items.iter().map(shown).collect(), next: cut.next }))
}

pub async fn create(
    Shared(state): Shared<State>,
    principal: Principal,
    Json(declared): Json<Declared>,
) -> Result<Response, Problem> {
    declared.check().map_err(|error| Problem::unprocessable(error.to_string()))?;
    let position = match declared.spec.config.start {
        Start::Earliest => 0,
        Start::Latest => state.log.latest().await.map_err(failed)?,
        Start::Offset { offset } => offset.max(0),
    };
    let id = new_id().to_string();
    let (sealed_secret, told) = secret(&state, &id, &declared)?;
    let subscriber = serde_json::to_value(Subscriber::of(&principal));
    let new = Subscription {
        id: id.clone(),
        owner: principal.name().to_owned(),
        owner_reference: subscriber.map_err(|error| Problem::internal(error.to_string()))?,
        spec: declared.spec,
        sealed_secret,
        created: Timestamp::now(),
        progress: Progress {
            state: Activity::Active,
            position,
            delivered: 0,
            retries: 0,
            failures: 0,
            last_error: None,
            last_delivered: None,
        },
    };
    let row = new.clone();
    let is_room = state
        .store
        .write(move |tx| {
            if table::count(tx, &row.owner)? >= MOST_SUBSCRIPTIONS {
                return Ok(false);
            }
            table::insert(tx, &row).map(|()| true)
        })
        .await
        .map_err(failed)?;
    if !is_room {
        return Err(Problem::too_many_requests(format!("at most {MOST_SUBSCRIPTIONS} subscriptions a person")));
    }
    let mut body = shown(&new);
    if let Some(secret) = told {
        // The only time that it is shown.
        body["sinkcredential"] = json!({ "secret": secret });
    }
    let location = state.client.url_of(&format!("/events/api/v1/subscriptions/{id}"));
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(body)).into_response())
}

/// The sealed secret of a webhook, and the secret itself when we made it.
fn secret(state: &State, id: &str, declared: &Declared) -> Result<(Option<Vec<u8>>, Option<String>), Problem> {
    if declared.spec.protocol != Protocol::Http {
        return Ok((None, None));
    }
    let (text, told) = match &declared.sinkcredential.secret {
        Some(given) => (given.expose().to_owned(), None),
        None => {
            let made = new_secret(rand::random());
            (made.clone(), Some(made))
        }
    };
    let sealed = state.identity.seal(&secret_name(id), text.as_bytes());
    sealed.map(|sealed| (Some(sealed), told)).map_err(|error| Problem::internal(error.to_string()))
}

pub async fn get(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&owned(&state, &principal, &id).await?)))
}

pub async fn delete(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    owned(&state, &principal, &id).await?;
    state.store.write(move |tx| table::delete(tx, &id)).await?;
    state.changes.ring();
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub struct Pull {
    after: Option<i64>,
    limit: Option<usize>,
    max: Option<usize>,
    #[serde(default)]
    wait: f64,
}

/// Fetches: what is wanted after the last acknowledged event (or after `after`), as a batch or as a stream.
pub async fn events(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
    Query(pull): Query<Pull>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let subscription = owned(&state, &principal, &id).await?;
    let after = stream::last_event_id(&headers).or(pull.after).unwrap_or(subscription.progress.position);
    let spec = subscription.spec.clone();
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        return Ok(stream::events(&state, &principal, after, move |event| spec.wants(event)));
    }
    // An administrator who looks sees what the subscriber would.
    let reference = serde_json::from_value::<Subscriber>(subscription.owner_reference.clone());
    let viewer = match reference.ok().and_then(|subscriber| subscriber.viewer(&state.identity)) {
        Some(viewer) if subscription.owner != principal.name() => viewer,
        _ => viewer_of(&principal),
    };
    let limit = pull.limit.or(pull.max).unwrap_or(USUAL).clamp(1, MOST);
    let wait = wait_of(pull.wait)?;
    let (found, next) =
        read::collect(&state, after, limit, wait, |event| spec.wants(event) && viewer.may_see(event)).await?;
    Ok(read::batch(&found, next))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Everything up to here.
    offset: i64,
}

pub async fn acknowledge(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
    Json(done): Json<Acknowledged>,
) -> Result<Json<Value>, Problem> {
    let subscription = owned(&state, &principal, &id).await?;
    if subscription.spec.protocol == Protocol::Http {
        return Err(Problem::conflict("a webhook acknowledges by its answer"));
    }
    if done.offset > state.log.latest().await.map_err(failed)? {
        return Err(Problem::unprocessable("there is no such event yet"));
    }
    state.store.write(move |tx| table::acknowledge(tx, &id, done.offset)).await?;
    Ok(Json(json!({ "position": done.offset.max(subscription.progress.position) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    to: Start,
}

/// Goes elsewhere in the log: back to receive again.
pub async fn seek(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, Problem> {
    owned(&state, &principal, &id).await?;
    let latest = state.log.latest().await.map_err(failed)?;
    let position = match wanted.to {
        Start::Earliest => 0,
        Start::Latest => latest,
        Start::Offset { offset } => offset.clamp(0, latest),
    };
    state.store.write(move |tx| table::seek(tx, &id, position)).await?;
    state.changes.ring();
    Ok(Json(json!({ "position": position })))
}

pub async fn pause(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    set(&state, &principal, &id, Activity::Paused).await
}

pub async fn resume(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    set(&state, &principal, &id, Activity::Active).await
}

async fn set(state: &State, principal: &Principal, id: &str, to: Activity) -> Result<Json<Value>, Problem> {
    owned(state, principal, id).await?;
    let wanted = id.to_owned();
    state.store.write(move |tx| table::set_state(tx, &wanted, to, None)).await?;
    state.changes.ring();
    Ok(Json(shown(&owned(state, principal, id).await?)))
}

pub async fn status(
    Shared(state): Shared<State>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let subscription = owned(&state, &principal, &id).await?;
    let (latest, dead) =
        state.store.read(move |tx| Ok::<_, dte_store::Error>((tx.latest_seq()?, dead::count(tx, &id)?))).await?;
    let mut body = json!(subscription.progress);
    body["lag"] = json!(latest - subscription.progress.position);
    body["dead"] = json!(dead);
    Ok(Json(body))
}
