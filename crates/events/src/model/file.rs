//! When a file is complete, and when it is news.

use std::time::Duration;

use dte_base::id::derived_id;
use dte_base::time::Timestamp;
use serde::Serialize;
use uuid::Uuid;

/// What `stat` says of a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub size: u64,
    pub modified: Timestamp,
    /// The later of the change of content and the change of the inode.
    pub quiet_since: Timestamp,
    pub inode: u64,
}

impl Look {
    /// Whether nothing was written between the two looks, as far as `stat` can tell.
    pub fn same_content(&self, other: &Look) -> bool {
        self.size == other.size && self.modified == other.modified && self.inode == other.inode
    }
}

/// Whether the times of a file are from the clock of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Ours,
    /// A file server's: its times may be hours off and prove nothing.
    Foreign,
}

/// A file that nobody said is closed is complete when it stood still for `settle`: either it was seen unchanged for so
/// long, or its times say so. Times in the future prove nothing.
pub fn is_settled(look: &Look, unchanged_since: Timestamp, now: Timestamp, settle: Duration, clock: Clock) -> bool {
    let seen_still = now >= unchanged_since && now.since(unchanged_since) >= settle;
    let old_enough = clock == Clock::Ours && now >= look.quiet_since && now.since(look.quiet_since) >= settle;
    seen_still || old_enough
}

/// A complete file with its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    pub name: String,
    pub look: Look,
    /// Eight hexadecimal digits.
    pub adler32: String,
}

/// What was last published under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub size: u64,
    pub adler32: String,
    pub modified: Timestamp,
    pub inode: u64,
    /// 1 for the first content under this name.
    pub revision: i64,
    pub event: Uuid,
}

impl Published {
    /// Whether a look at the file shows that it is still what was published, without reading it.
    pub fn is_still(&self, look: &Look) -> bool {
        self.size == look.size && self.modified == look.modified && self.inode == look.inode
    }
}

/// What a complete file means, given what was published under its name before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The same content again (touched, written anew, moved away and back).
    None,
    First,
    /// Another content under the same name.
    Replaces {
        event: Uuid,
        size: u64,
        adler32: String,
        revision: i64,
    },
}

/// Compares by size and checksum: the same content under the same name is published once.
pub fn news(before: Option<&Published>, file: &Complete) -> News {
    match before {
        None => News::First,
        Some(p) if p.size == file.look.size && p.adler32 == file.adler32 => News::None,
        Some(p) => News::Replaces { event: p.event, size: p.size, adler32: p.adler32.clone(), revision: p.revision },
    }
}

/// The data of `org.dte.events.file.created`.
#[derive(Clone, Debug, Serialize)]
pub struct FileCreated<'a> {
    pub watch: &'a str,
    /// Who declared the watch.
    pub owner: &'a str,
    pub path: String,
    pub name: &'a str,
    pub size: u64,
    pub adler32: &'a str,
    pub modified: Timestamp,
    /// The same for the same content under the same name in the same watch, whenever it is seen.
    pub identity: Uuid,
    /// What this content takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaced>,
}

/// The earlier content of a changed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replaced {
    pub event: Uuid,
    pub size: u64,
    pub adler32: String,
}

/// The identity of a file's content under its name.
pub fn identity(watch: &str, file: &Complete) -> Uuid {
    derived_id(&["file", watch, &file.name, &file.look.size.to_string(), &file.adler32])
}

/// The event's id: derived, so that a publication that is tried again is the same one. `incarnation` tells a watch from
/// an earlier one of the same name.
pub fn event_id(incarnation: Uuid, file: &Complete, revision: i64) -> Uuid {
    derived_id(&["file.created", &incarnation.to_string(), &file.name, &file.adler32, &revision.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(size: u64, modified: i64) -> Look {
        let at = Timestamp::from_seconds(modified);
        Look { size, modified: at, quiet_since: at, inode: 7 }
    }

    fn complete(size: u64, adler32: &str) -> Complete {
        Complete { name: "a.csv".into(), look: look(size, 5), adler32: adler32.into() }
    }

    #[test]
    fn settling() {
        let settle = Duration::from_secs(10);
        let now = Timestamp::from_seconds(1_000);
        assert!(is_settled(&look(1, 990), now, now, settle, Clock::Ours), "old by its own times");
        assert!(!is_settled(&look(1, 995), now, now, settle, Clock::Ours), "young, first seen now");
        assert!(is_settled(&look(1, 995), Timestamp::from_seconds(990), now, settle, Clock::Ours), "seen still");
        assert!(!is_settled(&look(1, 5_000), now, now, settle, Clock::Ours), "a clock ahead proves nothing");
        assert!(
            is_settled(&look(1, 5_000), Timestamp::from_seconds(900), now, settle, Clock::Ours),
            "but standing still does"
        );
        assert!(
            !is_settled(&look(1, 5_000), Timestamp::from_seconds(1_100), now, settle, Clock::Ours),
            "our clock went back"
        );
        assert!(!is_settled(&look(1, 5), now, now, settle, Clock::Foreign), "another clock may be hours off");
    }

    #[test]
    fn what_is_news() {
        let first = complete(3, "00000001");
        assert_eq!(news(None, &first), News::First);
        let before = Published {
            size: 3,
            adler32: "00000001".into(),
            modified: Timestamp::from_seconds(4),
            inode: 7,
            revision: 1,
            event: event_id(Uuid::nil(), &first, 1),
        };
        assert_eq!(news(Some(&before), &first), News::None);
        assert!(!before.is_still(&first.look), "touched: has to be read to know");
        let changed = complete(3, "00000002");
        assert!(matches!(news(Some(&before), &changed), News::Replaces { revision: 1, .. }));
    }

    #[test]
    fn identities() {
        let (a, b) = (complete(3, "00000001"), complete(3, "00000002"));
        assert_eq!(identity("w", &a), identity("w", &a));
        assert_ne!(identity("w", &a), identity("w", &b));
        assert_ne!(identity("w", &a), identity("v", &a));
        assert_ne!(event_id(Uuid::nil(), &a, 1), event_id(Uuid::nil(), &a, 3), "content that came back is news again");
    }
}
