//! The properties of a resource that PROPFIND answers.

use dte_protocol_webdav::digest::Digest;
use dte_protocol_webdav::lock::SUPPORTED;
use dte_protocol_webdav::multistatus::Value;
use dte_protocol_webdav::propfind::Wanted;
use dte_protocol_webdav::xml::Name;
use dte_protocol_webdav::{DAV, DCACHE, LCGDM, STORM};

use super::facts::Facts;
use super::kept::Kept;
use super::media::type_of;

/// Room in the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub used: u64,
    pub available: u64,
}

/// A resource as far as its properties go.
pub struct Described<'a> {
    pub name: &'a str,
    pub facts: &'a Facts,
    /// The stored adler32, if it was looked for and found.
    pub adler32: Option<&'a Digest>,
    /// Known for folders, if it was looked for.
    pub room: Option<Room>,
    /// The content of `lockdiscovery`.
    pub locks: &'a str,
    /// What clients left there, if it was looked for.
    pub kept: &'a Kept,
}

/// What `allprop` gives: those of RFC 4918 and two of StoRM that clients rely on. Quotas, checksums and which locks there can be
/// are for asking by name, and locks are told where there are any: listings are long.
const ALL: &[(&str, &str)] = &[
    (DAV, "displayname"),
    (DAV, "resourcetype"),
    (DAV, "getcontentlength"),
    (DAV, "getcontenttype"),
    (DAV, "getlastmodified"),
    (DAV, "creationdate"),
    (DAV, "getetag"),
    (STORM, "iscollection"),
    (LCGDM, "mode"),
];

const LOCKS: (&str, &str) = (DAV, "lockdiscovery");

const BY_NAME: &[(&str, &str)] = &[
    (DAV, "quota-used-bytes"),
    (DAV, "quota-available-bytes"),
    (DAV, "supportedlock"),
    LOCKS,
    (STORM, "Checksum"),
    (DCACHE, "Checksums"),
];

/// Whether a name is one of a property that the server itself keeps, so that no client may set it.
pub fn is_live(name: &Name) -> bool {
    name.namespace == DAV || ALL.iter().chain(BY_NAME).any(|(namespace, local)| name.is(namespace, local))
}

/// Whether an answer needs the stored checksum, and whether it needs to know the room.
pub fn needs(wanted: &Wanted) -> (bool, bool) {
    let names = match wanted {
        Wanted::All(names) | Wanted::Named(names) => names.as_slice(),
        Wanted::Names => &[],
    };
    let has = |locals: &[&str]| names.iter().any(|name| locals.contains(&name.local.as_str()));
    (has(&["Checksum", "Checksums"]), has(&["quota-used-bytes", "quota-available-bytes"]))
}

/// The properties found, and the names of those that this resource has not.
pub fn select(wanted: &Wanted, resource: &Described<'_>) -> (Vec<(Name, Value)>, Vec<Name>) {
    let mut found = Vec::with_capacity(ALL.len());
    let mut missing = Vec::new();
    match wanted {
        Wanted::Named(names) => {
            for name in names {
                let kept = || resource.kept.get(name).cloned().map(Value::Kept);
                match value_of(&name.namespace, &name.local, resource).or_else(kept) {
                    Some(value) => found.push((name.clone(), value)),
                    None => missing.push(name.clone()),
                }
            }
        }
        Wanted::All(more) => {
            let more = more.iter().map(|name| (name.namespace.as_str(), name.local.as_str()));
            // Each once, also where it is named besides.
            let more = more.filter(|name| *name != LOCKS && !ALL.contains(name));
            let more = more.chain((!resource.locks.is_empty()).then_some(LOCKS));
            for (namespace, local) in ALL.iter().copied().chain(more) {
                if let Some(value) = value_of(namespace, local, resource) {
                    found.push((Name::new(namespace, local), value));
                }
            }
            found.extend(resource.kept.0.iter().map(|(name, value)| (name.clone(), Value::Kept(value.clone()))));
        }
        Wanted::Names => {
            for (namespace, local) in ALL.iter().chain(BY_NAME) {
                if value_of(namespace, local, resource).is_some() {
                    found.push((Name::new(namespace, local), Value::Empty));
                }
            }
            found.extend(resource.kept.0.iter().map(|(name, _)| (name.clone(), Value::Empty)));
        }
    }
    (found, missing)
}

/// Whether an answer needs the locks.
pub fn needs_locks(wanted: &Wanted) -> bool {
    match wanted {
        Wanted::All(_) => true,
        Wanted::Names => false,
        Wanted::Named(names) => names.iter().any(|name| name.is(LOCKS.0, LOCKS.1)),
    }
}

/// Whether an answer needs what clients left with resources.
pub fn needs_kept(wanted: &Wanted) -> bool {
    match wanted {
        Wanted::All(_) | Wanted::Names => true,
        Wanted::Named(names) => names.iter().any(|name| !is_live(name)),
    }
}

