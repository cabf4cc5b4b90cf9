//! How many files a link is best given at once, found from what was measured. Pure and deterministic.
//!
//! It climbs: the number grows while more files at once bring more bytes a second, and goes back when they do not, when copies
//! fail, or when a storage's bandwidth is used up. What a number brought is remembered for a while only, so a link that changes
//! is explored anew. Throughput counts only while there are enough files to fill the number, else it says nothing of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::rules::Mode;

/// Percent of tries that succeed: below the first the number falls, unless it recovers and is above the second.
const LOW_SUCCESS: f64 = 97.0;
const BASE_SUCCESS: f64 = 96.0;
/// The weight of the newest measurement: in what is shown, and in what a number is known for.
const SHOWN_ALPHA: f64 = 0.1;
const LEVEL_ALPHA: f64 = 0.3;
/// Measurements before a number is judged.
const ENOUGH: u32 = 4;
/// Steps after which is forgotten what a number brought.
const FORGOTTEN: u64 = 240;
/// Less of the throughput than this was only chance.
const WORSE: f64 = 0.95;

/// What was measured of a link since the last step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Copies under way.
    pub active: u32,
    /// Files that wait.
    pub queue: u32,
    /// MiB a second.
    pub throughput: f64,
    /// Percent; none when no try ended.
    pub success: Option<f64>,
    /// Bytes.
    pub filesize: f64,
    /// A storage is at its limit of throughput.
    pub is_at_bandwidth: bool,
}

/// What the rule of a link allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub min: u32,
    pub max: u32,
    pub mode: Mode,
}

impl Bounds {
    /// How far one step goes up, and which part of what it would bring on an empty link must come of it.
    fn climb(self) -> (u32, f64) {
        match self.mode {
            Mode::Disabled | Mode::Conservative => (1, 0.5),
            Mode::Normal => (2, 0.3),
            Mode::Aggressive => (2, 0.05),
        }
    }
}

/// What one number of files at once brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Level {
    throughput: f64,
    count: u32,
    step: u64,
}

/// What is remembered of a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub active: u32,
    /// The average of throughput that is shown.
    pub ema: f64,
    step: u64,
    success: f64,
    magnitude: i32,
    levels: BTreeMap<u32, Level>,
}

/// Why the number is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rationale {
    Fixed,
    Begins,
    Failures,
    Recovering,
    Bandwidth,
    NothingWaits,
    OtherSizes,
    Measuring,
    FewerWereFaster,
    FewerSuffice,
    MoreWereNotFaster,
    AtMost,
    Climbs,
}

impl fmt::Display for Rationale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rationale::Fixed => "Fixed by configuration",
            Rationale::Begins => "No information yet. Start at the minimum",
            Rationale::Failures => "Bad link efficiency",
            Rationale::Recovering => "Bad link efficiency, but improving",
            Rationale::Bandwidth => "A storage is at its limit of throughput",
            Rationale::NothingWaits => "Not enough files in the queue",
            Rationale::OtherSizes => "Files of another size. Measure anew",
            Rationale::Measuring => "Measuring",
            Rationale::FewerWereFaster => "Good link efficiency. Fewer files at once were faster",
            Rationale::FewerSuffice => "Good link efficiency. Fewer files at once are as fast",
            Rationale::MoreWereNotFaster => "Good link efficiency. More files at once were not faster",
            Rationale::AtMost => "Good link efficiency. At the maximum",
            Rationale::Climbs => "Good link efficiency. Increment",
        })
    }
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub active: u32,
    pub diff: i64,
    pub rationale: Rationale,
}

#[allow(clippy::cast_possible_truncation, reason = "a logarithm of a size is small")]
fn magnitude(filesize: f64) -> i32 {
    if filesize >= 1.0 { filesize.log10().floor() as i32 } else { 0 }
}

