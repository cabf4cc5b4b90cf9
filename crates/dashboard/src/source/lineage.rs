//! The lineage of one file, read from W3C PROV-JSON: the run that generated it, and what is said of that run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dte_base::time::Timestamp;
use dte_base::units::Bytes;
use dte_http::ClientError;
use serde_json::{Map, Value};

use super::{Reader, path, text};
use crate::model::lineage::{InputFile, Lineage, Node, collapse};
use crate::page::words;

/// Viewers and twins that are remembered.
const MOST_SEEN: usize = 256;

/// The lineage that each viewer saw last of each twin: it is large, and stays the same until there is a new forecast.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<HashMap<Viewed, Told>>>);

/// Viewer and twin.
type Viewed = (String, String);
/// The file and its lineage.
type Told = (String, Lineage);

impl Seen {
    /// The lineage of `did`, the newest forecast of `twin`. While the provenance does not know of it yet, that of the
    /// forecast before (the picture says of which file it is).
    pub async fn newest(
        &self,
        reader: &Reader,
        viewer: &str,
        twin: &str,
        did: &str,
    ) -> Result<Option<Lineage>, ClientError> {
        let key = (viewer.to_owned(), twin.to_owned());
        let before = self.lock().get(&key).cloned();
        match before {
            Some((known, lineage)) if known == did => Ok(Some(lineage)),
            before => match read(reader, did).await? {
                Some(lineage) => {
                    let mut seen = self.lock();
                    if seen.len() >= MOST_SEEN {
                        seen.clear();
                    }
                    seen.insert(key, (did.to_owned(), lineage.clone()));
                    Ok(Some(lineage))
                }
                None => Ok(before.map(|(_, lineage)| lineage)),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Viewed, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the run that made `did`. `None` when nothing is known of it yet.
async fn read(reader: &Reader, did: &str) -> Result<Option<Lineage>, ClientError> {
    match reader.json::<Value>(&path("/yprov/api/v0/lineage?did={}&direction=upstream&depth=1", &[did])).await {
        Ok(document) => Ok(of_document(&document, did)),
        // The run's end may be told to the provenance a moment after the twin.
        Err(ClientError::Status { status, .. }) if status == http::StatusCode::NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds the run that generated `did` in a PROV document, and all around it.
pub fn of_document(document: &Value, did: &str) -> Option<Lineage> {
    let prov = Prov(document);
    let product = prov
        .group("entity")
        .find(|(_, about)| plain(about.get("dte:did")).as_deref() == Some(did))
        .map(|(id, _)| id)?;
    let run =
        prov.relations("wasGeneratedBy").find(|r| r.is("prov:entity", product)).and_then(|r| r.get("prov:activity"))?;
    let about_run = prov.one("activity", run);
    let used: Vec<&str> =
        prov.relations("used").filter(|r| r.is("prov:activity", run)).filter_map(|r| r.get("prov:entity")).collect();
    let is_plan = |id: &&str| kind(prov.one("entity", id)) == "prov:Plan";
    let files: Vec<InputFile> =
        used.iter().filter(|id| !is_plan(id)).map(|id| input(id, prov.one("entity", id))).collect();
    let agents: Vec<&str> = prov
        .relations("wasAssociatedWith")
        .filter(|r| r.is("prov:activity", run))
        .filter_map(|r| r.get("prov:agent"))
        .collect();
    let site = agents.iter().find(|id| kind(prov.one("agent", id)) == "dte:Site");
    let service = agents.iter().find(|id| kind(prov.one("agent", id)) == "prov:SoftwareAgent");
    let person =
        prov.relations("actedOnBehalfOf").find(|r| r.is("prov:activity", run)).and_then(|r| r.get("prov:responsible"));
    let label = |group: &str, id: &str| text(prov.one(group, id), &["prov:label"]).unwrap_or_else(|| id.to_owned());
    let through = service.map(|id| format!("through {}", label("agent", id)));
    Some(Lineage {
        inputs: collapse(&files),
        run: Node { label: label("activity", run), details: times(about_run) },
        code: used.iter().find(|id| is_plan(id)).map(|id| code(prov.one("entity", id), id)),
        site: site.map(|id| Node { label: label("agent", id), details: exit(about_run) }),
        agent: person.map(|id| Node { label: label("agent", id), details: through.into_iter().collect() }),
        outputs: vec![output(did, prov.one("entity", product))],
        document: run.strip_prefix("run:").map(|uid| path("/yprov/api/v0/documents/{}", &[uid])),
    })
}

/// A PROV-JSON document.
struct Prov<'d>(&'d Value);

/// A statement that relates two things.
struct Relation<'d>(&'d Value);

impl<'d> Prov<'d> {
    fn group(&self, name: &str) -> impl Iterator<Item = (&'d str, &'d Value)> + use<'d> {
        self.0
            .get(name)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::iter)
            .map(|(id, about)| (id.as_str(), about))
    }

    fn one(&self, group: &str, id: &str) -> &'d Value {
        self.0.get(group).and_then(|group| group.get(id)).unwrap_or(&Value::Null)
    }

    fn relations(&self, name: &str) -> impl Iterator<Item = Relation<'d>> + use<'d> {
        self.group(name).map(|(_, body)| Relation(body))
    }
}

impl<'d> Relation<'d> {
    fn get(&self, name: &str) -> Option<&'d str> {
        self.0.get(name)?.as_str()
    }

