//! Which line a waiting file stands in: files that are equal to the scheduler stand in one line, the oldest first.

use dte_base::id::derived_id;
use serde::{Deserialize, Serialize};

use crate::model::place::storage_key;

/// Bytes of the parts of a lane's name. Longer ones end in a digest; a host that there can be fits into what names a storage.
const LONGEST_END: usize = 128;
const LONGEST_STORAGE: usize = 300;
const LONGEST_NAME: usize = 255;

/// What the scheduler knows of a file. Its text is the lane of the file's work.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lane {
    /// `host:port/area` of both ends.
    pub from: String,
    pub to: String,
    /// `scheme://host` of both ends, as configuration names storages.
    pub source: String,
    pub destination: String,
    pub vo: String,
    pub activity: String,
    pub priority: i64,
}

type Parts = (String, String, String, String, String, String, i64);

impl Lane {
    /// The lane as a text that orders lanes of one link together. It is a key of an index, so it is never long.
    pub fn name(&self) -> String {
        let Lane { from, to, source, destination, vo, activity, priority } = self;
        let [from, to] = [from, to].map(|end| short(end, LONGEST_END));
        let [source, destination] = [source, destination].map(|storage| short(storage, LONGEST_STORAGE));
        let [vo, activity] = [vo, activity].map(|name| short(name, LONGEST_NAME));
        serde_json::json!([from, to, source, destination, vo, activity, priority]).to_string()
    }

    /// Reads [`Lane::name`]. Older engines named links only; such files are of the VO and activity of nobody.
    pub fn read(name: &str) -> Lane {
        if let Ok((from, to, source, destination, vo, activity, priority)) = serde_json::from_str::<Parts>(name) {
            let known = |storage: String| storage_key(&storage).unwrap_or(storage);
            return Lane { from, to, source: known(source), destination: known(destination), vo, activity, priority };
        }
        let (from, to) = name.split_once("->").unwrap_or((name, name));
        let storage = |end: &str| format!("https://{}", end.split([':', '/']).next().unwrap_or_default());
        Lane {
            source: storage(from),
            destination: storage(to),
            from: from.to_owned(),
            to: to.to_owned(),
            vo: String::new(),
            activity: String::new(),
            priority: 3,
        }
    }

    /// From which storage to which.
    pub fn link(&self) -> (&str, &str) {
        (&self.source, &self.destination)
    }
}

/// A text as it is, or the beginning of it with a digest when it is long or would become so in a name.
fn short(text: &str, most: usize) -> String {
    if text.len() <= most && !text.contains(char::is_control) {
        return text.to_owned();
    }
    let digest = derived_id(&[text]).simple().to_string();
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("{}~{digest}", &plain[..plain.floor_char_boundary(most - digest.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let lane = Lane {
            from: "a:443/x".into(),
            to: "b:443/y".into(),
            source: "https://a".into(),
            destination: "https://b".into(),
            vo: "vo \"with\" marks".into(),
            activity: "Data, consolidation".into(),
            priority: 5,
        };
        assert_eq!(Lane::read(&lane.name()), lane);
        let other = Lane { source: "davs://a".into(), ..lane.clone() };
        assert_eq!(Lane::read(&other.name()), lane);
        let old = Lane::read("a:443/x->b:8443/y");
        assert_eq!(
            (old.link(), old.from.as_str(), old.to.as_str()),
            (("https://a", "https://b"), "a:443/x", "b:8443/y")
        );
    }

    #[test]
    fn names_are_short() {
        let long = |c: &str| c.repeat(4_000);
        let lane = Lane {
            from: long("ä"),
            to: long("\""),
            source: long("s"),
            destination: long("d"),
            vo: long("\\"),
            activity: "\u{1}".repeat(200),
            priority: 5,
        };
        let other = Lane { vo: format!("{}x", lane.vo), ..lane.clone() };
        assert!(lane.name().len() < 2_200 && lane.name() != other.name(), "{}", lane.name().len());
        assert_eq!(Lane::read(&lane.name()).name(), lane.name());
    }
}