/// Decides, and remembers what was seen.
pub fn step(memory: &mut Memory, bounds: Bounds, seen: &Seen) -> Step {
    let before = memory.active;
    let begins = memory.step == 0;
    memory.step += 1;
    memory.ema =
        if begins { seen.throughput } else { SHOWN_ALPHA * seen.throughput + (1.0 - SHOWN_ALPHA) * memory.ema };
    let (wanted, rationale) = if bounds.mode == Mode::Disabled || bounds.min >= bounds.max {
        (bounds.max, Rationale::Fixed)
    } else if begins {
        (memory.active.max(bounds.min), Rationale::Begins)
    } else {
        judge(memory, bounds, seen)
    };
    memory.success = seen.success.unwrap_or(memory.success);
    memory.active = wanted.clamp(bounds.min.min(bounds.max), bounds.max);
    let diff = if begins { 0 } else { i64::from(memory.active) - i64::from(before) };
    Step { active: memory.active, diff, rationale }
}

fn judge(memory: &mut Memory, bounds: Bounds, seen: &Seen) -> (u32, Rationale) {
    let now = memory.active;
    if let Some(success) = seen.success.filter(|success| *success < LOW_SUCCESS) {
        if success > memory.success && success >= BASE_SUCCESS {
            return (now, Rationale::Recovering);
        }
        // What more brought before it broke is no reason to go there again soon.
        return (now.saturating_sub(1), Rationale::Failures);
    }
    if seen.is_at_bandwidth {
        return (now.saturating_sub(1), Rationale::Bandwidth);
    }
    if seen.active.saturating_add(seen.queue) < now {
        return (now, Rationale::NothingWaits);
    }
    let size = magnitude(seen.filesize);
    if std::mem::replace(&mut memory.magnitude, size) != size && !memory.levels.is_empty() {
        memory.levels.clear();
        return (now, Rationale::OtherSizes);
    }
    let step = memory.step;
    memory.levels.retain(|_, level| step - level.step < FORGOTTEN);
    let level = memory.levels.entry(now).or_insert(Level { throughput: seen.throughput, count: 0, step });
    level.throughput += LEVEL_ALPHA * (seen.throughput - level.throughput);
    level.count = level.count.saturating_add(1);
    level.step = step;
    let here = *level;
    if here.count < ENOUGH {
        return (now, Rationale::Measuring);
    }
    compare(memory, bounds, now, here.throughput)
}

