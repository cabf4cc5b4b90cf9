//! Which files the movers begin next: the rules of the database, the clocks of this process, and the one decision function.

use std::sync::{Arc, Mutex, PoisonError};

use dte_store::{Error, Lane as Waiting, Tx};

use crate::model::clocks::Clocks;
use crate::model::lane::Lane;
use crate::model::rules::Rules;
use crate::model::schedule::{Decision, Line, decide, explained};
use crate::store::rules;

/// What is kept between decisions.
#[derive(Default)]
pub struct Planner {
    rules: Mutex<Option<(i64, Arc<Rules>)>>,
    clocks: Mutex<Clocks>,
    /// The clocks after a decision that does not hold yet: its transaction may be undone, and run again.
    decided: Mutex<Option<Clocks>>,
}

impl Planner {
    /// The rules as they are now; read again only after a change.
    pub fn rules(&self, tx: &mut Tx<'_>, per_area: usize) -> Result<Arc<Rules>, Error> {
        let version = rules::version(tx)?;
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, rules)) = known.as_ref()
            && *of == version
        {
            return Ok(Arc::clone(rules));
        }
        let read = Arc::new(rules::all(tx, per_area)?);
        *known = Some((version, Arc::clone(&read)));
        Ok(read)
    }

    /// How many files of each lane begin.
    pub fn plan(&self, tx: &mut Tx<'_>, lanes: &[Waiting], free: usize, per_area: usize) -> Result<Vec<usize>, Error> {
        let rules = self.rules(tx, per_area)?;
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let begin = decide(&rules, &lines(lanes), &mut clocks, free);
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = Some(clocks);
        Ok(begin)
    }

    /// The last plan was carried out.
    pub fn claimed(&self) {
        if let Some(clocks) = self.decided.lock().unwrap_or_else(PoisonError::into_inner).take() {
            *self.clocks.lock().unwrap_or_else(PoisonError::into_inner) = clocks;
        }
    }

    /// What would be decided about `free` places now, and why. Changes nothing.
    pub fn preview(&self, rules: &Rules, lanes: &[Waiting], free: usize) -> Decision {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        explained(rules, &lines(lanes), &mut clocks, free)
    }
}

fn lines(lanes: &[Waiting]) -> Vec<Line> {
    let line =
        |lane: &Waiting| Line { lane: Lane::read(&lane.name), running: lane.running, due: lane.due, first: lane.first };
    lanes.iter().map(line).collect()
}
