//! What is told of storage elements: limits, measured space, distances, policies, changed protocols.

use axum::extract::{Path, State};
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::Class;
use dte_protocol_rucio::date::rfc1123_utc;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, created, done, json, lines};
use super::own_storage::may_set;
use super::request::{Asking, Call, Fields, invalid};
use super::rses_change::check_domains;
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::store::rse_facts::{self, Space};
use crate::store::{accounts, limits, rses};

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    routes
        .put("/rses/{rse}/protocols/{scheme}", CHANGES, update_scheme)
        .put("/rses/{rse}/protocols/{scheme}/{hostname}", CHANGES, update_host)
        .put("/rses/{rse}/protocols/{scheme}/{hostname}/{port}", CHANGES, update_port)
        .get("/rses/{rse}/usage", READS, usage)
        .put("/rses/{rse}/usage", CHANGES, set_usage)
        .get("/rses/{rse}/usage/history", READS, usage_history)
        .get("/rses/{rse}/accounts/usage", READS, accounts_usage)
        .get("/rses/{rse}/limits", READS, get_limits)
        .put("/rses/{rse}/limits", CHANGES, set_limit)
        .delete("/rses/{rse}/limits", CHANGES, delete_limit)
        .get("/rses/{rse}/distances/{to}", READS, get_distance)
        .post("/rses/{rse}/distances/{to}", CHANGES, add_distance)
        .put("/rses/{rse}/distances/{to}", CHANGES, set_distance)
        .delete("/rses/{rse}/distances/{to}", CHANGES, delete_distance)
        .get("/rses/{rse}/qos_policy", READS, policies)
        .post("/rses/{rse}/qos_policy/{policy}", CHANGES, add_policy)
        .delete("/rses/{rse}/qos_policy/{policy}", CHANGES, delete_policy)
}

async fn update_protocols(
    lake: Lake,
    asking: Asking,
    rse: String,
    scheme: String,
    at: (Option<String>, Option<u16>),
    call: Call,
) -> Answer {
    asking.0.needs_admin("update protocol")?;
    let fields = call.dictionary()?;
    let known = ["scheme", "hostname", "port", "prefix", "impl", "domains", "extended_attributes"];
    if let Some(other) = fields.0.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(invalid(&format!("protocols have no '{other}'")));
    }
    let (prefix, implementation) = (fields.text("prefix")?, fields.text("impl")?);
    let domains = if fields.get("domains").is_some() { Some(fields.dictionary("domains")?) } else { None };
    check_domains(domains.as_ref().unwrap_or(&Map::new()))?;
    let extended = fields.0.get("extended_attributes").cloned();
    let shared = lake.clone();
    lake.change(move |tx| {
        let (caller, by_engine) = (&asking.0, asking.0.engine_admin);
        rse_facts::update_protocols(tx, &rse, &scheme, at.0.as_deref(), at.1, by_engine, |protocol| {
            may_set(&shared, caller, protocol)?;
            if let Some(prefix) = &prefix {
                protocol.prefix.clone_from(prefix);
            }
            if let Some(implementation) = &implementation {
                protocol.implementation.clone_from(implementation);
            }
            for (domain, operations) in domains.iter().flatten() {
                merge(&mut protocol.domains, domain, operations);
            }
            if let Some(extended) = &extended {
                protocol.extended_attributes = Some(extended.clone()).filter(|value| !value.is_null());
            }
            may_set(&shared, caller, protocol)
        })
    })
    .await?;
    done()
}

/// Operations that are given take the place of those that are there.
fn merge(domains: &mut Map<String, Value>, domain: &str, operations: &Value) {
    match (domains.get_mut(domain), operations) {
        (Some(Value::Object(there)), Value::Object(new)) => {
            there.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        _ => {
            domains.insert(domain.to_owned(), operations.clone());
        }
    }
}

async fn update_scheme(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, scheme)): Path<(String, String)>,
    call: Call,
) -> Answer {
    update_protocols(lake, asking, rse, scheme, (None, None), call).await
}

async fn update_host(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, scheme, hostname)): Path<(String, String, String)>,
    call: Call,
) -> Answer {
    update_protocols(lake, asking, rse, scheme, (Some(hostname), None), call).await
}

