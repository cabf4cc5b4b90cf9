//! Pods that ask for the same are gathered for a moment, and the first of them hands all over as one array.
//!
//! What each would be in it is noted before, so whoever finds the pods after a kill finds the array's tasks too. A pod whose
//! array was not taken, or of whose array nothing is known any more, goes on by itself, and is never gathered again: an array that is
//! refused each time would keep out those that there is room for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::index::Record;
use super::site::Inner;
use super::submit::Handed;
use super::system::{JobName, Refusal};
use crate::place::{ARRAY_SCRIPT, Order, PlaceError};
use crate::pod::PodPlan;

/// How long the first waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// Tasks of one array. Slurm's own default lets their numbers go to 1000.
const MOST_TASKS: usize = 1_000;

/// The pods that wait to be handed over together, by what they have in common.
#[derive(Default)]
pub(super) struct Gathering(Mutex<HashMap<String, Vec<Waiting>>>);

struct Waiting {
    plan: PodPlan,
    record: Record,
    answer: oneshot::Sender<Answer>,
}

#[derive(Clone)]
enum Answer {
    Handed(Handed),
    /// It is to go by itself.
    Alone,
}

/// Says that somebody will hand them over, until dropped.
struct Lead<'a> {
    gathering: &'a Gathering,
    /// None: they have been taken.
    common: Option<&'a str>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Who still waits hears that nobody will, and comes again.
        self.take();
    }
}

impl Gathering {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins those that wait. The first leads.
    fn join<'a>(&'a self, common: &'a str, one: Waiting) -> Option<Lead<'a>> {
        let mut all = self.all();
        let is_first = !all.contains_key(common);
        all.entry(common.to_owned()).or_default().push(one);
        // Made only for the first: whoever drops one sends those away that wait.
        is_first.then(|| Lead { gathering: self, common: Some(common) })
    }
}

impl Lead<'_> {
    fn take(&mut self) -> Vec<Waiting> {
        self.common.take().and_then(|common| self.gathering.all().remove(common)).unwrap_or_default()
    }
}

impl Inner {
    /// Hands the arranged pod over with others that have the same in common. `None`: there are no others, or they are not taken
    /// together.
    pub(super) async fn hand_over_together(&self, common: String, plan: &PodPlan, record: &Record) -> Option<Handed> {
        let (answer, answered) = oneshot::channel();
        let one = Waiting { plan: plan.clone(), record: record.clone(), answer };
        if let Some(mut lead) = self.gathering.join(&common, one) {
            tokio::time::sleep(GATHER).await;
            let mut rest = lead.take();
            while !rest.is_empty() {
                let later = rest.split_off(rest.len().min(MOST_TASKS));
                self.hand_over_array(std::mem::replace(&mut rest, later)).await;
            }
        }
        match answered.await {
            Ok(Answer::Handed(handed)) => Some(handed),
            Ok(Answer::Alone) => None,
            Err(_) => Some(Err(PlaceError::Unreachable("the engine stopped while pods were gathered".into()))),
        }
    }

    async fn hand_over_array(&self, mut pods: Vec<Waiting>) {
        let answer = if pods.len() < 2 {
            Answer::Alone
        } else {
            let array = Uuid::now_v7();
            match self.submit_array(array, &mut pods).await {
                Ok(Ok(number)) => {
                    tracing::debug!(%array, number, tasks = pods.len(), site = self.settings.name, "an array of pods");
                    return self.note_array(number, pods).await;
                }
                // Nothing of it is there. Each hears what is wrong with itself, and those that there is room for get in.
                Ok(Err(Refusal::Never(why) | Refusal::Later(why))) => {
                    tracing::info!(
                        why,
                        site = self.settings.name,
                        "pods are not taken as an array: each goes by itself"
                    );
                    Answer::Alone
                }
                Ok(Err(refusal)) => Answer::Handed(Ok(Err(refusal))),
                Err(error) => Answer::Handed(Err(error)),
            }
        };
        for pod in pods {
            // Who does not listen any more comes again.
            drop(pod.answer.send(answer.clone()));
        }
    }

    /// The number of the array.
    async fn submit_array(&self, array: Uuid, pods: &mut [Waiting]) -> Result<Result<u64, Refusal>, PlaceError> {
        let folders: Vec<PathBuf> = pods.iter().map(|pod| self.place.run_folder(pod.plan.uid)).collect();
        let of_pods: Vec<_> =
            pods.iter().zip(&folders).map(|(pod, folder)| (&pod.plan, self.job_place(&pod.plan, folder))).collect();
        let description = match self.system.describe_array(array, &of_pods) {
            Ok(description) => description,
            Err(why) => return Ok(Err(Refusal::Never(why))),
        };
        let (Some(first), Some(folder)) = (pods.first(), folders.first()) else {
            return Ok(Err(Refusal::Never("an array without tasks".into())));
        };
        let _turn = self.turn_to_submit().await?;
        // The array's script stands in the first pod's folder, beside that pod's own.
        self.place.ask(Order::ArrangeArray { uid: first.plan.uid }, description.into_bytes()).await?;
        for (task, pod) in (0..).zip(pods.iter_mut()) {
            pod.record.call(JobName::task(array, task));
            self.note_attempt(pod.plan.uid, &pod.record)?;
            tokio::task::yield_now().await;
        }
        Ok(self.system.submit(&folder.join(ARRAY_SCRIPT)).await)
    }

    async fn note_array(&self, number: u64, pods: Vec<Waiting>) {
        for pod in pods {
            let noted = self.note(pod.plan.uid, Record { job: Some(number), ..pod.record }).await;
            drop(pod.answer.send(Answer::Handed(noted.map(Ok))));
        }
    }
}
