//! Asks the other place how pods go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::tasks::Tasks;
use dte_protocol_interlink::{InterlinkError, PodStatus, RawPod};
use futures_util::future::join_all;
use http::StatusCode;
use uuid::Uuid;

use super::site::Inner;
use super::{logs, news};
use crate::site::SiteError;

/// Pods in one question.
const AT_ONCE: usize = 500;
/// Questions under way where each names one pod.
const BESIDE: usize = 8;
/// Answers with the first pod only are put down to a repeated answer for this many times of [`InterlinkConfig::settle`].
///
/// [`InterlinkConfig::settle`]: super::InterlinkConfig::settle
const PATIENCE: u32 = 3;

/// Asks until the engine stops.
pub async fn run(inner: Arc<Inner>, tasks: Tasks) {
    let mut manner = Manner::new(inner.config.together);
    let mut is_away = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(inner.config.every.0) => {}
            () = tasks.stopping() => return,
        }
        let pods = inner.unended();
        if pods.is_empty() {
            continue;
        }
        let outcome = tokio::select! {
            outcome = ask(&inner, &mut manner, &pods) => outcome,
            () = tasks.stopping() => return,
        };
        // A place that is away says nothing about its pods.
        match outcome {
            Ok(()) => is_away = false,
            Err(trouble) if !is_away => {
                tracing::warn!(site = inner.config.name, error = trouble.text, "a site does not tell how its pods go");
                is_away = true;
            }
            Err(_) => {}
        }
    }
}

/// A question without a good answer.
struct Trouble {
    /// The place answered, but badly.
    was_answered: bool,
    text: String,
}

impl From<SiteError> for Trouble {
    fn from(error: SiteError) -> Self {
        Trouble { was_answered: false, text: error.to_string() }
    }
}

/// Whether a question may name several pods.
struct Manner {
    together: Option<bool>,
    only_first_since: Option<Instant>,
}

impl Manner {
    fn new(together: Option<bool>) -> Self {
        Manner { together, only_first_since: None }
    }

    fn is_together(&self) -> bool {
        self.together.unwrap_or(true)
    }

    /// Some plugins look at the first pod of a question only, and some repeat their last answer for a while.
    fn notice(&mut self, asked: &[(Uuid, RawPod)], answered: &HashSet<Uuid>, settle: Duration) {
        if self.together.is_some() || asked.len() < 2 {
            return;
        }
        let only_first = answered.len() == 1 && answered.contains(&asked[0].0);
        if answered.len() > 1 {
            self.together = Some(true);
        } else if !only_first {
            self.only_first_since = None;
        } else if self.only_first_since.get_or_insert_with(Instant::now).elapsed() > settle * PATIENCE {
            self.together = Some(false);
        }
    }
}

async fn ask(inner: &Arc<Inner>, manner: &mut Manner, pods: &[(Uuid, RawPod)]) -> Result<(), Trouble> {
    if !manner.is_together() {
        return one_by_one(inner, pods).await;
    }
    for some in pods.chunks(AT_ONCE) {
        match question(inner, some).await {
            Ok(answered) => manner.notice(some, &answered, inner.config.settle.0),
            // Some plugins fail a question when they cannot say something of one of its pods.
            Err(trouble) if trouble.was_answered && some.len() > 1 => one_by_one(inner, some).await?,
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(())
}

/// What can be known is, whichever question fails.
async fn one_by_one(inner: &Arc<Inner>, pods: &[(Uuid, RawPod)]) -> Result<(), Trouble> {
    let mut failed = None;
    for some in pods.chunks(BESIDE) {
        let mut questions = Vec::with_capacity(some.len());
        for pod in some {
            questions.push(question(inner, std::slice::from_ref(pod)));
        }
        failed = failed.or(join_all(questions).await.into_iter().find_map(Result::err));
    }
    failed.map_or(Ok(()), Err)
}

/// Asks for these pods and takes in what is said of them; which of them something was said of.
async fn question(inner: &Arc<Inner>, pods: &[(Uuid, RawPod)]) -> Result<HashSet<Uuid>, Trouble> {
    let asked: Vec<RawPod> = pods.iter().map(|(_, pod)| pod.clone()).collect();
    let answer = match inner.client().await?.status(&asked).await {
        Ok(answer) => answer,
        Err(InterlinkError::Refused { status: StatusCode::NOT_FOUND, .. }) => Vec::new(),
        Err(error) => {
            return Err(Trouble {
                was_answered: matches!(error, InterlinkError::Refused { .. }),
                text: error.to_string(),
            });
        }
    };
    let mut said: HashMap<&str, &PodStatus> = answer.iter().map(|status| (status.uid.as_str(), status)).collect();
    let mut answered = HashSet::new();
    for (uid, pod) in pods {
        let Some(status) = said.remove(pod.uid()) else { continue };
        answered.insert(*uid);
        let Some(report) = news::report_of(*uid, pod, status) else { continue };
        if let Err(error) = inner.noticed(*uid, &status.jid) {
            tracing::error!(%uid, %error, "that a pod was taken cannot be kept");
            continue;
        }
        if report.phase.is_terminal() {
            logs::keep(inner, *uid, pod).await;
        }
        if let Err(error) = inner.learn(*uid, report) {
            tracing::error!(%uid, %error, "how a pod ended cannot be kept");
        }
    }
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manners_are_found_out() {
        let pods: Vec<(Uuid, RawPod)> = (1..=2).map(|n| (Uuid::from_u128(n), RawPod::default())).collect();
        let first = HashSet::from([pods[0].0]);
        let both: HashSet<Uuid> = pods.iter().map(|(uid, _)| *uid).collect();
        let mut manner = Manner::new(None);
        manner.notice(&pods, &first, Duration::from_secs(9));
        assert!(manner.is_together(), "a repeated answer, perhaps");
        manner.notice(&pods, &both, Duration::from_secs(9));
        assert_eq!(manner.together, Some(true));
        let mut manner = Manner::new(None);
        manner.notice(&pods, &first, Duration::ZERO);
        std::thread::sleep(Duration::from_millis(1));
        manner.notice(&pods, &first, Duration::ZERO);
        assert_eq!(manner.together, Some(false));
    }
}
