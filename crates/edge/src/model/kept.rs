//! Properties that clients leave with a resource ("dead" ones: RFC 4918 section 4).

use dte_protocol_webdav::fragment::Fragment;
use dte_protocol_webdav::propfind::Change;
use dte_protocol_webdav::xml::Name;

use super::properties::is_live;

/// Most properties that a resource may have.
const MOST: usize = 100;

/// The properties of one resource, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(pub Vec<(Name, Fragment)>);

/// Why a change cannot be made, with the names of the properties that are to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The server itself keeps them.
    Live(Vec<Name>),
    TooMany(Vec<Name>),
}

impl Kept {
    pub fn get(&self, name: &Name) -> Option<&Fragment> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Makes all changes in their order, or none.
    pub fn change(&mut self, changes: &[Change]) -> Result<(), Refused> {
        let mut live: Vec<Name> = Vec::new();
        for name in changes.iter().map(Change::name).filter(|name| is_live(name)) {
            if !live.contains(name) {
                live.push(name.clone());
            }
        }
        if !live.is_empty() {
            return Err(Refused::Live(live));
        }
        let mut changed = self.0.clone();
        for change in changes {
            match change {
                Change::Set(name, value) => match changed.iter_mut().find(|(known, _)| known == name) {
                    Some((_, old)) => old.clone_from(value),
                    None => changed.push((name.clone(), value.clone())),
                },
                // What is not there is removed already.
                Change::Remove(name) => changed.retain(|(known, _)| known != name),
            }
        }
        if let Some(beyond) = changed.get(MOST..).filter(|beyond| !beyond.is_empty()) {
            return Err(Refused::TooMany(beyond.iter().map(|(name, _)| name.clone()).collect()));
        }
        self.0 = changed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Change {
        Change::Set(Name::new("urn:x", name), Fragment { lang: None, xml: value.into() })
    }

    #[test]
    fn changes_are_made_in_order_and_all_or_none() {
        let mut kept = Kept::default();
        let name = Name::new("urn:x", "a");
        kept.change(&[Change::Remove(name.clone()), set("a", "1"), set("b", "2"), set("a", "3")]).expect("changes");
        assert_eq!(kept.get(&name).map(|value| value.xml.as_str()), Some("3"));
        let before = kept.clone();
        let length = Name::new("DAV:", "getcontentlength");
        let refused = kept.change(&[Change::Remove(name.clone()), Change::Remove(length.clone())]);
        assert_eq!((refused, &kept), (Err(Refused::Live(vec![length])), &before));
        let many: Vec<Change> = (0..MOST).map(|number| set(&format!("n{number}"), "x")).collect();
        assert!(matches!(kept.change(&many), Err(Refused::TooMany(beyond)) if beyond.len() == 2));
        assert_eq!(kept, before);
        kept.change(&[Change::Remove(name)]).expect("changes");
        assert_eq!(kept.0.len(), 1);
    }
}
