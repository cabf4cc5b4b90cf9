//! PROV documents of runs: the statements, and PROV-JSON of them.
//!
//! Every identifier is derived from what it names, never from a time, so that the same runs on the same data give the same
//! lineage. Groups and statements are sorted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::run::{Code, File, Run};

/// Prefixes of the identifiers, and what they stand for.
pub const PREFIXES: [(&str, &str); 7] = [
    ("code", "urn:dte:code:sha256:"),
    ("did", "urn:dte:did:"),
    ("dte", "urn:dte:terms:"),
    ("run", "urn:dte:run:"),
    ("service", "urn:dte:service:"),
    ("site", "urn:dte:site:"),
    ("user", "urn:dte:user:"),
];

/// A statement that relates two things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    Used { activity: String, entity: String },
    WasGeneratedBy { entity: String, activity: String },
    WasDerivedFrom { generated: String, used: String, activity: String },
    WasAssociatedWith { activity: String, agent: String, plan: Option<String> },
    ActedOnBehalfOf { delegate: String, responsible: String, activity: String },
    WasAttributedTo { entity: String, agent: String },
}

impl Relation {
    /// The PROV-JSON keyword and the formal attributes.
    fn parts(&self) -> (&'static str, Vec<(&'static str, &String)>) {
        match self {
            Relation::Used { activity, entity } => ("used", vec![("prov:activity", activity), ("prov:entity", entity)]),
            Relation::WasGeneratedBy { entity, activity } => {
                ("wasGeneratedBy", vec![("prov:entity", entity), ("prov:activity", activity)])
            }
            Relation::WasDerivedFrom { generated, used, activity } => (
                "wasDerivedFrom",
                vec![("prov:generatedEntity", generated), ("prov:usedEntity", used), ("prov:activity", activity)],
            ),
            Relation::WasAssociatedWith { activity, agent, plan } => {
                let mut formal = vec![("prov:activity", activity), ("prov:agent", agent)];
                formal.extend(plan.iter().map(|plan| ("prov:plan", plan)));
                ("wasAssociatedWith", formal)
            }
            Relation::ActedOnBehalfOf { delegate, responsible, activity } => (
                "actedOnBehalfOf",
                vec![("prov:delegate", delegate), ("prov:responsible", responsible), ("prov:activity", activity)],
            ),
            Relation::WasAttributedTo { entity, agent } => {
                ("wasAttributedTo", vec![("prov:entity", entity), ("prov:agent", agent)])
            }
        }
    }
}

/// Statements about runs. Things that several runs share stand in it once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    entities: BTreeMap<String, Value>,
    activities: BTreeMap<String, Value>,
    agents: BTreeMap<String, Value>,
    relations: BTreeSet<Relation>,
}

impl Document {
    /// The document about `runs`.
    pub fn of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Document {
        let mut document = Document::default();
        for run in runs {
            document.add(run);
        }
        document
    }

    /// Adds a file that no run of the document touched.
    pub fn add_file(&mut self, file: &File) {
        self.entities.entry(file.id()).or_insert_with(|| describe_file(file));
    }

    fn add(&mut self, run: &Run) {
        let about = &run.about;
        let activity = format!("run:{}", run.id);
        let (user, service, site) =
            (format!("user:{}", about.user), format!("service:{}", about.acting), format!("site:{}", about.site));
        self.activities.insert(activity.clone(), describe_run(run));
        self.agents.insert(user.clone(), agent("prov:Person", &about.user));
        self.agents.insert(service.clone(), agent("prov:SoftwareAgent", &about.acting));
        self.agents.insert(site.clone(), agent("dte:Site", &about.site));
        let plan = about.code.as_ref().map(Code::id);
        if let Some(code) = &about.code {
            self.entities.insert(code.id(), describe_code(code));
            self.relations.insert(Relation::Used { activity: activity.clone(), entity: code.id() });
        }
        self.relations.insert(Relation::WasAssociatedWith { activity: activity.clone(), agent: service.clone(), plan });
        self.relations.insert(Relation::WasAssociatedWith { activity: activity.clone(), agent: site, plan: None });
        self.relations.insert(Relation::ActedOnBehalfOf {
            delegate: service,
            responsible: user.clone(),
            activity: activity.clone(),
        });
        for input in &run.inputs {
            self.add_file(input);
            self.relations.insert(Relation::Used { activity: activity.clone(), entity: input.id() });
        }
        for output in &run.outputs {
            // An output says more of a file (its dataset) than its later use as an input.
            self.entities.insert(output.id(), describe_file(output));
            let generated = output.id();
            self.relations.insert(Relation::WasGeneratedBy { entity: generated.clone(), activity: activity.clone() });
            self.relations.insert(Relation::WasAttributedTo { entity: generated.clone(), agent: user.clone() });
            for input in &run.inputs {
                self.relations.insert(Relation::WasDerivedFrom {
                    generated: generated.clone(),
                    used: input.id(),
                    activity: activity.clone(),
                });
            }
        }
    }

    /// How many entities, activities, agents and relations it states.
    pub fn counts(&self) -> (usize, usize, usize, usize) {
        (self.entities.len(), self.activities.len(), self.agents.len(), self.relations.len())
    }

