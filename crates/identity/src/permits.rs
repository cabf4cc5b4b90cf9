//! What was permitted, counted: one record for each subject, action, object prefix and minute, however many requests there
//! were. Permitting writes nothing; a background task puts the sums into the audit chain.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use dte_base::time::Timestamp;
use http::Method;
use parking_lot::Mutex;
use serde_json::json;

use crate::audit::Entry;
use crate::model::principal::Principal;

/// Sums that are kept until they are written; what does not fit is counted without its name.
const MOST: usize = 8_192;
/// Of these, so many for one subject; what else the subject does is summed for each service.
const MOST_OF_ONE: usize = 512;
/// Components of a path that are kept: enough to tell an area or a scope, too few to tell single objects.
const OBJECT_DEPTH: usize = 2;
/// Paths come from outside: only so much of them is kept.
const LONGEST_OBJECT: usize = 256;

/// One sum.
#[derive(Clone, Debug)]
struct Sum {
    minute: i64,
    issuer: String,
    subject: String,
    client_id: Option<String>,
    acting: Option<String>,
    service: &'static str,
    method: String,
    route: String,
    object: String,
    count: u64,
}

#[derive(Default)]
struct Sums {
    /// By a keyed hash of what makes a sum its own, so that counting needs no copy of the names.
    rows: HashMap<u128, Sum>,
    /// How many rows each subject has, by a keyed hash of it.
    of_one: HashMap<u128, usize>,
    unnamed: u64,
}

/// Counts permits.
#[derive(Default)]
pub(crate) struct Permits {
    sums: Mutex<Sums>,
    keys: (RandomState, RandomState),
}

/// What was taken out to be written.
pub(crate) struct Taken {
    rows: Vec<(u128, Sum)>,
    unnamed: u64,
}

impl Permits {
    pub(crate) fn count(
        &self,
        who: &Principal,
        service: &'static str,
        method: &Method,
        route: &str,
        path: &str,
        now: Timestamp,
    ) {
        let minute = now.as_seconds().div_euclid(60);
        let object = prefix(path);
        let what =
            (&who.issuer, &who.subject, &who.client_id, &who.acting, service, method.as_str(), route, object, minute);
        let key = self.key(&what);
        let one = self.key(&(&who.issuer, &who.subject));
        let mut sums = self.sums.lock();
        let Sums { rows, of_one, unnamed } = &mut *sums;
        if let Some(sum) = rows.get_mut(&key) {
            sum.count += 1;
            return;
        }
        // What one does in too many ways is summed for each service, so that nobody can hide what others do, nor who it was.
        let own = of_one.get(&one).copied().unwrap_or(0);
        let is_too_much = own >= MOST_OF_ONE || rows.len() >= MOST;
        let (key, method, route, object) = if is_too_much {
            (self.key(&(&who.issuer, &who.subject, service, minute, "many")), "*", "*", "*")
        } else {
            (key, method.as_str(), route, object)
        };
        if let Some(sum) = rows.get_mut(&key) {
            sum.count += 1;
        } else if rows.len() < 2 * MOST {
            *of_one.entry(one).or_default() += 1;
            let sum = Sum {
                minute,
                issuer: who.issuer.clone(),
                subject: who.subject.clone(),
                client_id: who.client_id.clone(),
                acting: who.acting.clone(),
                service,
                method: method.to_owned(),
                route: route.to_owned(),
                object: object.to_owned(),
                count: 1,
            };
            rows.insert(key, sum);
        } else {
            *unnamed += 1;
        }
    }

    fn key(&self, what: &impl Hash) -> u128 {
        u128::from(self.keys.0.hash_one(what)) << 64 | u128::from(self.keys.1.hash_one(what))
    }

    /// Takes all out, in the order of minutes, in parts of at most `most`.
    pub(crate) fn take(&self, most: usize) -> Vec<Taken> {
        let Sums { rows, unnamed, .. } = std::mem::take(&mut *self.sums.lock());
        let mut rows: Vec<(u128, Sum)> = rows.into_iter().collect();
        rows.sort_by(|(_, a), (_, b)| {
            (a.minute, &a.subject, &a.route, &a.object).cmp(&(b.minute, &b.subject, &b.route, &b.object))
        });
        let mut parts: Vec<Taken> = rows.chunks(most).map(|rows| Taken { rows: rows.to_vec(), unnamed: 0 }).collect();
        if unnamed > 0 {
            parts.push(Taken { rows: Vec::new(), unnamed });
        }
        parts
    }

    /// Puts back what could not be written.
    pub(crate) fn put_back(&self, taken: Taken) {
        let mut sums = self.sums.lock();
        sums.unnamed += taken.unnamed;
        for (key, sum) in taken.rows {
            if let Some(known) = sums.rows.get_mut(&key) {
                known.count += sum.count;
            } else if sums.rows.len() < 2 * MOST {
                sums.rows.insert(key, sum);
            } else {
                sums.unnamed += sum.count;
            }
        }
    }
}