    fn is(&self, name: &str, id: &str) -> bool {
        self.get(name) == Some(id)
    }
}

/// An attribute as text: plain, or typed (`{"$": …, "type": …}`).
fn plain(value: Option<&Value>) -> Option<String> {
    let value = value?;
    match value.get("$").unwrap_or(value) {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn kind(about: &Value) -> String {
    plain(about.get("prov:type")).unwrap_or_default()
}

fn bytes(about: &Value) -> Option<u64> {
    plain(about.get("dte:bytes"))?.parse().ok()
}

fn input(id: &str, about: &Value) -> InputFile {
    InputFile { name: plain(about.get("dte:did")).unwrap_or_else(|| id.to_owned()), bytes: bytes(about) }
}

fn output(did: &str, about: &Value) -> Node {
    let checksum = plain(about.get("dte:adler32")).map(|sum| format!("adler32 {sum}"));
    let size = bytes(about).map(|bytes| Bytes(bytes).to_string());
    Node { label: did.to_owned(), details: checksum.into_iter().chain(size).collect() }
}

fn code(about: &Value, id: &str) -> Node {
    let name = text(about, &["prov:label"]).unwrap_or_else(|| id.to_owned());
    let short = name.rsplit('/').next().unwrap_or(&name).to_owned();
    let sum = plain(about.get("dte:sha256")).map(|sum| {
        let (head, tail) = (sum.get(..8).unwrap_or(&sum), sum.get(sum.len().saturating_sub(4)..).unwrap_or(""));
        format!("sha256 {head}…{tail}")
    });
    Node { label: short, details: sum.into_iter().collect() }
}

fn times(about: &Value) -> Vec<String> {
    let time = |name: &str| plain(about.get(name)).and_then(|text| text.parse::<Timestamp>().ok());
    let (started, ended) = (time("prov:startTime"), time("prov:endTime"));
    let when = started.map(|started| started.format("%Y-%m-%d %H:%M:%S UTC"));
    let took = started.zip(ended).map(|(started, ended)| words::span(ended.since(started)));
    when.into_iter().chain(took).collect()
}

fn exit(about: &Value) -> Vec<String> {
    plain(about.get("dte:exitCode")).map(|code| format!("exit code {code}")).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_run_and_all_around_it() {
        let name = |id: &str| json!({"$": id, "type": "prov:QUALIFIED_NAME"});
        let file = |did: &str| json!({"prov:type": name("dte:File"), "prov:label": did, "dte:did": did, "dte:bytes": {"$": "27", "type": "xsd:long"}, "dte:adler32": "0a0b0c0d"});
        let document = json!({
            "entity": {
                "did:enso:f-1980-02.csv#1": file("enso:f-1980-02.csv"),
                "did:enso:o-1980-01.csv#2": file("enso:o-1980-01.csv"),
                "did:enso:o-1980-02.csv#3": file("enso:o-1980-02.csv"),
                "code:abc": {"prov:type": name("prov:Plan"), "prov:label": "/opt/enso-model", "dte:sha256": "0123456789abcdef"},
            },
            "activity": {"run:u1": {"prov:label": "enso-forecast-1980-02", "prov:startTime": "2026-01-01T00:00:00Z", "prov:endTime": "2026-01-01T00:00:02.500Z"}},
            "agent": {
                "user:admin": {"prov:type": name("prov:Person"), "prov:label": "admin"},
                "service:workflow": {"prov:type": name("prov:SoftwareAgent"), "prov:label": "workflow"},
                "site:local": {"prov:type": name("dte:Site"), "prov:label": "local"},
            },
            "used": {
                "_:1": {"prov:activity": "run:u1", "prov:entity": "code:abc"},
                "_:2": {"prov:activity": "run:u1", "prov:entity": "did:enso:o-1980-01.csv#2"},
                "_:3": {"prov:activity": "run:u1", "prov:entity": "did:enso:o-1980-02.csv#3"},
            },
            "wasGeneratedBy": {"_:4": {"prov:entity": "did:enso:f-1980-02.csv#1", "prov:activity": "run:u1"}},
            "wasAssociatedWith": {
                "_:5": {"prov:activity": "run:u1", "prov:agent": "service:workflow", "prov:plan": "code:abc"},
                "_:6": {"prov:activity": "run:u1", "prov:agent": "site:local"},
            },
            "actedOnBehalfOf": {"_:7": {"prov:delegate": "service:workflow", "prov:responsible": "user:admin", "prov:activity": "run:u1"}},
        });
        let lineage = of_document(&document, "enso:f-1980-02.csv").expect("a lineage");
        assert_eq!((lineage.inputs.len(), lineage.inputs[0].count), (1, 2));
        assert_eq!(lineage.run.details, ["2026-01-01 00:00:00 UTC", "2.5 s"]);
        assert_eq!(lineage.code.expect("code").label, "enso-model");
        assert_eq!(lineage.site.expect("site").label, "local");
        assert_eq!(lineage.agent.expect("agent").details, ["through workflow"]);
        assert_eq!(lineage.document.as_deref(), Some("/yprov/api/v0/documents/u1"));
        assert_eq!(of_document(&document, "enso:other"), None);
        assert_eq!(of_document(&json!([]), "enso:other"), None);
    }
}
