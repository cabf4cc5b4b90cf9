//! Which line a waiting file stands in: files that are equal to the scheduler stand in one line, the oldest first.

use serde::{Deserialize, Serialize};

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

impl Lane {
    /// The lane as a text that orders lanes of one link together.
    pub fn name(&self) -> String {
        let Lane { from, to, source, destination, vo, activity, priority } = self;
        serde_json::json!([from, to, source, destination, vo, activity, priority]).to_string()
    }

    /// Reads [`Lane::name`]. Older engines named links only; such files are of the VO and activity of nobody.
    pub fn read(name: &str) -> Lane {
        if let Ok((from, to, source, destination, vo, activity, priority)) = serde_json::from_str(name) {
            return Lane { from, to, source, destination, vo, activity, priority };
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
        let old = Lane::read("a:443/x->b:8443/y");
        assert_eq!(
            (old.link(), old.from.as_str(), old.to.as_str()),
            (("https://a", "https://b"), "a:443/x", "b:8443/y")
        );
    }
}
