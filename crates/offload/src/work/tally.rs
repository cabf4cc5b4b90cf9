//! What each person has in pods that are alive. Counted in memory, so that accepting a pod costs no counting; the numbers begin
//! with those of the store, and where other processes share it they are read again every two seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dte_identity::UserRef;

use crate::model::quota::Amounts;
use crate::shared::Shared;
use crate::store;

/// How old the numbers may be, as far as other processes change them.
const READ_AGAIN: Duration = Duration::from_secs(2);

type Person = (String, String);

#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<HashMap<Person, Amounts>>>);

/// A pod that is being accepted. It is counted already, and no longer if this is dropped before it is kept.
pub struct Coming {
    tally: Tally,
    person: Person,
    amounts: Amounts,
    kept: bool,
    /// Pods that the person had before this one.
    pub before: u64,
}

impl Drop for Coming {
    fn drop(&mut self) {
        if !self.kept {
            self.tally.subtract(&self.person, self.amounts);
        }
    }
}

impl Coming {
    /// The store has it.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Tally {
    pub fn new(alive: Vec<(Person, Amounts)>) -> Tally {
        Tally(Arc::new(Mutex::new(alive.into_iter().collect())))
    }

    /// Takes note of a pod that is being accepted; or says why this person cannot have one more, if there is a limit.
    pub fn take(&self, owner: &UserRef, amounts: Amounts, most: Option<Amounts>) -> Result<Coming, String> {
        let person = (owner.issuer.clone(), owner.subject.clone());
        let mut all = self.all();
        let has = all.get(&person).copied().unwrap_or_default();
        if let Some(why) = most.and_then(|most| has.refusal(amounts, most)) {
            return Err(why);
        }
        all.insert(person.clone(), has.plus(amounts));
        drop(all);
        Ok(Coming { tally: self.clone(), person, amounts, kept: false, before: has.pods })
    }

    /// A pod has ended.
    pub fn ended(&self, owner: &UserRef, amounts: Amounts) {
        self.subtract(&(owner.issuer.clone(), owner.subject.clone()), amounts);
    }

    fn subtract(&self, person: &Person, amounts: Amounts) {
        let mut all = self.all();
        let Some(known) = all.get_mut(person) else { return };
        *known = known.minus(amounts);
        if known.pods == 0 {
            all.remove(person);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Person, Amounts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the numbers right where several processes share the store.
pub async fn read_again(shared: &Shared) {
    while shared.store.is_shared() {
        tokio::select! {
            () = tokio::time::sleep(READ_AGAIN) => {}
            () = shared.tasks.stopping() => return,
        }
        match store::alive(&shared.store).await {
            Ok(alive) => *shared.tally.all() = alive.into_iter().collect(),
            Err(error) => tracing::warn!(%error, "how many pods people have cannot be read now"),
        }
    }
}