impl Taken {
    /// The audit records.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let at = Timestamp::now();
        let mut entries: Vec<Entry> = self.rows.iter().map(|(_, sum)| sum.entry(at)).collect();
        if self.unnamed > 0 {
            let body =
                json!({"kind": "permits", "count": self.unnamed, "why": "more kinds of permits than are kept apart"});
            entries.push(Entry { at, subject: None, body });
        }
        entries
    }
}

impl Sum {
    fn entry(&self, at: Timestamp) -> Entry {
        let body = json!({
            "kind": "permits", "minute": Timestamp::from_seconds(self.minute * 60), "issuer": self.issuer,
            "subject": self.subject, "client_id": self.client_id, "acting": self.acting, "service": self.service,
            "method": self.method, "route": self.route, "object": self.object, "count": self.count,
        });
        Entry { at, subject: Some(self.subject.clone()), body }
    }
}

/// The first components of a path.
fn prefix(path: &str) -> &str {
    let end = path.match_indices('/').nth(OBJECT_DEPTH + usize::from(path.starts_with('/')) - 1).map(|(at, _)| at);
    let kept = &path[..end.unwrap_or(path.len())];
    let cut = (0..=LONGEST_OBJECT.min(kept.len())).rev().find(|at| kept.is_char_boundary(*at));
    &kept[..cut.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::principal::{Identified, Standing};
    use crate::model::scope::Scopes;

    fn somebody(subject: &str) -> Principal {
        Principal::new(Identified {
            issuer: "https://iss".to_owned(),
            subject: subject.to_owned(),
            client_id: None,
            acting: None,
            scopes: Scopes::default(),
            granted: Scopes::default(),
            groups: std::sync::Arc::default(),
            vo: None,
            token_id: None,
            expires: Timestamp::EPOCH,
            issued: None,
            is_foreign: false,
            standing: Standing::Guest,
            name: subject.to_owned(),
        })
    }

    #[test]
    fn prefixes() {
        for (path, kept) in [
            ("/", "/"),
            ("", ""),
            ("/a", "/a"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b"),
            ("/home/alice/x/y", "/home/alice"),
            ("//", "//"),
        ] {
            assert_eq!(prefix(path), kept, "{path}");
        }
        assert_eq!(prefix(&"ü".repeat(1_000)).len(), LONGEST_OBJECT);
    }

    #[test]
    fn one_sum_for_each_subject_action_prefix_and_minute() {
        let permits = Permits::default();
        let (alice, bob) = (somebody("alice"), somebody("bob"));
        let at = Timestamp::from_seconds;
        for second in 0..60 {
            permits.count(&alice, "edge", &Method::GET, "/{*path}", &format!("/home/alice/{second}"), at(second));
        }
        permits.count(&alice, "edge", &Method::GET, "/{*path}", "/home/alice/0", at(60));
        permits.count(&alice, "edge", &Method::PUT, "/{*path}", "/home/alice/0", at(0));
        permits.count(&alice, "edge", &Method::GET, "/{*path}", "/local/x", at(0));
        permits.count(&bob, "edge", &Method::GET, "/{*path}", "/home/alice/0", at(0));
        let taken = permits.take(2);
        let counts = |taken: &[Taken]| {
            taken.iter().flat_map(Taken::entries).filter_map(|entry| entry.body["count"].as_u64()).collect::<Vec<_>>()
        };
        assert_eq!((taken.len(), counts(&taken).len(), counts(&taken).iter().sum::<u64>()), (3, 5, 64));
        // What could not be written is not lost, and is added to what came meanwhile.
        permits.count(&bob, "edge", &Method::GET, "/{*path}", "/home/alice/1", at(1));
        taken.into_iter().for_each(|part| permits.put_back(part));
        assert_eq!(counts(&permits.take(100)).iter().sum::<u64>(), 65);
        assert!(permits.take(100).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let permits = Permits::default();
        let alice = somebody("alice");
        for number in 0..MOST + 10 {
            permits.count(&alice, "edge", &Method::GET, "/{*path}", &format!("/{number}/x"), Timestamp::EPOCH);
        }
        permits.count(&somebody("bob"), "edge", &Method::GET, "/{*path}", "/bob/x", Timestamp::EPOCH);
        let entries: Vec<Entry> = permits.take(10_000).iter().flat_map(Taken::entries).collect();
        assert_eq!(entries.len(), MOST_OF_ONE + 2, "one sum for the rest, and bob's own");
        assert!(entries.iter().all(|entry| entry.subject.is_some()), "nobody hides behind many requests");
        let sum: u64 = entries.iter().filter_map(|entry| entry.body["count"].as_u64()).sum();
        assert_eq!(sum, MOST as u64 + 11);
    }
}