async fn update_port(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, scheme, hostname, port)): Path<(String, String, String, u16)>,
    call: Call,
) -> Answer {
    update_protocols(lake, asking, rse, scheme, (Some(hostname), Some(port)), call).await
}

/// What the lake counted, and what probes measured.
async fn usage(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>, call: Call) -> Answer {
    let only = call.query("source").map(str::to_owned);
    let per_account = call.query("per_account").is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let (row, counted, measured, accounts) = lake
        .store
        .read(move |tx| {
            let row = rses::get(tx, &rse)?;
            let accounts = if per_account { accounts::usage_at(tx, &rse)? } else { Vec::new() };
            Ok::<_, Error>((row, rses::usage(tx, &rse)?, rse_facts::space(tx, &rse)?, accounts))
        })
        .await?;
    let own = json!({
        "rse_id": row.id, "rse": row.rse, "source": "rucio", "used": counted.bytes, "free": null,
        "total": counted.bytes, "files": counted.files, "updated_at": rfc1123_utc(counted.updated_at),
    });
    let mut values = vec![own];
    values.extend(measured.iter().map(|space| {
        json!({"rse_id": row.id, "rse": row.rse, "source": space.source, "used": space.used, "free": space.free,
            "total": space.used + space.free.unwrap_or(0), "files": space.files,
            "updated_at": rfc1123_utc(space.updated_at)})
    }));
    values.retain(|value| only.as_ref().is_none_or(|only| value["source"] == only.as_str()));
    if per_account {
        let shares: Vec<Value> = accounts
            .iter()
            .map(|(account, files, bytes)| {
                let part = if counted.bytes > 0 { *bytes as f64 * 100.0 / counted.bytes as f64 } else { 0.0 };
                json!({"account": account, "used": bytes, "files": files, "percentage": part.round()})
            })
            .collect();
        for value in &mut values {
            value["account_usages"] = Value::from(shares.clone());
        }
    }
    lines(&values)
}

async fn set_usage(State(lake): State<Lake>, asking: Asking, Path(rse): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("set RSE usage")?;
    let fields = call.dictionary()?;
    let space = Space {
        source: fields.required_text("source")?,
        used: fields.integer("used")?.ok_or_else(|| Failure::new(Class::KeyError, "'used' not defined"))?,
        free: fields.integer("free")?,
        files: fields.integer("files")?,
        updated_at: Timestamp::now(),
    };
    if space.source == "rucio" {
        return Err(invalid("the source 'rucio' is counted, not set"));
    }
    lake.change(move |tx| rse_facts::set_space(tx, &rse, &space)).await?;
    done()
}

async fn usage_history(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>, call: Call) -> Answer {
    let only = call.query("source").map(str::to_owned);
    let (row, found) =
        lake.store.read(move |tx| Ok::<_, Error>((rses::get(tx, &rse)?, rse_facts::space_history(tx, &rse)?))).await?;
    let wanted = found.iter().filter(|space| only.as_ref().is_none_or(|only| *only == space.source));
    let values = wanted.map(|space| {
        json!({"rse_id": row.id, "rse": row.rse, "source": space.source, "used": space.used, "free": space.free,
            "total": space.used + space.free.unwrap_or(0), "updated_at": rfc1123_utc(space.updated_at)})
    });
    lines(&values.collect::<Vec<_>>())
}

async fn accounts_usage(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>) -> Answer {
    let (row, used, limits) = lake
        .store
        .read(move |tx| Ok::<_, Error>((rses::get(tx, &rse)?, accounts::usage_at(tx, &rse)?, limits::at(tx, &rse)?)))
        .await?;
    let values = used.iter().map(|(account, files, bytes)| {
        json!({"rse_id": row.id, "rse": row.rse, "account": account, "used_files": files, "used_bytes": bytes,
            "quota_bytes": limits.get(account)})
    });
    lines(&values.collect::<Vec<_>>())
}

async fn get_limits(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>) -> Answer {
    let found = lake.store.read(move |tx| rse_facts::limits(tx, &rse)).await?;
    json(&Value::Object(found.into_iter().map(|(name, value)| (name, json!(value))).collect()))
}

