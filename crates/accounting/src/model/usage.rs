//! A usage record, as read from the event that tells of the usage.

use std::collections::BTreeSet;

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// What was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A pod ran.
    Compute,
    /// A replica is held.
    Storage,
    /// A file was copied between storages.
    Transfer,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Compute, Kind::Storage, Kind::Transfer];

    pub fn text(self) -> &'static str {
        match self {
            Kind::Compute => "compute",
            Kind::Storage => "storage",
            Kind::Transfer => "transfer",
        }
    }

    pub fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.text() == text)
    }
}

/// One use. What does not apply to its kind is zero or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Derived from what was used, so that the same use told twice is one record.
    pub id: Uuid,
    pub kind: Kind,
    /// Account name of who pays.
    pub user: String,
    /// Known for pods only; data belong to a twin by their scope.
    pub twin: String,
    /// The scope of the data.
    pub scope: String,
    /// The site of a pod, the RSE of a replica.
    pub site: String,
    /// The pod, the DID, the destination.
    pub subject: String,
    pub started: Timestamp,
    /// When it was charged: a pod's end, a replica's beginning, a copy's end.
    pub charged: Timestamp,
    pub cpu_micros: i64,
    pub wall_micros: i64,
    /// Wall time × cores, or CPU time where that is more.
    pub core_micros: i64,
    pub max_rss_bytes: i64,
    pub bytes: i64,
    /// Scopes that a twin's pod wrote into: they are the twin's.
    pub written_scopes: BTreeSet<String>,
}

/// The events that tell of usage.
pub const POD_FINISHED: &str = "org.dte.offload.pod.finished";
pub const REPLICA_AVAILABLE: &str = "org.dte.lake.replica.available";
pub const FILE_FINISHED: &str = "org.dte.transfer.file.finished";

