//! Versions, and who is asking.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dte_identity::Principal;
use dte_protocol_fts::Whoami;
use dte_protocol_fts::identifier::{BASE_ID, vo_id};
use http::StatusCode;
use http::header::ALLOW;
use serde_json::{Map, Value, json};

use crate::api::caller::Caller;
use crate::api::error::FtsError;
use crate::shared::Shared;
use crate::store::list;

/// The version of the protocol that is spoken here.
const API: (u32, u32, u32) = (3, 14, 2);

pub async fn version() -> Json<Value> {
    let version = json!({ "major": API.0, "minor": API.1, "patch": API.2 });
    Json(json!({
        "delegation": { "major": 1, "minor": 0, "patch": 0 },
        "api": version,
        "core": version,
        "schema": { "major": 10, "minor": 0, "patch": 0 },
        "_links": {
            "curies": [{ "name": "fts", "href": "https://gitlab.cern.ch/fts/fts3", "templated": false }],
            "fts:whoami": { "href": "/whoami", "title": "Check user certificate" },
            "fts:jobs": { "href": "/jobs/{id}", "templated": true, "title": "Jobs" },
        },
    }))
}

pub async fn job_methods() -> Response {
    (StatusCode::OK, [(ALLOW, "OPTIONS, POST, HEAD, PUT, GET")]).into_response()
}

pub async fn whoami(principal: Option<Principal>) -> Json<Whoami> {
    Json(match principal {
        Some(principal) => known(&Caller::new(principal)),
        None => stranger(),
    })
}

fn known(caller: &Caller) -> Whoami {
    let principal = caller.principal();
    let scopes = principal.scopes.names().join(" ");
    let mut more = Map::new();
    more.insert("oauth2_scope".to_owned(), scopes.into());
    more.insert("wlcg_profile".to_owned(), true.into());
    let level = if caller.sees_all() {
        json!({ "transfer": "all", "deleg": "all", "config": "all", "datamanagement": "all" })
    } else {
        json!({ "transfer": "private", "deleg": "private" })
    };
    Whoami {
        user_dn: Some(caller.user_dn().to_owned()),
        // The command line shows the first of these and fails without one.
        dn: vec![caller.user_dn().to_owned(), principal.issuer.clone()],
        base_id: BASE_ID,
        voms_cred: principal.scopes.names().to_vec(),
        vos: caller.vos.clone(),
        vos_id: caller.vos.iter().map(|vo| vo_id(vo)).collect(),
        roles: Vec::new(),
        level,
        delegation_id: Some(caller.delegation_id.clone()),
        method: "oauth2".to_owned(),
        is_root: caller.sees_all(),
        more,
    }
}

fn stranger() -> Whoami {
    Whoami {
        user_dn: Some("anon".to_owned()),
        dn: Vec::new(),
        base_id: BASE_ID,
        voms_cred: Vec::new(),
        vos: Vec::new(),
        vos_id: Vec::new(),
        roles: Vec::new(),
        level: json!([]),
        delegation_id: None,
        method: "unauthenticated".to_owned(),
        is_root: false,
        more: Map::new(),
    }
}

/// Copies under way per host.
pub async fn hosts(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, FtsError> {
    let active = shared.store.read(list::active_by_host).await?;
    let hosts: Map<String, Value> =
        active.into_iter().map(|(host, count)| (host, json!({ "active": count, "staging": 0 }))).collect();
    Ok(Json(Value::Object(hosts)))
}