async fn set_limit(State(lake): State<Lake>, asking: Asking, Path(rse): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("set RSE limits")?;
    let fields = call.dictionary()?;
    let name = fields.required_text("name")?;
    let value = fields.integer("value")?.ok_or_else(|| Failure::new(Class::KeyError, "'value' not defined"))?;
    lake.change(move |tx| rse_facts::set_limit(tx, &rse, &name, value)).await?;
    done()
}

async fn delete_limit(State(lake): State<Lake>, asking: Asking, Path(rse): Path<String>, call: Call) -> Answer {
    asking.0.needs_admin("delete RSE limits")?;
    let name = call.dictionary()?.required_text("name")?;
    lake.change(move |tx| rse_facts::delete_limit(tx, &rse, &name)).await?;
    done()
}

async fn get_distance(State(lake): State<Lake>, _: Asking, Path((from, to)): Path<(String, String)>) -> Answer {
    let (found, all) =
        lake.store.read(move |tx| Ok::<_, Error>((rse_facts::distance(tx, &from, &to)?, rses::all(tx)?))).await?;
    let id = |rse: &str| all.rows.get(rse).map(|rse| rse.id.clone());
    json(
        &found
            .iter()
            .map(|one| {
                json!({"src_rse_id": id(&one.source), "dest_rse_id": id(&one.destination), "src_rse": one.source,
            "dest_rse": one.destination, "distance": one.distance, "ranking": one.distance,
            "created_at": rfc1123_utc(one.created_at), "updated_at": rfc1123_utc(one.updated_at)})
            })
            .collect(),
    )
}

/// The distance of a body, and whether it holds both ways.
fn wish(fields: &Fields) -> Result<(i64, bool), Failure> {
    let distance = match fields.integer("distance")? {
        Some(distance) => distance,
        None => fields.integer("ranking")?.unwrap_or(1),
    };
    if distance < 0 {
        return Err(invalid("a distance is 0 or more"));
    }
    Ok((distance, fields.truth("bidirectional", false)?))
}

async fn add_distance(
    State(lake): State<Lake>,
    asking: Asking,
    Path((from, to)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.0.needs_admin("add distance")?;
    let (distance, both) = wish(&call.dictionary()?)?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        rse_facts::add_distance(tx, &from, &to, distance, now)?;
        if both { rse_facts::add_distance(tx, &to, &from, distance, now) } else { Ok(()) }
    })
    .await?;
    created()
}

async fn set_distance(
    State(lake): State<Lake>,
    asking: Asking,
    Path((from, to)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.0.needs_admin("update distance")?;
    let (distance, both) = wish(&call.dictionary()?)?;
    let now = Timestamp::now();
    lake.change(move |tx| {
        rse_facts::set_distance(tx, &from, &to, distance, now)?;
        if both { rse_facts::set_distance(tx, &to, &from, distance, now) } else { Ok(()) }
    })
    .await?;
    done()
}

async fn delete_distance(
    State(lake): State<Lake>,
    asking: Asking,
    Path((from, to)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.0.needs_admin("delete distance")?;
    let both = call.query("bidirectional").is_some_and(|word| word.eq_ignore_ascii_case("true"));
    lake.change(move |tx| {
        rse_facts::delete_distance(tx, &from, &to)?;
        if both { rse_facts::delete_distance(tx, &to, &from) } else { Ok(()) }
    })
    .await?;
    done()
}

async fn policies(State(lake): State<Lake>, _: Asking, Path(rse): Path<String>) -> Answer {
    let found = lake.store.read(move |tx| rse_facts::policies(tx, &rse)).await?;
    json(&Value::from(found))
}

/// Longest name of a policy.
const LONGEST_POLICY: usize = 64;

async fn add_policy(State(lake): State<Lake>, asking: Asking, Path((rse, policy)): Path<(String, String)>) -> Answer {
    asking.0.needs_admin("add QoS policy")?;
    if policy.len() > LONGEST_POLICY {
        return Err(invalid("the name of the policy is too long"));
    }
    lake.change(move |tx| rse_facts::add_policy(tx, &rse, &policy)).await?;
    created()
}

async fn delete_policy(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, policy)): Path<(String, String)>,
) -> Answer {
    asking.0.needs_admin("delete QoS policy")?;
    lake.change(move |tx| rse_facts::delete_policy(tx, &rse, &policy)).await?;
    done()
}
