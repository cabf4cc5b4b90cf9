//! Storage elements: changing. For administrators.

use axum::extract::{Path, State};
use dte_base::id::new_id;
use dte_base::time::Timestamp;
use dte_protocol_rucio::rse::Operation;
use dte_protocol_rucio::{Class, Protocol};
use http::StatusCode;
use serde_json::{Map, Value};

use super::answer::{Answer, Failure, created, done};
use super::own_storage::{may_change, may_set};
use super::request::{Asking, Call, Fields, invalid};
use super::rses::DETAILS;
use crate::Lake;
use crate::error::Error;
use crate::model::expression::is_rse_name;
use crate::store::rse_facts;
use crate::store::rses::{self, DELETE, READ, Rse, WRITE};

impl Asking {
    fn administers(&self, what: &str) -> Result<(), Failure> {
        Ok(self.0.needs_admin(what)?)
    }
}

/// Takes what is given into the row.
pub(super) fn take(rse: &mut Rse, fields: &Fields) -> Result<(), Failure> {
    rse.deterministic = fields.truth("deterministic", rse.deterministic)?;
    rse.volatile = fields.truth("volatile", rse.volatile)?;
    rse.staging_area = fields.truth("staging_area", rse.staging_area)?;
    if let Some(kind) = fields.text("rse_type")? {
        if !["DISK", "TAPE"].contains(&kind.as_str()) {
            return Err(invalid(&format!("rse_type {kind}")));
        }
        rse.rse_type = kind;
    }
    let bits = [("availability_read", READ), ("availability_write", WRITE), ("availability_delete", DELETE)];
    let given = bits.iter().any(|(key, _)| fields.get(key).is_some());
    if let Some(all) = fields.integer("availability")? {
        if given {
            let message = "availability and availability_read, _write, _delete exclude each other";
            return Err(Failure::new(Class::InputValidationError, message));
        }
        if !(0..=7).contains(&all) {
            return Err(invalid("availability is 0 to 7"));
        }
        rse.availability = all;
    }
    for (key, bit) in bits {
        let on = fields.truth(key, rse.may(bit))?;
        rse.availability = if on { rse.availability | bit } else { rse.availability & !bit };
    }
    for key in DETAILS.iter().chain(&["qos_class"]) {
        if let Some(value) = fields.get(key) {
            rse.details.insert((*key).to_owned(), value.clone());
        }
    }
    Ok(())
}

/// A new storage element of which nothing is said.
pub(super) fn fresh(name: &str, id: String, now: Timestamp) -> Rse {
    Rse {
        rse: name.to_owned(),
        id,
        rse_type: "DISK".to_owned(),
        deterministic: true,
        volatile: false,
        staging_area: false,
        availability: READ | WRITE | DELETE,
        details: Map::new(),
        created_at: now,
        updated_at: now,
    }
}

pub(super) async fn add(State(lake): State<Lake>, asking: Asking, Path(name): Path<String>, call: Call) -> Answer {
    asking.administers("add RSE")?;
    if !is_rse_name(&name) {
        return Err(invalid(&format!("{name} is not an RSE name")));
    }
    let now = Timestamp::now();
    let mut rse = fresh(&name, new_id().simple().to_string(), now);
    take(&mut rse, &call.optional_dictionary()?)?;
    let is_new = lake.change(move |tx| rses::add(tx, &rse)).await?;
    if is_new { created() } else { Err(Failure::new(Class::Duplicate, format!("RSE '{name}' already exists!"))) }
}

pub(super) async fn update(State(lake): State<Lake>, asking: Asking, Path(name): Path<String>, call: Call) -> Answer {
    asking.administers("update RSE")?;
    let fields = call.dictionary()?;
    let renamed = fields.text("name")?.filter(|new| *new != name);
    if let Some(new) = renamed.as_ref().filter(|new| !is_rse_name(new)) {
        return Err(invalid(&format!("{new} is not an RSE name")));
    }
    let known = lake.store.read(move |tx| rses::get(tx, &name)).await?;
    let mut rse = known;
    take(&mut rse, &fields)?;
    rse.updated_at = Timestamp::now();
    lake.change(move |tx| {
        rses::update(tx, &rse)?;
        match &renamed {
            Some(new) => rse_facts::rename(tx, &rse.rse, new),
            None => Ok(()),
        }
    })
    .await?;
    created()
}

pub(super) async fn delete(State(lake): State<Lake>, asking: Asking, Path(name): Path<String>) -> Answer {
    asking.administers("delete RSE")?;
    let now = Timestamp::now();
    lake.change(move |tx| rses::delete(tx, &name, now)).await?;
    done()
}