/// An event that should tell of usage and does not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the event has no {0}")]
pub struct BadUsage(&'static str);

impl Usage {
    /// Reads an event; `None` when it is of another type.
    pub fn from_event(kind: &str, time: Timestamp, data: &Value) -> Result<Option<Usage>, BadUsage> {
        match kind {
            POD_FINISHED => pod(time, data).map(Some),
            REPLICA_AVAILABLE => replica(time, data).map(Some),
            FILE_FINISHED => copy(time, data).map(Some),
            _ => Ok(None),
        }
    }

    fn new(kind: Kind, identity: &[&str], user: String, time: Timestamp) -> Usage {
        let parts: Vec<&str> = ["usage", kind.text()].into_iter().chain(identity.iter().copied()).collect();
        Usage {
            id: derived_id(&parts),
            kind,
            user,
            twin: String::new(),
            scope: String::new(),
            site: String::new(),
            subject: String::new(),
            started: time,
            charged: time,
            cpu_micros: 0,
            wall_micros: 0,
            core_micros: 0,
            max_rss_bytes: 0,
            bytes: 0,
            written_scopes: BTreeSet::new(),
        }
    }
}

fn pod(time: Timestamp, data: &Value) -> Result<Usage, BadUsage> {
    let uid = text(data, "uid").ok_or(BadUsage("uid"))?;
    let user = account(&data["user"]).ok_or(BadUsage("user"))?;
    let finished = when(&data["finished"]).unwrap_or(time);
    let started = when(&data["started"]).unwrap_or(finished).min(finished);
    let wall_micros = finished.as_micros() - started.as_micros();
    let cpu_micros = micros(&data["cpu_seconds"]);
    let cores = data["cores"].as_f64().filter(|cores| *cores > 0.0 && *cores < 1e6).unwrap_or(1.0);
    // A UID that comes again after its pod was deleted is another run, and charged on its own.
    let run = data["run"].as_u64().map(|run| run.to_string());
    let identity: Vec<&str> = [uid.as_str()].into_iter().chain(run.as_deref()).collect();
    let mut usage = Usage::new(Kind::Compute, &identity, user, finished);
    usage.twin = text(&data["annotations"], "dte.io/twin").unwrap_or_default();
    usage.site = text(data, "site").unwrap_or_default();
    usage.subject = text(data, "name").unwrap_or(uid);
    usage.started = started;
    usage.cpu_micros = cpu_micros;
    usage.wall_micros = wall_micros;
    usage.core_micros = cpu_micros.max((wall_micros as f64 * cores) as i64);
    usage.max_rss_bytes = whole(&data["max_rss_bytes"]);
    usage.written_scopes = data["outputs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|output| output["did"].as_str()?.split_once(':').map(|(scope, _)| scope.to_owned()))
        .collect();
    Ok(usage)
}

fn replica(time: Timestamp, data: &Value) -> Result<Usage, BadUsage> {
    let scope = text(data, "scope").ok_or(BadUsage("scope"))?;
    let name = text(data, "name").ok_or(BadUsage("name"))?;
    let rse = text(data, "rse").ok_or(BadUsage("rse"))?;
    let user = account(&data["account"]).ok_or(BadUsage("account"))?;
    let mut usage = Usage::new(Kind::Storage, &[&scope, &name, &rse], user, time);
    usage.subject = format!("{scope}:{name}");
    usage.scope = scope;
    usage.site = rse;
    usage.bytes = whole(&data["bytes"]);
    Ok(usage)
}

fn copy(time: Timestamp, data: &Value) -> Result<Usage, BadUsage> {
    let number = |key: &str| data[key].as_i64().map(|n| n.to_string());
    let job = text(data, "job_id").ok_or(BadUsage("job_id"))?;
    let file = text(data, "file_id").or_else(|| number("file_id")).ok_or(BadUsage("file_id"))?;
    let user = account(&data["user"]).ok_or(BadUsage("user"))?;
    let mut usage = Usage::new(Kind::Transfer, &[&job, &file], user, time);
    usage.subject = text(data, "destination").unwrap_or_default();
    usage.scope = scope_of_pfn(&usage.subject).unwrap_or_default();
    usage.bytes = whole(&data["bytes"]);
    Ok(usage)
}

/// The scope in a deterministic physical name `…/SCOPE/aa/bb/NAME`, where a dot of the scope is a slash for `user.` and
/// `group.` scopes.
fn scope_of_pfn(pfn: &str) -> Option<String> {
    let parts: Vec<&str> = pfn.split(['?', '#']).next()?.split('/').collect();
    let [before @ .., high, low, _name] = parts.as_slice() else { return None };
    let is_hash =
        |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_hash(high) || !is_hash(low) {
        return None;
    }
    match before {
        [.., kind @ ("user" | "group"), name] => Some(format!("{kind}.{name}")),
        [.., scope] if !scope.is_empty() => Some((*scope).to_owned()),
        _ => None,
    }
}

fn text(data: &Value, key: &str) -> Option<String> {
    data.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// An account name, as such or within a reference to a user. What Rucio calls `root` is the engine's `admin`.
fn account(value: &Value) -> Option<String> {
    let name = match value {
        Value::Object(_) => text(value, "name"),
        other => other.as_str().filter(|text| !text.is_empty()).map(str::to_owned),
    }?;
    Some(if name == "root" { "admin".to_owned() } else { name })
}

fn when(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(micros) => micros.as_i64().map(Timestamp::from_micros),
        _ => None,
    }
}

/// Seconds as a number, in millionths.
fn micros(seconds: &Value) -> i64 {
    let seconds = seconds.as_f64().filter(|seconds| seconds.is_finite() && *seconds > 0.0).unwrap_or(0.0);
    (seconds * 1e6).round() as i64
}

fn whole(value: &Value) -> i64 {
    value.as_i64().filter(|n| *n >= 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(kind: &str, data: Value) -> Result<Usage, BadUsage> {
        let now = Timestamp::from_seconds(1_000);
        Usage::from_event(kind, now, &data).map(|usage| usage.expect("a kind that is known"))
    }

    #[test]
    fn pods() {
        let data = json!({"uid": "u", "name": "run", "user": {"name": "alice", "issuer": "i", "subject": "s"}, "site": "local",
            "started": "1970-01-01T00:00:10Z", "finished": "1970-01-01T00:00:12.5Z", "cpu_seconds": 1.25, "max_rss_bytes": 4096,
            "annotations": {"dte.io/twin": "enso"}, "outputs": [{"did": "enso:f"}, {"did": "nocolon"}]});
        let usage = read(POD_FINISHED, data.clone()).expect("usage");
        assert_eq!((usage.user.as_str(), usage.twin.as_str()), ("alice", "enso"));
        assert_eq!((usage.wall_micros, usage.cpu_micros, usage.core_micros), (2_500_000, 1_250_000, 2_500_000));
        assert_eq!(usage.written_scopes, BTreeSet::from(["enso".to_owned()]));
        assert_eq!(usage.id, read(POD_FINISHED, data.clone()).expect("usage").id);
        let mut busy = data;
        busy["cpu_seconds"] = json!(40);
        assert_eq!(read(POD_FINISHED, busy).expect("usage").core_micros, 40_000_000);
        assert_eq!(read(POD_FINISHED, json!({"uid": "u"})), Err(BadUsage("user")));
    }

    #[test]
    fn data() {
        let held = json!({"scope": "enso", "name": "f", "rse": "LOCAL", "bytes": 7, "account": "root"});
        let usage = read(REPLICA_AVAILABLE, held).expect("usage");
        assert_eq!((usage.user.as_str(), usage.subject.as_str(), usage.bytes), ("admin", "enso:f", 7));
        let moved = json!({"job_id": "j", "file_id": 3, "user": "bob", "bytes": 9,
            "destination": "https://h:1/dav/local/user/bob/0a/ff/x.csv"});
        let usage = read(FILE_FINISHED, moved).expect("usage");
        assert_eq!((usage.scope.as_str(), usage.kind), ("user.bob", Kind::Transfer));
        assert!(Usage::from_event("org.dte.other", Timestamp::EPOCH, &json!({})).expect("fine").is_none());
    }

    #[test]
    fn scopes_in_names() {
        assert_eq!(scope_of_pfn("http://h/dav/local/enso/12/ab/f").as_deref(), Some("enso"));
        assert_eq!(scope_of_pfn("http://h/dav/home/alice/f"), None);
        assert_eq!(scope_of_pfn("http://h/dav/local/enso/12/AB/f"), None);
        assert_eq!(scope_of_pfn(""), None);
    }
}
