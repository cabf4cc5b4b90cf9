//! `/config/audit`: changes of configuration are written down with who made them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use dte_base::time::Timestamp;
use dte_identity::Principal;
use dte_store::Tx;
use serde_json::{Value, json};

use crate::api::error::FtsError;
use crate::shared::Shared;
use crate::store::rules;

/// Makes a change and writes it down, both or neither.
pub async fn noted<T: Send + 'static>(
    shared: &Shared,
    principal: &Principal,
    about: &'static str,
    what: String,
    change: impl Fn(&mut Tx<'_>) -> Result<T, FtsError> + Send + 'static,
) -> Result<T, FtsError> {
    let dn = principal.subject.to_string();
    let write = shared.store.write(move |tx| {
        let changed = change(tx)?;
        rules::note(tx, &dn, about, &what, Timestamp::now())?;
        Ok::<_, FtsError>(changed)
    });
    write.await
}

/// The last changes of configuration.
pub async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<Value>>, FtsError> {
    let changes = shared.store.read(rules::changes).await?;
    let shown = changes.into_iter().map(|(time, [dn, action, config])| {
        json!({ "datetime": dte_protocol_fts::FtsTime::from(time), "dn": dn, "action": action, "config": config })
    });
    Ok(Json(shown.collect()))
}
