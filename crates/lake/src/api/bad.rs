//! Copies that are said to be bad, suspicious or away.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use dte_base::time::Timestamp;
use dte_identity::Routes;
use dte_protocol_rucio::date::{self, rfc1123_utc};
use dte_protocol_rucio::{Class, Did, Exception};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, created, created_json, done, json, lines};
use super::request::{Asking, Call, Fields, check_bulk, invalid};
use super::{CHANGES, READS};
use crate::Lake;
use crate::error::Error;
use crate::store::bad::{self, BadState, Report, Said};
use crate::store::{dids, rses};

/// Longest time that a copy may be away.
const LONGEST_ABSENCE: Duration = Duration::from_secs(30 * 86_400);
/// Entries that one answer tells.
const MOST: usize = 10_000;
/// How far back suspicions count unless somebody says otherwise.
const SUSPICIONS: Duration = Duration::from_secs(10 * 86_400);

pub(super) fn routes(routes: Routes<Lake>) -> Routes<Lake> {
    ["", "/"].into_iter().fold(routes, |routes, end| {
        routes
            .post(&format!("/replicas/bad{end}"), CHANGES, declare_bad)
            .post(&format!("/replicas/suspicious{end}"), CHANGES, declare_suspicious)
            .post(&format!("/replicas/bad/pfns{end}"), CHANGES, add_pfns)
            .post(&format!("/replicas/bad/dids{end}"), CHANGES, add_dids)
            .post(&format!("/replicas/quarantine{end}"), CHANGES, quarantine)
            .get(&format!("/replicas/suspicious{end}"), READS, suspicious)
            .get(&format!("/replicas/bad/states{end}"), READS, states)
            .get(&format!("/replicas/bad/summary{end}"), READS, summary)
    })
}

/// A copy that somebody speaks of.
#[derive(Clone)]
enum Meant {
    Pfn(String),
    Copy { did: Did, rse: Option<String>, id: Option<String> },
}

fn meant(item: &Value) -> Result<Meant, Failure> {
    match item {
        Value::String(pfn) => Ok(Meant::Pfn(pfn.clone())),
        other => {
            let fields = Fields::of(other)?;
            Ok(Meant::Copy { did: fields.did()?, rse: fields.text("rse")?, id: fields.text("rse_id")? })
        }
    }
}

/// What is said of which copies.
struct Saying {
    copies: Vec<Meant>,
    state: BadState,
    reason: String,
    expires_at: Option<Timestamp>,
}

/// Declares; answers what was in the way, by storage element.
async fn say(lake: &Lake, asking: &Asking, saying: Saying) -> Result<Map<String, Value>, Failure> {
    check_bulk(saying.copies.len())?;
    let account = asking.0.account.clone();
    let now = Timestamp::now();
    let refused = lake
        .change(move |tx| {
            let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let report = Report {
                state: saying.state,
                reason: &saying.reason,
                account: &account,
                expires_at: saying.expires_at,
                now,
            };
            for one in &saying.copies {
                let (label, place) = match one {
                    Meant::Pfn(pfn) => (pfn.clone(), bad::locate(tx, pfn, None)?),
                    Meant::Copy { did, rse, id } => {
                        let rse = bad::named(tx, rse.as_deref(), id.as_deref())?;
                        (did.to_string(), Some((did.clone(), rse)))
                    }
                };
                let Some((did, rse)) = place else {
                    refused.entry("unknown".to_owned()).or_default().push(format!("{label} Unknown replica"));
                    continue;
                };
                if let Some(why) = bad::declare(tx, &did, &rse, &report)? {
                    refused.entry(rse).or_default().push(format!("{label} {why}"));
                }
            }
            Ok::<_, Error>(refused)
        })
        .await?;
    Ok(refused.into_iter().map(|(rse, list)| (rse, Value::from(list))).collect())
}

async fn declare_bad(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("declare bad replicas").map_err(forbidden)?;
    let fields = call.dictionary()?;
    let mut list = fields.list("replicas")?;
    list.extend(fields.list("pfns")?);
    let copies = list.iter().map(meant).collect::<Result<_, _>>()?;
    let reason = fields.text("reason")?.unwrap_or_default();
    let saying = Saying { copies, state: BadState::Bad, reason, expires_at: None };
    created_json(&Value::Object(say(&lake, &asking, saying).await?))
}

async fn declare_suspicious(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let copies = fields.required_list("pfns")?.iter().map(meant).collect::<Result<_, _>>()?;
    let reason = fields.text("reason")?.unwrap_or_default();
    let saying = Saying { copies, state: BadState::Suspicious, reason, expires_at: None };
    created_json(&Value::Object(say(&lake, &asking, saying).await?))
}

