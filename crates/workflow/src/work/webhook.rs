//! Tells a webhook of an alert, as a CloudEvent. The receiver may get it twice (same `id`), never not at all while tries last.

use std::time::Duration;

use dte_store::{Claim, Outcome};
use serde::Deserialize;
use serde_json::json;

use crate::store::{SOURCE, alerts};
use crate::work::engine::Engine;

/// Tries before a person must look.
pub const MOST_TRIES: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Payload {
    twin: String,
    alert: String,
}

/// One try.
pub async fn tell(engine: &Engine, claim: &Claim) -> Outcome {
    match attempt(engine, claim).await {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Retry { error },
    }
}

async fn attempt(engine: &Engine, claim: &Claim) -> Result<(), String> {
    let payload: Payload = claim.payload().map_err(|error| error.to_string())?;
    let id = payload.alert.clone();
    let found: Result<_, dte_store::Error> = engine.store.read(move |tx| alerts::get(tx, &id)).await;
    let Some(raised) = found.map_err(|error| error.to_string())? else { return Ok(()) };
    let Some(loaded) = engine.load(&payload.twin).await.map_err(|error| error.to_string())? else { return Ok(()) };
    let declared = loaded.document.alerts.iter().find(|one| one.name.value == raised.alert);
    // The document may have changed its mind since.
    let Some(url) = declared.and_then(|one| one.webhook.as_ref()) else { return Ok(()) };
    let event = json!({
        "specversion": "1.0",
        "id": raised.id,
        "type": "org.dte.workflow.alert.raised",
        "source": format!("{}{SOURCE}", engine.client.public_url().as_str().trim_end_matches('/')),
        "subject": format!("{}/{}", payload.twin, raised.alert),
        "time": raised.raised,
        "datacontenttype": "application/json",
        "data": raised,
    });
    // The URL came in a document, so it must not lead to where only the engine can go.
    let request = engine.client.untrusted().post(&url.value).timeout(PATIENCE);
    let reply = request.header("content-type", "application/cloudevents+json").json(&event).send().await;
    reply.map_err(|error| error.to_string())?.ok().await.map_err(|error| error.to_string())?;
    Ok(())
}