pub(super) async fn add_attribute(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, key)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.administers("add RSE attribute")?;
    let fields = call.dictionary()?;
    let value = match fields.0.get("value") {
        None => return Err(Failure::new(Class::KeyError, "'value' not defined")),
        Some(Value::String(text)) => match text.as_str() {
            "True" => "true".to_owned(),
            "False" => "false".to_owned(),
            other => other.to_owned(),
        },
        Some(other) => other.to_string(),
    };
    let shared = lake.clone();
    lake.change(move |tx| {
        may_change(tx, &shared, &asking.0, &rse)?;
        rses::add_attribute(tx, &rse, &key, &value)
    })
    .await?;
    created()
}

pub(super) async fn delete_attribute(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, key)): Path<(String, String)>,
) -> Answer {
    asking.administers("delete RSE attribute")?;
    let shared = lake.clone();
    lake.change(move |tx| {
        may_change(tx, &shared, &asking.0, &rse)?;
        rses::delete_attribute(tx, &rse, &key)
    })
    .await?;
    done()
}

pub(super) async fn add_protocol(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, scheme)): Path<(String, String)>,
    call: Call,
) -> Answer {
    asking.administers("add protocol")?;
    let fields = call.dictionary()?;
    let domains = fields.dictionary("domains")?;
    check_domains(&domains)?;
    let hostname = fields.text("hostname")?.unwrap_or_else(|| "localhost".to_owned());
    let host_ok = hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    let scheme_ok = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !host_ok || !scheme_ok || hostname.is_empty() {
        return Err(invalid("scheme or hostname"));
    }
    let port = fields.integer("port")?.unwrap_or(0);
    let protocol = Protocol {
        scheme,
        hostname,
        port: u16::try_from(port).map_err(|_| invalid("port is 0 to 65535"))?,
        prefix: fields.text("prefix")?.unwrap_or_default(),
        implementation: fields.text("impl")?.unwrap_or_default(),
        domains,
        extended_attributes: fields.get("extended_attributes").cloned(),
    };
    let now = Timestamp::now();
    may_set(&lake, &asking.0, &protocol)?;
    let by_engine = asking.0.engine_admin;
    lake.change(move |tx| rses::add_protocol(tx, &rse, &protocol, by_engine, now)).await?;
    created()
}

/// Domains are `lan` and `wan`; operations have priorities from 0.
pub(super) fn check_domains(domains: &Map<String, Value>) -> Result<(), Failure> {
    for (domain, operations) in domains {
        if !["lan", "wan"].contains(&domain.as_str()) {
            let message = format!("The protocol domain '{domain}' is not supported");
            return Err(Failure::new(Class::RSEProtocolDomainNotSupported, message));
        }
        let Value::Object(operations) = operations else { return Err(invalid("domains")) };
        for (operation, priority) in operations {
            if Operation::parse(operation).is_none() {
                let message = format!("The operation '{operation}' is not supported");
                return Err(Failure::new(Class::RSEOperationNotSupported, message));
            }
            if !priority.is_null() && priority.as_u64().is_none_or(|priority| priority > 1000) {
                let message =
                    format!("The provided priority ({priority}) for the operation '{operation}' is out of range");
                return Err(Failure::new(Class::RSEProtocolPriorityError, message));
            }
        }
    }
    Ok(())
}

async fn delete_protocols(
    lake: Lake,
    asking: Asking,
    rse: String,
    scheme: String,
    hostname: Option<String>,
    port: Option<u16>,
) -> Answer {
    asking.administers("delete protocol")?;
    let shared = lake.clone();
    lake.change(move |tx| {
        may_change(tx, &shared, &asking.0, &rse)?;
        rses::delete_protocols(tx, &rse, &scheme, hostname.as_deref(), port)
    })
    .await
    .map_err(|error: Error| Failure::from(error).with_status(Class::RSEProtocolNotSupported, StatusCode::NOT_FOUND))?;
    done()
}

pub(super) async fn delete_scheme(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, scheme)): Path<(String, String)>,
) -> Answer {
    delete_protocols(lake, asking, rse, scheme, None, None).await
}

pub(super) async fn delete_host(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, scheme, hostname)): Path<(String, String, String)>,
) -> Answer {
    delete_protocols(lake, asking, rse, scheme, Some(hostname), None).await
}

pub(super) async fn delete_port(
    State(lake): State<Lake>,
    asking: Asking,
    Path((rse, scheme, hostname, port)): Path<(String, String, String, u16)>,
) -> Answer {
    delete_protocols(lake, asking, rse, scheme, Some(hostname), Some(port)).await
}