/// Not 401: clients would log in anew.
fn forbidden(exception: Exception) -> Exception {
    exception.at(StatusCode::FORBIDDEN)
}

/// State, reason and end of a body.
fn about(fields: &Fields, copies: Vec<Meant>) -> Result<Saying, Failure> {
    let state = fields.text("state")?.unwrap_or_else(|| "BAD".to_owned());
    let kind = BadState::parse(&state)
        .filter(|state| matches!(state, BadState::Bad | BadState::Suspicious | BadState::TemporaryUnavailable))
        .ok_or_else(|| Failure::new(Class::InvalidType, format!("'{state}' is not a state of bad PFNs")))?;
    let expires_at = match fields.text("expires_at")? {
        None => None,
        Some(text) => {
            let end = moment(&text).ok_or_else(|| {
                Failure::new(Class::ValueError, format!("'{text}' is not a time: 2026-11-21T00:00:00.0"))
            })?;
            Some(end)
        }
    };
    if expires_at.is_some_and(|end| end > Timestamp::now() + LONGEST_ABSENCE) {
        let message = "The given duration of 30 days exceeds the maximum duration of 30 days.";
        return Err(Failure::new(Class::InputValidationError, message));
    }
    if kind == BadState::TemporaryUnavailable && expires_at.is_none() {
        return Err(Failure::new(Class::InputValidationError, "'expires_at' is needed for TEMPORARY_UNAVAILABLE"));
    }
    Ok(Saying { copies, state: kind, reason: fields.text("reason")?.unwrap_or_default(), expires_at })
}

/// `2026-11-21T00:00:00.0`, in UTC, also without the fraction; or the date that clients write otherwise.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let zoned = if text.ends_with('Z') { text.to_owned() } else { format!("{text}Z") };
    zoned.parse().ok().or_else(|| date::parse(text))
}

async fn add_pfns(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("declare bad PFNs").map_err(forbidden)?;
    let fields = call.dictionary()?;
    let copies = fields.required_list("pfns")?.iter().map(meant).collect::<Result<_, _>>()?;
    let refused = say(&lake, &asking, about(&fields, copies)?).await?;
    if let Some(first) = refused.values().next() {
        let text = first.get(0).and_then(Value::as_str).unwrap_or_default();
        let class = if text.ends_with("Already declared") { Class::Duplicate } else { Class::ReplicaNotFound };
        return Err(Failure::new(class, text));
    }
    created()
}

async fn add_dids(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("declare bad replicas").map_err(forbidden)?;
    let fields = call.dictionary()?;
    let rse = fields.required_text("rse")?;
    let copies = fields
        .required_list("dids")?
        .iter()
        .map(|item| Ok(Meant::Copy { did: Fields::of(item)?.did()?, rse: Some(rse.clone()), id: None }))
        .collect::<Result<_, Failure>>()?;
    created_json(&Value::Object(say(&lake, &asking, about(&fields, copies)?).await?))
}

