//! Which files of a watched folder wait to be complete, and which are ready to be read, in the order of their completion.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dte_base::time::Timestamp;

use super::file::{Clock, Look, is_settled};

/// The state of one folder's files on their way. Knows nothing of the disk: it is told what was seen.
#[derive(Debug)]
pub struct Tracker {
    settle: Duration,
    clock: Clock,
    waiting: BTreeMap<String, Waiting>,
    ready: VecDeque<String>,
    is_ready: BTreeSet<String>,
}

#[derive(Debug)]
struct Waiting {
    look: Look,
    unchanged_since: Timestamp,
    /// Somebody writes to it and will close it: only the close makes it complete, however long that takes.
    is_written: bool,
    /// Reading it failed; not before this time again.
    not_before: Timestamp,
}

impl Tracker {
    pub fn new(settle: Duration, clock: Clock) -> Self {
        Tracker { settle, clock, waiting: BTreeMap::new(), ready: VecDeque::new(), is_ready: BTreeSet::new() }
    }

    /// The writer closed it, or it was moved in whole.
    pub fn completed(&mut self, name: &str) {
        self.waiting.remove(name);
        self.make_ready(name);
    }

    /// Somebody writes to it.
    pub fn written(&mut self, name: &str, now: Timestamp) {
        self.is_ready.remove(name);
        let nothing = Look { size: 0, modified: now, quiet_since: now, inode: 0 };
        let fresh = Waiting { look: nothing, unchanged_since: now, is_written: true, not_before: now };
        self.waiting.entry(name.to_owned()).or_insert(fresh).is_written = true;
    }

    /// It was seen as it is, and nobody told whether it is complete.
    pub fn seen(&mut self, name: &str, look: Look, now: Timestamp) {
        if self.is_ready.contains(name) {
            return;
        }
        match self.waiting.get_mut(name) {
            Some(known) if known.look.same_content(&look) => known.look = look,
            Some(known) => {
                known.look = look;
                known.unchanged_since = now;
            }
            None => {
                let fresh = Waiting { look, unchanged_since: now, is_written: false, not_before: now };
                self.waiting.insert(name.to_owned(), fresh);
            }
        }
    }

    /// Reading it failed or it changed under our hands: it has to stand still again, and is not tried before `retry` passed.
    pub fn postpone(&mut self, name: &str, look: Look, now: Timestamp, retry: Duration) {
        self.is_ready.remove(name);
        let waiting = Waiting { look, unchanged_since: now, is_written: false, not_before: now + retry };
        self.waiting.insert(name.to_owned(), waiting);
    }

    /// It is not there any more, or not a plain file.
    pub fn gone(&mut self, name: &str) {
        self.waiting.remove(name);
        self.is_ready.remove(name);
    }

    /// Notices were lost, a close perhaps among them: writers are believed again when they write again.
    pub fn forget_writers(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.is_written = false;
        }
    }

    /// Names that have to be looked at again to know whether they stand still, at `now`.
    pub fn to_look_at(&self, now: Timestamp) -> Vec<String> {
        let due = |(_, w): &(&String, &Waiting)| !w.is_written && self.due(w) <= now;
        self.waiting.iter().filter(due).map(|(name, _)| name.clone()).collect()
    }

    /// Moves what has settled to the ready ones, in the order of names.
    pub fn settle(&mut self, now: Timestamp) {
        let settled = |w: &Waiting| {
            !w.is_written && now >= w.not_before && is_settled(&w.look, w.unchanged_since, now, self.settle, self.clock)
        };
        let names: Vec<String> =
            self.waiting.iter().filter(|(_, w)| settled(w)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.waiting.remove(&name);
            self.make_ready(&name);
        }
    }

    /// When something may have settled next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.values().filter(|w| !w.is_written).map(|w| self.due(w)).min()
    }

    fn due(&self, waiting: &Waiting) -> Timestamp {
        let still = waiting.unchanged_since + self.settle;
        let settled = match self.clock {
            Clock::Ours => still.min(waiting.look.quiet_since + self.settle),
            Clock::Foreign => still,
        };
        settled.max(waiting.not_before)
    }

    /// Up to `count` ready names, oldest first. They are forgotten here.
    pub fn take_ready(&mut self, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(name) = self.ready.pop_front()
        {
            if self.is_ready.remove(&name) {
                taken.push(name);
            }
        }
        taken
    }

    /// Makes names ready again, before all others and in their order.
    pub fn put_back(&mut self, names: Vec<String>) {
        for name in names.into_iter().rev() {
            if self.is_ready.insert(name.clone()) {
                self.ready.push_front(name);
            }
        }
    }

    pub fn has_ready(&self) -> bool {
        !self.is_ready.is_empty()
    }

    fn make_ready(&mut self, name: &str) {
        if self.is_ready.insert(name.to_owned()) {
            self.ready.push_back(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn look(size: u64, changed: i64) -> Look {
        Look { size, modified: at(changed), quiet_since: at(changed), inode: 1 }
    }

    fn tracker() -> Tracker {
        Tracker::new(Duration::from_secs(10), Clock::Ours)
    }

    #[test]
    fn closing_makes_ready_in_order_and_once() {
        let mut t = tracker();
        for name in ["b", "a", "b"] {
            t.completed(name);
        }
        assert_eq!(t.take_ready(10), ["b", "a"]);
        assert!(!t.has_ready());
    }

    #[test]
    fn a_writer_takes_it_back_until_it_closes() {
        let mut t = tracker();
        t.completed("a");
        t.written("a", at(100));
        assert!(t.take_ready(10).is_empty());
        t.settle(at(1_000_000));
        assert!(!t.has_ready(), "an open file never settles");
        assert_eq!(t.next_due(), None);
        t.completed("a");
        assert_eq!(t.take_ready(10), ["a"]);
        t.written("b", at(100));
        t.forget_writers();
        t.settle(at(110));
        assert_eq!(t.take_ready(10), ["b"], "its close may have been among lost notices");
    }

    #[test]
    fn old_files_settle_at_once_in_name_order() {
        let mut t = tracker();
        for name in ["c", "a", "b"] {
            t.seen(name, look(1, 5), at(100));
        }
        t.seen("young", look(1, 95), at(100));
        t.settle(at(100));
        assert_eq!(t.take_ready(2), ["a", "b"]);
        assert_eq!(t.take_ready(2), ["c"]);
        assert_eq!(t.next_due(), Some(at(105)));
        t.seen("young", look(2, 104), at(105));
        t.settle(at(105));
        assert!(!t.has_ready(), "it grew");
        assert_eq!(t.to_look_at(at(114)), ["young"]);
        t.settle(at(114));
        assert_eq!(t.take_ready(2), ["young"]);
    }

    #[test]
    fn what_could_not_be_read_waits() {
        let mut t = tracker();
        t.completed("a");
        assert_eq!(t.take_ready(1), ["a"]);
        t.postpone("a", look(1, 5), at(100), Duration::from_secs(60));
        t.settle(at(150));
        assert!(!t.has_ready());
        t.settle(at(160));
        assert_eq!(t.take_ready(1), ["a"]);
        t.seen("a", look(1, 5), at(160));
        t.gone("a");
        assert_eq!(t.next_due(), None);
    }
}
