//! `/replicas/list`: the files of DIDs and their PFNs, best first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::State;
use dte_protocol_rucio::path::PathFormula;
use dte_protocol_rucio::rse::Operation;
use dte_protocol_rucio::{Class, Did, JSON_STREAM, Protocol, ReplicaState};
use dte_store::Tx;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, text_stream};
use super::files::{FileMerge, MergedFile};
use super::metalink;
use super::request::{Asking, Call, Fields, dids as read_dids};
use crate::Lake;
use crate::error::{Error, Result};
use crate::store::contents;
use crate::store::replicas::{self, Replica};
use crate::store::rses::{self, READ, Rses};

/// Files of one page.
const PAGE: usize = 200;
/// Schemes of a metalink when none are asked for.
const METALINK_SCHEMES: [&str; 11] =
    ["root", "davs", "http", "https", "file", "storm", "srm+https", "scp", "rsync", "rclone", "magnet"];
const SORTS: [&str; 6] = ["geoip", "custom_table", "random", "closeness", "dynamic", "ranking"];

/// What is asked.
struct Question {
    states: BTreeSet<ReplicaState>,
    all_states: bool,
    only_readable: bool,
    schemes: Option<Vec<String>>,
    expression: Option<String>,
    site: Option<String>,
    domain: Option<String>,
    parents: bool,
    most: usize,
    sort: Option<String>,
    metalink: bool,
    /// What does not exist is an error, not left out.
    strict: bool,
}

/// What is known of the storage elements, read once for the whole answer.
struct Places {
    all: Rses,
    protocols: BTreeMap<String, Vec<Protocol>>,
    formulas: HashMap<String, PathFormula>,
    wanted: Option<BTreeSet<String>>,
}

pub(super) async fn list(State(lake): State<Lake>, _: Asking, call: Call) -> Answer {
    let fields = call.dictionary()?;
    let inputs = match fields.list("dids")? {
        list if list.is_empty() => Vec::new(),
        list => read_dids(&list)?,
    };
    let unavailable = fields.get("unavailable").is_some() && fields.truth("unavailable", false)?;
    let location = Fields(fields.dictionary("client_location")?);
    let schemes = fields.list("schemes")?.iter().filter_map(|scheme| scheme.as_str().map(str::to_owned)).collect();
    let question = Question {
        states: states(unavailable),
        all_states: fields.truth("all_states", false)?,
        only_readable: !fields.truth("ignore_availability", true)?,
        schemes: Some(schemes).filter(|list: &Vec<String>| !list.is_empty()),
        expression: fields.text("rse_expression")?.filter(|text| !text.is_empty()),
        site: location.text("site")?,
        domain: fields.text("domain")?,
        parents: fields.truth("resolve_parents", false)?,
        most: limit(&call).or(fields.integer("nrandom")?.and_then(|n| usize::try_from(n).ok())).unwrap_or(usize::MAX),
        sort: call.query("sort").map(str::to_owned).or(fields.text("sort")?),
        metalink: wants_metalink(&call),
        strict: false,
    };
    answer(lake, inputs, question).await
}

/// `GET /replicas/<did>`.
pub(super) async fn of_did(lake: Lake, did: Did, call: Call) -> Answer {
    let schemes = call.query("schemes").map(|list| list.split(',').map(str::to_owned).collect());
    let question = Question {
        states: states(false),
        all_states: false,
        only_readable: false,
        schemes,
        expression: None,
        site: None,
        domain: None,
        parents: false,
        most: limit(&call).unwrap_or(usize::MAX),
        sort: None,
        metalink: wants_metalink(&call),
        strict: true,
    };
    answer(lake, vec![did], question).await
}

fn limit(call: &Call) -> Option<usize> {
    call.query("limit").and_then(|limit| limit.parse().ok())
}

fn wants_metalink(call: &Call) -> bool {
    call.accept.as_deref().is_some_and(|accept| accept.contains("metalink4+xml"))
}

fn states(unavailable: bool) -> BTreeSet<ReplicaState> {
    let more = unavailable.then_some([ReplicaState::Unavailable, ReplicaState::Copying]);
    [ReplicaState::Available].into_iter().chain(more.into_iter().flatten()).collect()
}

async fn answer(lake: Lake, inputs: Vec<Did>, mut question: Question) -> Answer {
    if question.metalink && question.schemes.is_none() {
        question.schemes = Some(METALINK_SCHEMES.map(str::to_owned).to_vec());
    }
    let expression = question.expression.clone();
    let strict = question.strict;
    let (merge, places) = lake
        .store
        .read(move |tx| {
            let all = rses::all(tx)?;
            let wanted = match &expression {
                None => None,
                Some(expression) => Some(all.select(expression)?.into_iter().collect()),
            };
            let formulas = all.rows.keys().map(|rse| (rse.clone(), all.formula(rse))).collect();
            let protocols = rses::all_protocols(tx)?;
            let places = Places { all, protocols, formulas, wanted };
            Ok::<_, Error>((FileMerge::open(tx, &inputs, strict)?, places))
        })
        .await
        .map_err(|error: Error| {
            Failure::from(error).with_status(Class::InvalidRSEExpression, http::StatusCode::BAD_REQUEST)
        })?;
    let kind = if question.metalink { metalink::MEDIA_TYPE } else { JSON_STREAM };
    let (question, places) = (Arc::new(question), Arc::new(places));
    text_stream((true, merge), kind, move |(first, merge)| {
        let (lake, question, places) = (lake.clone(), Arc::clone(&question), Arc::clone(&places));
        async move {
            lake.store
                .read(move |tx| {
                    let mut merge = merge.clone();
                    let files = merge.next(tx, PAGE)?;
                    let more = files.len() == PAGE;
                    let mut text = String::new();
                    if question.metalink && first {
                        text.push_str(metalink::HEAD);
                    }
                    page(tx, &question, &places, &files, &mut text)?;
                    if question.metalink && !more {
                        text.push_str(metalink::TAIL);
                    }
                    Ok::<_, Error>((text, more.then_some((false, merge))))
                })
                .await
        }
    })
    .await
}