async fn quarantine(State(lake): State<Lake>, asking: Asking, call: Call) -> Answer {
    asking.0.needs_admin("quarantine files").map_err(forbidden)?;
    let fields = call.dictionary()?;
    let list = fields.required_list("replicas")?;
    check_bulk(list.len())?;
    let files = list
        .iter()
        .map(|item| {
            let fields = Fields::of(item)?;
            let named = fields.get("scope").is_some() && fields.get("name").is_some();
            Ok((fields.required_text("path")?, if named { Some(fields.did()?) } else { None }))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let (rse, id) = (fields.text("rse")?, fields.text("rse_id")?);
    let now = Timestamp::now();
    lake.change(move |tx| {
        let rse = bad::named(tx, rse.as_deref(), id.as_deref())?;
        bad::quarantine(tx, &rse, &files, now)
    })
    .await?;
    done()
}

/// Clients put a JSON object where others have pairs.
fn wishes(call: &Call) -> Fields {
    let whole = call.pairs().first().filter(|(_, value)| value.is_empty()).map(|(key, _)| key.as_str());
    if let Some(Ok(Value::Object(map))) = whole.map(serde_json::from_str) {
        return Fields(map);
    }
    Fields(call.pairs().iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect())
}

async fn suspicious(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let wishes = wishes(&call);
    let expression = wishes.text("rse_expression")?;
    let since = match wishes.text("younger_than")? {
        None => Timestamp::now() - SUSPICIONS,
        Some(text) => moment(&text.replace(' ', "T")).ok_or_else(|| invalid("'younger_than' is not a time"))?,
    };
    let attempts = wishes.integer("nattempts")?.unwrap_or(0);
    let (found, all) =
        lake.store.read(move |tx| Ok::<_, Error>((bad::suspicious(tx, since, attempts)?, rses::all(tx)?))).await?;
    let among = expression.map(|expression| all.select(&expression)).transpose()?;
    let wanted = found.iter().filter(|one| among.as_ref().is_none_or(|among| among.contains(&one.rse)));
    json(
        &wanted
            .map(|one| {
                json!({"scope": one.did.scope, "name": one.did.name, "rse": one.rse, "cnt": one.count,
                "rse_id": all.rows.get(&one.rse).map(|rse| rse.id.as_str()),
                "created_at": rfc1123_utc(one.first)})
            })
            .collect(),
    )
}

fn time_of(call: &Call, key: &str) -> Result<Option<Timestamp>, Failure> {
    let wrong = || Failure::new(Class::ValueError, format!("'{key}' is not a time"));
    call.query(key)
        .map(|text| moment(text).or_else(|| moment(&format!("{text}T00:00:00"))).ok_or_else(wrong))
        .transpose()
}

async fn said(lake: &Lake, call: &Call, between: (Timestamp, Timestamp)) -> Result<(Vec<Said>, rses::Rses), Failure> {
    let state = match call.query("state") {
        None => None,
        Some(text) => Some(BadState::parse(text).ok_or_else(|| invalid(&format!("state {text}")))?),
    };
    let rse = call.query("rse").map(str::to_owned);
    let limit = call.query("limit").and_then(|text| text.parse().ok()).unwrap_or(MOST).min(MOST);
    let found = lake
        .store
        .read(move |tx| Ok::<_, Error>((bad::said(tx, state, rse.as_deref(), between, limit)?, rses::all(tx)?)));
    Ok(found.await?)
}

async fn states(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let since = time_of(&call, "younger_than")?.unwrap_or(Timestamp::EPOCH);
    let until = time_of(&call, "older_than")?.unwrap_or_else(Timestamp::now);
    let (found, all) = said(&lake, &call, (since, until)).await?;
    let values = found.iter().map(|one| {
        json!({"scope": one.did.scope, "name": one.did.name, "rse": one.rse, "state": one.state.name(),
            "rse_id": all.rows.get(&one.rse).map(|rse| rse.id.as_str()), "reason": one.reason,
            "created_at": rfc1123_utc(one.created_at), "updated_at": rfc1123_utc(one.updated_at)})
    });
    lines(&values.collect::<Vec<_>>())
}

async fn summary(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let since = time_of(&call, "from_date")?.unwrap_or(Timestamp::EPOCH);
    let until = time_of(&call, "to_date")?.unwrap_or_else(Timestamp::now);
    let (found, all) = said(&lake, &call, (since, until)).await?;
    let mut sums: BTreeMap<(String, String, Option<String>), BTreeMap<&str, i64>> = BTreeMap::new();
    for one in &found {
        let key = (one.rse.clone(), rfc1123_utc(one.created_at), one.reason.clone());
        *sums.entry(key).or_default().entry(one.state.name()).or_default() += 1;
    }
    let values = sums.into_iter().map(|((rse, at, reason), counts)| {
        let mut value = json!({"rse": rse, "rse_id": all.rows.get(&rse).map(|row| row.id.as_str()),
            "created_at": at, "reason": reason});
        for (state, count) in counts {
            value[state] = json!(count);
        }
        value
    });
    lines(&values.collect::<Vec<_>>())
}

/// Which files lie at PFNs, each on a line of its own.
pub(super) async fn dids_of_pfns(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let rse = fields.text("rse")?;
    let pfns: Vec<String> =
        fields.required_list("pfns")?.iter().filter_map(|pfn| pfn.as_str().map(str::to_owned)).collect();
    check_bulk(pfns.len())?;
    let values = lake
        .store
        .read(move |tx| {
            if let Some(rse) = &rse {
                rses::get(tx, rse)?;
            }
            let mut values = Vec::new();
            for pfn in &pfns {
                let found = bad::locate(tx, pfn, rse.as_deref())?;
                let known = match &found {
                    Some((did, _)) => dids::find(tx, did)?,
                    None => None,
                };
                if let Some(row) = known {
                    let at = json!({"scope": row.did.scope, "name": row.did.name});
                    values.push(Value::Object(Map::from_iter([(pfn.clone(), at)])));
                }
            }
            Ok::<_, Error>(values)
        })
        .await?;
    lines(&values)
}