    /// PROV-JSON (W3C submission of 2013).
    pub fn to_json(&self) -> Value {
        let prefixes: Map<String, Value> = PREFIXES.iter().map(|(p, uri)| ((*p).to_owned(), json!(uri))).collect();
        let mut all = Map::new();
        all.insert("prefix".into(), Value::Object(prefixes));
        for (keyword, group) in [("entity", &self.entities), ("activity", &self.activities), ("agent", &self.agents)] {
            if !group.is_empty() {
                all.insert(keyword.into(), group.iter().map(|(id, about)| (id.clone(), about.clone())).collect());
            }
        }
        for (number, relation) in self.relations.iter().enumerate() {
            let (keyword, formal) = relation.parts();
            let body: Map<String, Value> = formal.into_iter().map(|(name, id)| (name.to_owned(), json!(id))).collect();
            let group = all.entry(keyword).or_insert_with(|| json!({}));
            group[format!("_:r{}", number + 1)] = Value::Object(body);
        }
        Value::Object(all)
    }
}

fn name_value(id: &str) -> Value {
    json!({"$": id, "type": "prov:QUALIFIED_NAME"})
}

fn agent(kind: &str, label: &str) -> Value {
    json!({"prov:type": name_value(kind), "prov:label": label})
}

fn describe_file(file: &File) -> Value {
    let mut about = json!({
        "prov:type": name_value("dte:File"),
        "prov:label": file.did,
        "dte:did": file.did,
        "dte:bytes": {"$": file.bytes.to_string(), "type": "xsd:long"},
    });
    if !file.adler32.is_empty() {
        about["dte:adler32"] = json!(file.adler32);
    }
    if let Some(dataset) = &file.dataset {
        about["dte:dataset"] = json!(dataset);
    }
    about
}

fn describe_code(code: &Code) -> Value {
    json!({"prov:type": name_value("prov:Plan"), "prov:label": code.name, "dte:sha256": code.sha256})
}

fn describe_run(run: &Run) -> Value {
    let about = &run.about;
    let mut shown = Map::new();
    for (name, time) in [("prov:startTime", about.started), ("prov:endTime", about.finished)] {
        if let Some(time) = time {
            shown.insert(name.into(), time.to_string().into());
        }
    }
    shown.insert("prov:type".into(), name_value("dte:Run"));
    shown.insert("prov:label".into(), about.name.clone().into());
    shown.insert("dte:phase".into(), about.phase.clone().into());
    let further =
        [("dte:twin", &about.twin), ("dte:run", &about.run), ("dte:reason", &about.reason), ("dte:why", &about.why)];
    for (name, value) in further {
        if let Some(value) = value {
            shown.insert(name.into(), value.clone().into());
        }
    }
    if let Some(code) = about.exit_code {
        shown.insert("dte:exitCode".into(), json!({"$": code.to_string(), "type": "xsd:int"}));
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::run::About;
    use dte_base::time::Timestamp;

    fn file(name: &str) -> File {
        File { did: format!("enso:{name}"), bytes: 10, adler32: "00000001".into(), dataset: None }
    }

    fn run(number: usize, at: i64) -> Run {
        let about = About {
            name: format!("run-{number}"),
            user: "alice".into(),
            acting: "workflow".into(),
            site: "local".into(),
            phase: "Succeeded".into(),
            started: Some(Timestamp::from_seconds(at)),
            finished: Some(Timestamp::from_seconds(at + 1)),
            code: Some(Code { name: "model".into(), sha256: "abc".into() }),
            ..About::default()
        };
        let inputs = (0..=number).map(|n| file(&format!("obs-{n}"))).collect();
        Run { id: format!("u-{number}"), about, inputs, outputs: vec![file(&format!("forecast-{number}"))] }
    }

    #[test]
    fn shared_things_stand_once() {
        let document = Document::of(&[run(0, 5), run(1, 9)]);
        // obs-0, obs-1, two forecasts, the code; service, site, user.
        assert_eq!(document.counts().0, 5);
        assert_eq!((document.counts().1, document.counts().2), (2, 3));
        let json = document.to_json();
        // Each run used its inputs and the code.
        assert_eq!(json["used"].as_object().map(Map::len), Some(2 + 3));
        assert_eq!(json["wasDerivedFrom"].as_object().map(Map::len), Some(1 + 2));
        assert_eq!(json["wasGeneratedBy"].as_object().map(Map::len), Some(2));
    }

    #[test]
    fn two_replays_differ_in_times_only() {
        let strip = |document: &Document| {
            let mut json = document.to_json();
            for about in json["activity"].as_object_mut().into_iter().flat_map(|m| m.values_mut()) {
                if let Some(about) = about.as_object_mut() {
                    about.retain(|name, _| !name.ends_with("Time"));
                }
            }
            json.to_string()
        };
        let (first, second) = (Document::of(&[run(0, 5), run(1, 9)]), Document::of(&[run(1, 900), run(0, 500)]));
        assert_ne!(first, second);
        assert_eq!(strip(&first), strip(&second));
    }

    #[test]
    fn every_end_of_a_relation_is_declared() {
        let json = Document::of(&[run(3, 5)]).to_json();
        let declared: BTreeSet<&String> = ["entity", "activity", "agent"]
            .iter()
            .filter_map(|group| json[*group].as_object())
            .flat_map(|group| group.keys())
            .collect();
        for group in
            ["used", "wasGeneratedBy", "wasDerivedFrom", "wasAssociatedWith", "actedOnBehalfOf", "wasAttributedTo"]
        {
            for relation in json[group].as_object().expect(group).values() {
                for end in relation.as_object().expect("an object").values() {
                    assert!(declared.contains(&end.as_str().expect("an id").to_owned()), "{end} in {group}");
                }
            }
        }
    }
}
