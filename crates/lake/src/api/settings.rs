//! `/config`, `/meta_conventions`, `/heartbeats`, `/requests/transfer_limits`, `/credentials/signurl`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Path, State};
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::Class;
use dte_protocol_rucio::date::rfc1123_utc;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, created, done, json, lines};
use super::request::{Asking, Call, Fields, invalid};
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::store::settings::{self, Heartbeat, TransferLimit};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .get("/config", READS, get_all)
        .post("/config", CHANGES, set_many)
        .get("/config/{section}", READS, get_section)
        .delete("/config/{section}", CHANGES, delete_section)
        .get("/config/{section}/{name}", READS, get_one)
        .delete("/config/{section}/{name}", CHANGES, delete_one)
        .put("/config/{section}/{name}/{*value}", CHANGES, set_one)
        .get("/meta_conventions/", READS, keys)
        .get("/meta_conventions", READS, keys)
        .post("/meta_conventions/{key}", CHANGES, add_key)
        .get("/meta_conventions/{key}/", READS, key_values)
        .post("/meta_conventions/{key}/", CHANGES, add_value)
        .get("/heartbeats", READS, heartbeats)
        .post("/heartbeats", CHANGES, beat)
        .get("/requests/transfer_limits", READS, transfer_limits)
        .put("/requests/transfer_limits", CHANGES, set_transfer_limit)
        .delete("/requests/transfer_limits", CHANGES, delete_transfer_limit)
        .get("/credentials/signurl", CHANGES, signed)
        .get("/credentials/signur", CHANGES, signed)
}

/// A setting as clients see it: numbers and truth values as such.
fn typed(text: &str) -> Value {
    match text {
        "true" | "True" => return Value::Bool(true),
        "false" | "False" => return Value::Bool(false),
        _ => {}
    }
    match text.parse::<i64>() {
        Ok(number) => json!(number),
        Err(_) => match text.parse::<f64>().ok().filter(|number| number.is_finite()) {
            Some(number) => json!(number),
            None => json!(text),
        },
    }
}

async fn sections(lake: &Lake) -> Result<BTreeMap<String, Map<String, Value>>, Failure> {
    let mut all: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (section, name, value) in lake.store.read(settings::config).await? {
        all.entry(section).or_default().insert(name, typed(&value));
    }
    Ok(all)
}

async fn get_all(State(lake): State<Lake>, asking: Asking) -> Answer {
    asking.0.needs_admin("get the configuration").map_err(quiet)?;
    json(&json!(sections(&lake).await?))
}

async fn section(lake: &Lake, name: &str) -> Result<Map<String, Value>, Failure> {
    let missing = || Failure::new(Class::ConfigNotFound, format!("No configuration found for section '{name}'"));
    sections(lake).await?.remove(name).ok_or_else(missing)
}

async fn get_section(State(lake): State<Lake>, asking: Asking, Path(name): Path<String>) -> Answer {
    asking.0.needs_admin("get the configuration").map_err(quiet)?;
    json(&Value::Object(section(&lake, &name).await?))
}

