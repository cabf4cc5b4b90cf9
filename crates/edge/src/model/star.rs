//! Storage accounting records (OGF StAR): who had how much stored where, and over which time.

use std::fmt::Write as _;

use dte_base::time::Timestamp;
use dte_protocol_webdav::xml::escape;

use super::report::{Measured, Usage};

const NAMESPACE: &str = "http://eu-emi.eu/namespaces/2011/02/storagerecord";
/// Longest value that the accounting repository takes.
const LONGEST: usize = 255;

/// The records of all areas: one for each person in an area that has a folder for each, else one for the area.
pub fn records(host: &str, site: Option<&str>, areas: &[Measured]) -> String {
    let mut out =
        format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<sr:StorageUsageRecords xmlns:sr=\"{NAMESPACE}\">\n");
    for area in areas {
        if let Some(people) = &area.people {
            for (person, usage) in people {
                record(&mut out, host, site, area, Some(person), usage);
            }
        } else {
            record(&mut out, host, site, area, None, &area.usage);
        }
    }
    out.push_str("</sr:StorageUsageRecords>\n");
    out
}

fn record(out: &mut String, host: &str, site: Option<&str>, area: &Measured, person: Option<&str>, usage: &Usage) {
    let zulu = |time: Timestamp| time.format("%Y-%m-%dT%H:%M:%SZ");
    let mut id = format!("{host}/{}/{}/{}", area.area, person.unwrap_or_default(), area.when.as_micros());
    if id.len() > LONGEST {
        // Names of folders may be long; the end of the id tells records apart.
        let begin = (id.len() - LONGEST..).find(|at| id.is_char_boundary(*at)).unwrap_or(0);
        id.drain(..begin);
    }
    let _ = write!(
        out,
        "<sr:StorageUsageRecord><sr:RecordIdentity sr:createTime=\"{}\" sr:recordId=\"{}\"/>",
        zulu(area.when),
        escape(&id)
    );
    let mut element = |name: &str, text: &str| {
        let _ = write!(out, "<sr:{name}>{}</sr:{name}>", escape(text));
    };
    element("StorageSystem", host);
    if let Some(site) = site {
        element("Site", site);
    }
    element("StorageShare", &area.area);
    element("StorageMedia", "disk");
    element("FileCount", &usage.files.to_string());
    // A group counts only where it is the only one for which an area is.
    let group = if let [vo] = area.vos.as_slice() { Some(vo) } else { None };
    if person.is_some() || group.is_some() {
        out.push_str("<sr:SubjectIdentity>");
        for (name, text) in [("LocalUser", person), ("Group", group.map(String::as_str))] {
            if let Some(text) = text {
                let _ = write!(out, "<sr:{name}>{}</sr:{name}>", escape(text));
            }
        }
        out.push_str("</sr:SubjectIdentity>");
    }
    let (start, end) = (zulu(area.since), zulu(area.when));
    let _ = writeln!(
        out,
        "<sr:StartTime>{start}</sr:StartTime><sr:EndTime>{end}</sr:EndTime>\
         <sr:ResourceCapacityUsed>{}</sr:ResourceCapacityUsed><sr:LogicalCapacityUsed>{}</sr:LogicalCapacityUsed>\
         </sr:StorageUsageRecord>",
        usage.on_disk, usage.bytes
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::properties::Room;
    use crate::model::report::Filesystem;
    use std::collections::BTreeMap;

    #[test]
    fn a_record_for_each_person_or_area() {
        let usage = Usage { files: 2, bytes: 7, on_disk: 4096 };
        let area = |name: &str, people: Option<BTreeMap<String, Usage>>| Measured {
            area: name.into(),
            vos: vec!["enso".into()],
            usage,
            people,
            filesystem: Filesystem { device: 1, room: Room { used: 1, available: 1 } },
            since: Timestamp::from_seconds(0),
            when: Timestamp::from_seconds(60),
        };
        let people = BTreeMap::from([("a&b".to_owned(), usage), ("eva".to_owned(), usage)]);
        let text = records("se.example", Some("SITE"), &[area("disk", None), area("home", Some(people))]);
        let root = dte_protocol_webdav::xml::parse(&text, 1_000).expect("well-formed");
        assert!(root.name.is(NAMESPACE, "StorageUsageRecords"));
        assert_eq!(root.children.len(), 3);
        for part in [
            "sr:recordId=\"se.example/home/a&amp;b/60000000\"",
            "<sr:LocalUser>a&amp;b</sr:LocalUser><sr:Group>enso</sr:Group>",
            "<sr:StartTime>1970-01-01T00:00:00Z</sr:StartTime><sr:EndTime>1970-01-01T00:01:00Z</sr:EndTime>",
            "<sr:ResourceCapacityUsed>4096</sr:ResourceCapacityUsed><sr:LogicalCapacityUsed>7</sr:LogicalCapacityUsed>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn ids_are_short_and_differ() {
        let mut out = String::new();
        let area = Measured {
            area: "home".into(),
            vos: Vec::new(),
            usage: Usage::default(),
            people: None,
            filesystem: Filesystem { device: 1, room: Room { used: 1, available: 1 } },
            since: Timestamp::from_seconds(0),
            when: Timestamp::from_seconds(60),
        };
        record(&mut out, "h", None, &area, Some(&"ü".repeat(127)), &Usage::default());
        let id = out.split("sr:recordId=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
        assert!(id.len() <= LONGEST && id.ends_with("/60000000"), "{id}");
    }
}
