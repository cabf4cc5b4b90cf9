//! When a container's probes are due and what follows from them. No processes here, only time.

use std::time::{Duration, Instant};

use crate::pod::{Action, Probe, Probes};

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

/// What a probe's answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has started.
    Up,
    Ready(bool),
    /// It shall be ended.
    Dead,
}

struct Check {
    kind: Kind,
    probe: Probe,
    due: Instant,
    /// One answer at a time.
    asked: bool,
    good: u32,
    bad: u32,
}

/// The probes of one run of a container.
pub struct Checks {
    list: Vec<Check>,
    pub is_up: bool,
    pub is_ready: bool,
}

impl Checks {
    pub fn begin(probes: &Probes, now: Instant) -> Checks {
        let check = |kind, probe: &Option<Probe>| {
            probe.clone().map(|probe| Check {
                kind,
                due: now + Duration::from_secs(probe.initial_delay_seconds),
                probe,
                asked: false,
                good: 0,
                bad: 0,
            })
        };
        let list = [
            check(Kind::Startup, &probes.startup),
            check(Kind::Liveness, &probes.liveness),
            check(Kind::Readiness, &probes.readiness),
        ];
        Checks {
            list: list.into_iter().flatten().collect(),
            is_up: probes.startup.is_none(),
            is_ready: probes.startup.is_none() && probes.readiness.is_none(),
        }
    }

    /// When the next question is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.open().map(|check| check.due).min()
    }

    fn open(&self) -> impl Iterator<Item = &Check> {
        self.list.iter().filter(|check| !check.asked && self.is_up != (check.kind == Kind::Startup))
    }

    /// Questions that are due: which, what to do, and how long that may take.
    pub fn ask(&mut self, now: Instant) -> Vec<(Kind, Action, Duration)> {
        let due: Vec<Kind> = self.open().filter(|check| check.due <= now).map(|check| check.kind).collect();
        let mut asked = Vec::with_capacity(due.len());
        for check in self.list.iter_mut().filter(|check| due.contains(&check.kind)) {
            check.asked = true;
            check.due = now + Duration::from_secs(check.probe.period_seconds);
            asked.push((check.kind, check.probe.action.clone(), Duration::from_secs(check.probe.timeout_seconds)));
        }
        asked
    }

    /// Takes an answer; says what changes.
    pub fn answer(&mut self, kind: Kind, is_good: bool) -> Option<Verdict> {
        let has_readiness = self.list.iter().any(|check| check.kind == Kind::Readiness);
        let check = self.list.iter_mut().find(|check| check.kind == kind)?;
        check.asked = false;
        (check.good, check.bad) = if is_good { (check.good + 1, 0) } else { (0, check.bad + 1) };
        let (good, bad) = (check.good >= check.probe.success_threshold, check.bad >= check.probe.failure_threshold);
        match kind {
            Kind::Startup if good && !self.is_up => {
                self.is_up = true;
                self.is_ready = !has_readiness;
                Some(Verdict::Up)
            }
            Kind::Startup | Kind::Liveness if bad => Some(Verdict::Dead),
            Kind::Readiness if good != self.is_ready && (good || bad) => {
                self.is_ready = good;
                Some(Verdict::Ready(good))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(failures: u32, successes: u32) -> Option<Probe> {
        Some(Probe {
            action: Action::Sleep { seconds: 0 },
            initial_delay_seconds: 2,
            period_seconds: 10,
            timeout_seconds: 1,
            success_threshold: successes,
            failure_threshold: failures,
        })
    }

    #[test]
    fn startup_gates_the_others() {
        let now = Instant::now();
        let probes = Probes { startup: probe(2, 1), liveness: probe(1, 1), readiness: probe(1, 2) };
        let mut checks = Checks::begin(&probes, now);
        assert!(checks.ask(now).is_empty() && !checks.is_ready);
        let later = now + Duration::from_secs(2);
        let kinds = |asked: Vec<(Kind, Action, Duration)>| asked.into_iter().map(|(kind, ..)| kind).collect::<Vec<_>>();
        assert_eq!(kinds(checks.ask(later)), [Kind::Startup]);
        assert!(checks.ask(later + Duration::from_secs(60)).is_empty(), "one answer at a time");
        assert_eq!(checks.answer(Kind::Startup, false), None);
        assert_eq!(checks.next_due(), Some(later + Duration::from_secs(10)));
        assert_eq!(checks.answer(Kind::Startup, true), Some(Verdict::Up));
        assert!(!checks.is_ready);
        assert_eq!(kinds(checks.ask(later)), [Kind::Liveness, Kind::Readiness]);
        assert_eq!(checks.answer(Kind::Readiness, true), None);
        assert_eq!(checks.answer(Kind::Readiness, true), Some(Verdict::Ready(true)));
        assert_eq!(checks.answer(Kind::Readiness, false), Some(Verdict::Ready(false)));
        assert_eq!(checks.answer(Kind::Liveness, false), Some(Verdict::Dead));
    }

    #[test]
    fn without_probes_it_is_ready_at_once() {
        let checks = Checks::begin(&Probes::default(), Instant::now());
        assert!(checks.is_up && checks.is_ready && checks.next_due().is_none());
    }
}