async fn get_one(State(lake): State<Lake>, asking: Asking, Path((in_section, name)): Path<(String, String)>) -> Answer {
    asking.0.needs_admin("get the configuration").map_err(quiet)?;
    let found = match section(&lake, &in_section).await {
        Ok(mut all) => all.remove(&name),
        Err(_) => None,
    };
    let missing = || {
        Failure::new(
            Class::ConfigNotFound,
            format!("No configuration found for section '{in_section}' option '{name}'"),
        )
    };
    json(&found.ok_or_else(missing)?)
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Not 401: clients would log in anew.
pub(super) fn quiet(denied: dte_protocol_rucio::Exception) -> dte_protocol_rucio::Exception {
    denied.at(http::StatusCode::FORBIDDEN)
}

/// Settings are notes for clients; nothing in the engine obeys them, so nothing is to be feared of them.
async fn set_many(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("set the configuration").map_err(quiet)?;
    let mut all = Vec::new();
    for (section, options) in &call.dictionary()?.0 {
        let Value::Object(options) = options else {
            return Err(Failure::new(Class::ConfigurationError, format!("The section '{section}' is no dictionary")));
        };
        all.extend(options.iter().map(|(name, value)| (section.clone(), name.clone(), text_of(value))));
    }
    keep(lake, all).await
}

async fn set_one(
    State(lake): State<Lake>,
    asking: Asking,
    Path((section, name, value)): Path<(String, String, String)>,
) -> Answer {
    asking.0.needs_admin("set the configuration").map_err(quiet)?;
    keep(lake, vec![(section, name, value)]).await
}

/// Longest name or value of a setting.
const LONGEST_SETTING: usize = 4000;

async fn keep(lake: Lake, all: Vec<(String, String, String)>) -> Answer {
    let fits = |text: &String| text.len() <= LONGEST_SETTING;
    if !all.iter().all(|(section, name, value)| fits(section) && fits(name) && fits(value)) {
        return Err(Failure::new(Class::ConfigurationError, "A name or value is too long"));
    }
    lake.change(move |tx| settings::set_config(tx, &all)).await?;
    created()
}

async fn delete_section(State(lake): State<Lake>, asking: Asking, Path(section): Path<String>) -> Answer {
    asking.0.needs_admin("delete the configuration").map_err(quiet)?;
    lake.change(move |tx| settings::delete_config(tx, &section, None)).await?;
    done()
}

async fn delete_one(State(lake): State<Lake>, asking: Asking, Path((section, name)): Path<(String, String)>) -> Answer {
    asking.0.needs_admin("delete the configuration").map_err(quiet)?;
    lake.change(move |tx| settings::delete_config(tx, &section, Some(&name))).await?;
    done()
}

async fn keys(State(lake): State<Lake>, _: Asking) -> Answer {
    json(&Value::from(lake.store.read(settings::keys).await?))
}

/// Kinds of DIDs for which a key is.
const KEY_TYPES: [&str; 6] = ["ALL", "COLLECTION", "CONTAINER", "DATASET", "FILE", "DERIVED"];
/// Longest key, value or pattern.
const LONGEST_KEY: usize = 255;

async fn add_key(State(lake): State<Lake>, asking: Asking, Path(key): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("add metadata keys").map_err(quiet)?;
    let fields = call.dictionary()?;
    let kind = fields.text("key_type")?.unwrap_or_else(|| "ALL".to_owned());
    if !KEY_TYPES.contains(&kind.as_str()) {
        return Err(Failure::new(Class::UnsupportedKeyType, format!("The type '{kind}' is not supported for keys!")));
    }
    let (value_type, pattern) = (fields.text("value_type")?, fields.text("value_regexp")?);
    if let Some(other) = value_type.as_deref().filter(|kind| value_rule(kind).is_none()) {
        let message = format!("The type '{other}' is not supported for values!");
        return Err(Failure::new(Class::UnsupportedValueType, message));
    }
    let short = |text: &str| text.len() <= LONGEST_KEY;
    if !short(&key) || pattern.as_deref().is_some_and(|pattern| !short(pattern) || Regex::new(pattern).is_err()) {
        return Err(invalid("the key is too long, or the pattern is none"));
    }
    let now = Timestamp::now();
    lake.change(move |tx| settings::add_key(tx, &key, &kind, value_type.as_deref(), pattern.as_deref(), now)).await?;
    created()
}

/// What a value of a type has to look like, as clients name Python's types.
fn value_rule(kind: &str) -> Option<fn(&str) -> bool> {
    let bare = kind.trim_start_matches("<class '").trim_start_matches("<type '").trim_end_matches("'>");
    match bare {
        "str" | "unicode" | "String" => Some(|_| true),
        "int" | "long" | "Integer" => Some(|text| text.parse::<i64>().is_ok()),
        "float" | "Float" => Some(|text| text.parse::<f64>().is_ok()),
        "bool" | "Boolean" => Some(|text| matches!(text, "True" | "False" | "true" | "false")),
        "datetime.datetime" => Some(|text| super::bad::moment(text).is_some()),
        _ => None,
    }
}

async fn key_values(State(lake): State<Lake>, _: Asking, Path(key): Path<String>) -> Answer {
    json(&Value::from(lake.store.read(move |tx| settings::key_values(tx, &key)).await?))
}

async fn add_value(State(lake): State<Lake>, asking: Asking, Path(key): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("add metadata values").map_err(quiet)?;
    let value = call.dictionary()?.0.get("value").map(text_of);
    let value = value.ok_or_else(|| Failure::new(Class::KeyError, "'value' not defined"))?;
    lake.change(move |tx| {
        let (kind, pattern) = settings::key_rule(tx, &key)?;
        let typed = kind.as_deref().and_then(value_rule).is_none_or(|rule| rule(&value));
        // The whole value, as Python's `match` with an end.
        let whole = |pattern: &String| Regex::new(&format!("^(?:{pattern})")).is_ok_and(|regex| regex.is_match(&value));
        if value.len() > LONGEST_KEY || !typed || !pattern.as_ref().is_none_or(whole) {
            let message =
                format!("The value '{value}' for the key '{key}' does not match the regular expression or type");
            return Err(Error::new(Class::InvalidValueForKey, message));
        }
        settings::add_value(tx, &key, &value)
    })
    .await?;
    created()
}

async fn heartbeats(State(lake): State<Lake>, asking: Asking) -> Answer {
    asking.0.needs_admin("list heartbeats").map_err(quiet)?;
    let found = lake.store.read(settings::heartbeats).await?;
    json(
        &found
            .iter()
            .map(|one| {
                json!([
                    one.executable,
                    one.hostname,
                    one.pid,
                    one.thread,
                    rfc1123_utc(one.updated_at),
                    rfc1123_utc(one.created_at),
                    one.payload
                ])
            })
            .collect(),
    )
}

/// Hearts that were not heard for so long are forgotten.
const SILENT: Duration = Duration::from_secs(86_400);

async fn beat(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("send heartbeats").map_err(quiet)?;
    let fields = call.dictionary()?;
    let now = Timestamp::now();
    let older = fields.integer("older_than")?.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let heart = Heartbeat {
        executable: fields.required_text("executable")?,
        hostname: fields.required_text("hostname")?,
        pid: fields.integer("pid")?.ok_or_else(|| Failure::new(Class::KeyError, "'pid' not defined"))?,
        thread: fields.text("thread")?.unwrap_or_default(),
        payload: fields.get("payload").map(text_of),
        created_at: now,
        updated_at: now,
    };
    lake.change(move |tx| settings::beat(tx, &heart, now - older.unwrap_or(SILENT))).await?;
    done()
}

async fn transfer_limits(State(lake): State<Lake>, asking: Asking) -> Answer {
    asking.0.needs_admin("list transfer limits").map_err(quiet)?;
    let found = lake.store.read(settings::transfer_limits).await?;
    let values = found.iter().map(|one| {
        let mut value = one.details.clone();
        value["id"] = json!(one.id);
        value["rse_expression"] = json!(one.expression);
        value["activity"] = json!(one.activity);
        value["direction"] = json!(if one.direction == "S" { "SOURCE" } else { "DESTINATION" });
        value["created_at"] = json!(rfc1123_utc(one.created_at));
        value["updated_at"] = json!(rfc1123_utc(one.updated_at));
        value
    });
    lines(&values.collect::<Vec<_>>())
}

/// Expression, activity and direction of a limit.
fn limit_key(fields: &Fields) -> Result<(String, String, String), Failure> {
    let direction = match fields.text("direction")?.as_deref() {
        Some("S" | "SOURCE") => "S",
        None | Some("D" | "DESTINATION") => "D",
        Some(other) => return Err(invalid(&format!("direction {other}"))),
    };
    let activity = fields.text("activity")?.unwrap_or_else(|| "all_activities".to_owned());
    Ok((fields.required_text("rse_expression")?, activity, direction.to_owned()))
}

async fn set_transfer_limit(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("set transfer limits").map_err(quiet)?;
    let fields = call.dictionary()?;
    let (expression, activity, direction) = limit_key(&fields)?;
    let now = Timestamp::now();
    let mut details = Map::new();
    for key in ["max_transfers", "volume", "deadline", "transfers", "waitings"] {
        details.insert(key.to_owned(), json!(fields.integer(key)?));
    }
    details.insert("strategy".to_owned(), json!(fields.text("strategy")?.unwrap_or_else(|| "fifo".to_owned())));
    let limit = TransferLimit {
        id: new_id().simple().to_string(),
        expression,
        activity,
        direction,
        details: Value::Object(details),
        created_at: now,
        updated_at: now,
    };
    lake.change(move |tx| settings::set_transfer_limit(tx, &limit)).await?;
    created()
}

async fn delete_transfer_limit(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("delete transfer limits").map_err(quiet)?;
    let (expression, activity, direction) = limit_key(&call.dictionary()?)?;
    lake.change(move |tx| settings::delete_transfer_limit(tx, &expression, &activity, &direction)).await?;
    done()
}

/// A signed address is a secret in logs; `POST /credentials/storage` gives tokens instead.
async fn signed(_: Asking) -> Answer {
    let message = "Addresses are not signed here: ask POST /credentials/storage for a token that reads the files";
    Err(Failure::new(Class::UnsupportedOperation, message))
}