/// Whether more or fewer at once would be better than `now`, which brought `here`.
fn compare(memory: &Memory, bounds: Bounds, now: u32, here: f64) -> (u32, Rationale) {
    let (stride, part) = bounds.climb();
    let gain = |from: u32, to: u32| 1.0 + part * (f64::from(to) / f64::from(from.max(1)) - 1.0);
    let judged = |(_, level): &(&u32, &Level)| level.count >= ENOUGH;
    if let Some((fewer, Level { throughput, .. })) = memory.levels.range(..now).rev().find(judged) {
        let fewer = *fewer;
        if here < throughput * WORSE {
            return (fewer, Rationale::FewerWereFaster);
        }
        if here < throughput * gain(fewer, now) {
            return (fewer, Rationale::FewerSuffice);
        }
    }
    if now >= bounds.max {
        return (now, Rationale::AtMost);
    }
    match memory.levels.range(now + 1..).find(judged) {
        Some((more, level)) if level.throughput < here * gain(now, *more) => (now, Rationale::MoreWereNotFaster),
        Some((more, _)) => (*more, Rationale::Climbs),
        None => (now + stride, Rationale::Climbs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Bounds = Bounds { min: 2, max: 60, mode: Mode::Normal };

    fn seen(throughput: f64) -> Seen {
        Seen { active: 60, queue: 500, throughput, success: Some(100.0), filesize: 1e9, is_at_bandwidth: false }
    }

    /// A link as it answers to a number of files at once.
    struct Link {
        /// MiB a second of one file, and how many files fill the link.
        each: f64,
        fill: u32,
        /// More than this at once fail.
        breaks: u32,
        noise: u64,
    }

    impl Link {
        /// Between 0 and 1, always the same sequence.
        fn chance(&mut self) -> f64 {
            self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.noise >> 40) as f64 / (1_u64 << 24) as f64
        }

        fn throughput(&self, active: u32) -> f64 {
            // Beyond what fills it, files are in each other's way.
            let useful = active.min(self.fill);
            f64::from(useful) * self.each * (1.0 - 0.01 * f64::from(active - useful)).max(0.2)
        }

        fn answer(&mut self, active: u32) -> Seen {
            let throughput = self.throughput(active) * (0.98 + 0.04 * self.chance());
            let success = if active > self.breaks { 80.0 } else { 98.5 + 1.5 * self.chance() };
            Seen { success: Some(success), active, ..seen(throughput) }
        }
    }

    #[test]
    fn a_month_of_many_links() {
        const DAY: u32 = 24 * 60;
        for n in 0..24_u32 {
            let fill = 4 + n;
            let mut link = Link { each: 3.0 + f64::from(n), fill, breaks: 55, noise: u64::from(n) };
            let bounds = Bounds { mode: Mode::ALL[1 + n as usize % 3], ..NORMAL };
            let mut memory = Memory::default();
            let (mut moved, mut possible) = (0.0, 0.0);
            for minute in 0..30 * DAY {
                // In the middle of the month the link becomes half as wide.
                if minute == 15 * DAY {
                    link.fill = (fill / 2).max(2);
                }
                let seen = link.answer(memory.active.max(bounds.min));
                let step = step(&mut memory, bounds, &seen);
                assert!((bounds.min..=bounds.max).contains(&step.active), "{step:?}");
                if minute % (15 * DAY) > DAY {
                    moved += link.throughput(step.active);
                    possible += f64::from(link.fill) * link.each;
                }
            }
            assert!(moved > 0.9 * possible, "link {n}: {:.3} of what is possible", moved / possible);
        }
    }

    #[test]
    fn the_same_again_is_the_same() {
        let run = || {
            let mut link = Link { each: 5.0, fill: 17, breaks: 30, noise: 7 };
            let mut memory = Memory::default();
            let mut next = || {
                let seen = link.answer(memory.active.max(2));
                step(&mut memory, NORMAL, &seen).active
            };
            (0..5_000).map(|_| next()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn failures_bandwidth_and_empty_queues() {
        let at = |active: u32| {
            let mut memory = Memory::default();
            step(&mut memory, NORMAL, &seen(10.0));
            memory.active = active;
            memory
        };
        let mut memory = at(10);
        let failing = Seen { success: Some(90.0), ..seen(10.0) };
        assert_eq!(step(&mut memory, NORMAL, &failing), Step { active: 9, diff: -1, rationale: Rationale::Failures });
        let better = Seen { success: Some(96.5), ..seen(10.0) };
        assert_eq!(step(&mut memory, NORMAL, &better).rationale, Rationale::Recovering);
        let wide = Seen { is_at_bandwidth: true, ..seen(10.0) };
        assert_eq!(step(&mut at(10), NORMAL, &wide), Step { active: 9, diff: -1, rationale: Rationale::Bandwidth });
        let idle = Seen { active: 1, queue: 0, ..seen(0.5) };
        assert_eq!(step(&mut at(10), NORMAL, &idle), Step { active: 10, diff: 0, rationale: Rationale::NothingWaits });
        let fixed = Bounds { min: 7, max: 7, mode: Mode::Aggressive };
        assert_eq!(step(&mut at(10), fixed, &failing).active, 7);
        let off = Bounds { mode: Mode::Disabled, ..NORMAL };
        assert_eq!(step(&mut at(10), off, &failing).rationale, Rationale::Fixed);
        assert_eq!(step(&mut Memory::default(), NORMAL, &seen(1.0)).rationale, Rationale::Begins);
        // Never below the least, whatever fails.
        assert_eq!(step(&mut at(2), NORMAL, &failing).active, 2);
        let mut memory = at(10);
        for _ in 0..3 {
            step(&mut memory, NORMAL, &seen(10.0));
        }
        assert_eq!(step(&mut memory, NORMAL, &Seen { filesize: 1e3, ..seen(0.1) }).rationale, Rationale::OtherSizes);
    }
}
