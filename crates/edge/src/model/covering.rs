//! Which locks are shown of which resource in an answer, found once for the whole answer: there may be many of both.

use std::collections::HashMap;
use std::sync::Arc;

use dte_base::time::Timestamp;
use dte_protocol_webdav::path::ResourcePath;

use super::lock::Lock;

/// Of locks of a folder that hold for all that is in it, so many are shown at each member; the folder itself shows them all.
const MOST_INHERITED: usize = 3;

/// The locks of a resource and of its members, as places in the table.
#[derive(Default)]
pub struct Covering {
    table: Arc<[Lock]>,
    own: Vec<usize>,
    inherited: Vec<usize>,
    of_members: HashMap<String, Vec<usize>>,
}

impl Covering {
    pub fn new(table: Arc<[Lock]>, target: &ResourcePath, now: Timestamp) -> Covering {
        let mut found = Covering::default();
        for (at, lock) in table.iter().enumerate().filter(|(_, lock)| lock.expires > now) {
            if lock.covers(target) {
                found.own.push(at);
                if lock.is_deep && found.inherited.len() < MOST_INHERITED {
                    found.inherited.push(at);
                }
            } else if lock.path.components().len() == target.components().len() + 1
                && lock.path.is_within(target)
                && let Some(name) = lock.path.name()
            {
                found.of_members.entry(name.to_owned()).or_default().push(at);
            }
        }
        found.table = table;
        found
    }

    /// All that are in force for the resource.
    pub fn of_target(&self) -> Vec<&Lock> {
        self.at(self.own.iter())
    }

    /// A member's own, and some of those above it.
    pub fn of_member(&self, name: &str) -> Vec<&Lock> {
        self.at(self.of_members.get(name).into_iter().flatten().chain(&self.inherited))
    }

    fn at<'a>(&self, places: impl Iterator<Item = &'a usize>) -> Vec<&Lock> {
        places.filter_map(|at| self.table.get(*at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dte_identity::UserRef;
    use dte_protocol_webdav::lock::LockScope;

    #[test]
    fn of_a_folder_and_its_members() {
        let path = |text: &str| ResourcePath::from_plain(text).expect("path");
        let lock = |at: &str, is_deep, seconds| Lock {
            token: at.into(),
            path: path(at),
            is_folder: is_deep,
            is_deep,
            scope: LockScope::Shared,
            holder: UserRef { issuer: "us".into(), subject: "eva".into(), name: "eva".into() },
            owner: None,
            expires: Timestamp::from_seconds(seconds),
        };
        let mut table = vec![lock("/d/f", false, 9), lock("/d", false, 9), lock("/d/old", true, 1)];
        table.extend([lock("/d/e/deeper", true, 9), lock("/dd", true, 9)]);
        table.extend(vec![lock("/", true, 9); 5]);
        let found = Covering::new(table.into(), &path("/d/"), Timestamp::from_seconds(5));
        assert_eq!(found.of_target().len(), 6);
        assert_eq!(found.of_member("f").len(), 1 + MOST_INHERITED);
        assert_eq!(found.of_member("f")[0].token, "/d/f");
        for other in ["old", "e", "dd"] {
            assert_eq!(found.of_member(other).len(), MOST_INHERITED, "{other}");
        }
    }
}
