//! Places that are given in fair order: whoever has the fewest of them gets the next one that is free, however many others wait.
//!
//! A person may have thousands of pods that wait. Only a few of them stand in line, so that what waits takes little room; the
//! others come again later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dte_identity::UserRef;
use tokio::sync::oneshot;

/// Pods of one person that stand in line.
const LINE: usize = 32;

/// Places of one kind, for instance those of a site.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<State>>);

type Person = (String, String);

struct State {
    free: usize,
    people: BTreeMap<Person, Waiting>,
    /// How often somebody got a place.
    given: u64,
}

#[derive(Default)]
struct Waiting {
    /// Places that the person has.
    has: usize,
    /// When the person got the last one, counted in places given.
    last: u64,
    line: VecDeque<oneshot::Sender<Turn>>,
}

/// A place, given back when dropped.
pub struct Turn {
    turns: Turns,
    /// None: it never left our hands.
    person: Option<Person>,
}

/// A stand in the line: resolves to the place. Dropping it leaves the line.
pub type InLine = oneshot::Receiver<Turn>;

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(person) = self.person.take() {
            self.turns.give_back(&person);
        }
    }
}

impl Turns {
    pub fn new(places: usize) -> Turns {
        Turns(Arc::new(Mutex::new(State { free: places, people: BTreeMap::new(), given: 0 })))
    }

    /// A place, if one is free. (Nobody is in line then.)
    pub fn take(&self, owner: &UserRef) -> Option<Turn> {
        let mut state = self.state();
        if state.free == 0 {
            return None;
        }
        let person = person(owner);
        state.note_given(&person);
        Some(Turn { turns: self.clone(), person: Some(person) })
    }

    /// Stands in line for a place. `None`: so many pods of this person do already that this one has to come again.
    pub fn line_up(&self, owner: &UserRef) -> Option<InLine> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        let waiting = state.people.entry(person(owner)).or_default();
        waiting.line.retain(|one| !one.is_closed());
        if waiting.line.len() >= LINE {
            return None;
        }
        waiting.line.push_back(sender);
        // One may have become free since it was asked for.
        self.hand_out(&mut state);
        Some(receiver)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, person: &Person) {
        let mut state = self.state();
        state.take_back(person);
        self.hand_out(&mut state);
    }

    fn hand_out(&self, state: &mut State) {
        while state.free > 0 {
            let Some((person, sender)) = state.next() else { return };
            state.note_given(&person);
            let turn = Turn { turns: self.clone(), person: Some(person.clone()) };
            if let Err(mut unwanted) = sender.send(turn) {
                // Its drop would wait for the lock that we hold.
                unwanted.person = None;
                state.take_back(&person);
            }
        }
    }
}

impl State {
    /// Who is next: of those in line the one with the fewest places, and of these the one who waited longest for one.
    fn next(&mut self) -> Option<(Person, oneshot::Sender<Turn>)> {
        for waiting in self.people.values_mut() {
            waiting.line.retain(|one| !one.is_closed());
        }
        self.people.retain(|_, waiting| waiting.has > 0 || !waiting.line.is_empty());
        let in_line = self.people.iter_mut().filter(|(_, waiting)| !waiting.line.is_empty());
        let (person, waiting) = in_line.min_by_key(|(_, waiting)| (waiting.has, waiting.last))?;
        Some((person.clone(), waiting.line.pop_front()?))
    }

    fn note_given(&mut self, person: &Person) {
        self.free -= 1;
        self.given += 1;
        let waiting = self.people.entry(person.clone()).or_default();
        waiting.has += 1;
        waiting.last = self.given;
    }

    fn take_back(&mut self, person: &Person) {
        self.free += 1;
        if let Some(waiting) = self.people.get_mut(person) {
            waiting.has = waiting.has.saturating_sub(1);
        }
    }
}

fn person(owner: &UserRef) -> Person {
    (owner.issuer.clone(), owner.subject.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserRef {
        UserRef { issuer: "i".into(), subject: name.into(), name: name.into() }
    }

    #[test]
    fn who_has_the_fewest_is_next() {
        let turns = Turns::new(2);
        let (anna, ben, cleo) = (user("anna"), user("ben"), user("cleo"));
        let mut first = turns.take(&anna).expect("free");
        let second = turns.take(&anna).expect("free");
        assert!(turns.take(&ben).is_none());
        let mut annas: Vec<InLine> = (0..LINE).map(|_| turns.line_up(&anna).expect("a stand")).collect();
        assert!(turns.line_up(&anna).is_none(), "the others come again");
        let (mut bens, mut cleos) = (turns.line_up(&ben).expect("a stand"), turns.line_up(&cleo).expect("a stand"));
        drop(second);
        let of_ben = bens.try_recv().expect("ben has none yet");
        assert!(cleos.try_recv().is_err() && annas[0].try_recv().is_err());
        drop(of_ben);
        let of_cleo = cleos.try_recv().expect("cleo has none yet");
        drop(of_cleo);
        let next = annas[0].try_recv().expect("nobody else waits");
        first.turns = turns.clone();
        drop((first, next));
        assert!(annas[1].try_recv().is_ok() && annas[2].try_recv().is_ok() && annas[3].try_recv().is_ok());
    }

    #[test]
    fn who_leaves_the_line_holds_nobody_up() {
        let turns = Turns::new(1);
        let (anna, ben) = (user("anna"), user("ben"));
        let held = turns.take(&anna).expect("free");
        let (gone, unread) = (turns.line_up(&ben).expect("a stand"), turns.line_up(&ben).expect("a stand"));
        let mut last = turns.line_up(&ben).expect("a stand");
        drop(gone);
        drop(held);
        // It has the place in its hands and goes without having looked.
        drop(unread);
        let place = last.try_recv().expect("the place came on");
        drop(place);
        assert!(turns.take(&anna).is_some());
    }
}