fn value_of(namespace: &str, local: &str, resource: &Described<'_>) -> Option<Value> {
    let facts = resource.facts;
    let text = |text: String| Some(Value::Text(text));
    match (namespace, local) {
        (DAV, "displayname") => text(resource.name.to_owned()),
        (DAV, "resourcetype") if facts.is_folder() => Some(Value::Xml("<D:collection/>".into())),
        (DAV, "resourcetype") => Some(Value::Empty),
        (DAV, "getcontentlength") if facts.is_folder() => None,
        (DAV, "getcontentlength") => text(facts.size.to_string()),
        (DAV, "getcontenttype") if facts.is_folder() => text("httpd/unix-directory".to_owned()),
        (DAV, "getcontenttype") => text(type_of(resource.name).to_owned()),
        (DAV, "getlastmodified") => text(facts.modified().http_date()),
        // Filesystems tell no birth in a portable way; the last change is the closest that is true.
        (DAV, "creationdate") => text(facts.modified().format("%Y-%m-%dT%H:%M:%SZ")),
        (DAV, "getetag") => text(facts.etag().to_string()),
        (DAV, "supportedlock") => Some(Value::Xml(SUPPORTED.into())),
        (DAV, "lockdiscovery") if resource.locks.is_empty() => Some(Value::Empty),
        (DAV, "lockdiscovery") => Some(Value::Xml(resource.locks.to_owned().into())),
        (DAV, "quota-used-bytes") => text(resource.room?.used.to_string()),
        (DAV, "quota-available-bytes") => text(resource.room?.available.to_string()),
        (STORM, "iscollection") => text(if facts.is_folder() { "TRUE" } else { "FALSE" }.to_owned()),
        (STORM, "Checksum") if facts.is_folder() => None,
        (STORM, "Checksum") => Some(resource.adler32.map_or(Value::Empty, |digest| Value::Text(digest.hex()))),
        (DCACHE, "Checksums") => text(resource.adler32?.legacy()),
        (LCGDM, "mode") => text(format!("{:o}", facts.mode)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::Kind;
    use dte_protocol_webdav::fragment::Fragment;

    fn file() -> Facts {
        Facts { kind: Kind::File, size: 5, inode: 1, modified_nanos: 784_111_777_000_000_000, mode: 0o100_644 }
    }

    #[test]
    fn files_and_folders() {
        let facts = file();
        let sum = Digest::adler32(1);
        let left = Fragment { lang: None, xml: "left".into() };
        let kept = Kept(vec![(Name::new("urn:k", "note"), left.clone())]);
        let described =
            Described { name: "a.csv", facts: &facts, adler32: Some(&sum), room: None, locks: "", kept: &kept };
        let (all, missing) = select(&Wanted::All(vec![Name::new(STORM, "Checksum")]), &described);
        assert!(missing.is_empty());
        assert!(all.contains(&(Name::new(DAV, "getcontentlength"), Value::Text("5".into()))));
        assert!(all.contains(&(Name::new(STORM, "Checksum"), Value::Text("00000001".into()))));
        assert!(all.contains(&(Name::new(LCGDM, "mode"), Value::Text("100644".into()))));
        assert!(all.contains(&(Name::new("urn:k", "note"), Value::Kept(left))));
        assert!(!all.iter().any(|(name, _)| name.local == "lockdiscovery"));
        let asked = Wanted::Named(vec![Name::new(DAV, "quota-used-bytes"), Name::new("urn:x", "y")]);
        assert_eq!(select(&asked, &described).1.len(), 2);
        assert_eq!(needs(&asked), (false, true));
        let folder = Facts { kind: Kind::Folder, size: 0, ..facts };
        let room = Some(Room { used: 7, available: 8 });
        let described =
            Described { name: "a", facts: &folder, adler32: None, room, locks: "<D:activelock/>", kept: &kept };
        let (found, _) = select(&asked, &described);
        assert_eq!(found[0].1, Value::Text("7".into()));
        let (all, _) = select(&Wanted::All(Vec::new()), &described);
        assert!(all.contains(&(Name::new(DAV, "lockdiscovery"), Value::Xml("<D:activelock/>".into()))));
        let include = ["lockdiscovery", "getetag"].map(|local| Name::new(DAV, local)).to_vec();
        assert!(needs_locks(&Wanted::Named(include.clone())) && !needs_locks(&asked));
        assert_eq!(select(&Wanted::All(include), &described).0.len(), all.len(), "each once");
        let (names, _) = select(&Wanted::Names, &described);
        assert!(names.iter().all(|(name, value)| name.local != "getcontentlength" && *value == Value::Empty));
        assert!(names.iter().any(|(name, _)| name.local == "note"));
        assert!(is_live(&Name::new(DAV, "anything")) && !is_live(&Name::new("urn:x", "y")));
    }
}