fn page(tx: &mut Tx<'_>, question: &Question, places: &Places, files: &[MergedFile], text: &mut String) -> Result<()> {
    let names: Vec<Did> = files.iter().map(|one| one.file.did.clone()).collect();
    let mut copies = replicas::of_files(tx, &names)?;
    for MergedFile { file, direct } in files {
        let mut shown: Vec<Replica> = copies.remove(&file.did).unwrap_or_default();
        shown.retain(|copy| question.wants(copy, places));
        if shown.is_empty() && !direct {
            continue;
        }
        let pfns = question.pfns(&file.did, &shown, places)?;
        let parents: Option<Vec<String>> = match question.parents {
            false => None,
            true => Some(contents::parents(tx, &file.did)?.into_iter().map(|(parent, _)| parent.to_string()).collect()),
        };
        if question.metalink {
            text.push_str(&metalink::file(file, &pfns, parents.as_deref()));
            continue;
        }
        let mut rses: Map<String, Value> = Map::new();
        for pfn in &pfns {
            match rses.get_mut(&pfn.rse).and_then(Value::as_array_mut) {
                Some(list) => list.push(json!(pfn.url)),
                None => {
                    rses.insert(pfn.rse.clone(), json!([pfn.url]));
                }
            }
        }
        let states: Map<String, Value> =
            shown.iter().map(|copy| (copy.rse.clone(), json!(copy.state.name()))).collect();
        let told: Map<String, Value> = pfns.iter().map(|pfn| (pfn.url.clone(), pfn.value())).collect();
        let mut value = json!({"scope": file.did.scope, "name": file.did.name, "bytes": file.bytes, "md5": file.md5,
            "adler32": file.adler32, "pfns": told, "rses": rses, "states": states});
        if let Some(parents) = parents {
            value["parents"] = json!(parents);
        }
        text.push_str(&value.to_string());
        text.push('\n');
    }
    Ok(())
}

/// One way to one copy.
pub(super) struct Pfn {
    pub url: String,
    pub rse: String,
    pub domain: &'static str,
    /// From 1 (best), in the order of the answer.
    pub priority: usize,
    rse_id: String,
    rse_type: String,
    volatile: bool,
}

impl Pfn {
    fn value(&self) -> Value {
        json!({"rse_id": self.rse_id, "rse": self.rse, "type": self.rse_type, "volatile": self.volatile,
            "domain": self.domain, "priority": self.priority, "client_extract": false})
    }
}

impl Question {
    fn wants(&self, copy: &Replica, places: &Places) -> bool {
        (self.all_states || self.states.contains(&copy.state))
            && places.all.rows.contains_key(&copy.rse)
            && places.wanted.as_ref().is_none_or(|wanted| wanted.contains(&copy.rse))
            && (!self.only_readable || places.all.may(&copy.rse, READ))
    }

    /// The PFNs of a file: near ones first, then by the protocols' priorities.
    fn pfns(&self, did: &Did, copies: &[Replica], places: &Places) -> Result<Vec<Pfn>> {
        let mut ranked: Vec<(bool, u64, Pfn)> = Vec::new();
        for copy in copies {
            let Some(rse) = places.all.rows.get(&copy.rse) else { continue };
            let near = self.site.is_some() && places.all.attribute(&copy.rse, "site") == self.site.as_deref();
            let domains: &[&'static str] = match self.domain.as_deref() {
                Some("all") => &["lan", "wan"],
                Some("lan") => &["lan"],
                None if near => &["lan"],
                _ => &["wan"],
            };
            let formula = places.formulas.get(&copy.rse).copied().unwrap_or_default();
            let path = match &copy.path {
                Some(path) => path.clone(),
                None => formula.path(&did.scope, &did.name),
            };
            for domain in domains {
                let offered = places.protocols.get(&copy.rse).into_iter().flatten();
                let mut offered: Vec<(u64, &Protocol)> = offered
                    .filter(|protocol| self.schemes.as_ref().is_none_or(|schemes| schemes.contains(&protocol.scheme)))
                    .filter_map(|protocol| Some((protocol.priority(domain, Operation::Read)?, protocol)))
                    .collect();
                offered.sort_by_key(|(rank, _)| *rank);
                if self.schemes.is_none() {
                    offered.truncate(1);
                }
                for (rank, protocol) in offered {
                    let pfn = Pfn {
                        url: protocol.pfn(&path),
                        rse: copy.rse.clone(),
                        domain,
                        priority: 0,
                        rse_id: rse.id.clone(),
                        rse_type: rse.rse_type.clone(),
                        volatile: rse.volatile,
                    };
                    ranked.push((*domain == "wan", rank, pfn));
                }
            }
        }
        if let Some(sort) = self.sort.as_deref().filter(|sort| !ranked.is_empty() && !SORTS.contains(sort)) {
            return Err(Error::Exception(dte_protocol_rucio::Exception::new(
                Class::InvalidObject,
                format!("Sorting algorithm {sort} is not supported"),
            )));
        }
        ranked.sort_by_key(|(far, rank, _)| (*far, *rank));
        let chosen = ranked.into_iter().take(self.most).enumerate();
        Ok(chosen.map(|(index, (_, _, pfn))| Pfn { priority: index + 1, ..pfn }).collect())
    }
}
