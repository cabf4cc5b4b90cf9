//! Whose turn it is: which waiting files are copied next, and why the others are not.
//!
//! Places are given one by one. First to the link on which the fewest run; on a link to VOs by their shares; within a VO to the
//! highest priority that waits, and there to activities by their shares. Shares are kept by start-time fair queueing (Goyal,
//! Vin, Cheng 1996): each grant moves its owner's clock by one over its weight, and the earliest clock is next. So shares hold
//! over time however few places there are, and what was not used is not saved up. Nothing runs beyond a limit.

use std::collections::{BTreeMap, HashMap};

use dte_base::time::Timestamp;

use crate::model::lane::Lane;
use crate::model::rules::Rules;

/// A weight that is not zero and yet gives way to every other.
const LEAST_WEIGHT: f64 = 1e-6;

/// A lane at one moment.
#[derive(Clone, Debug)]
pub struct Line {
    pub lane: Lane,
    pub running: usize,
    pub due: usize,
    pub first: Option<Timestamp>,
}

/// Why no (more) files of a line are begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// As many as are due are begun.
    Begins,
    /// Nothing is due before this moment.
    Later(Option<Timestamp>),
    LinkFull {
        running: usize,
        most: usize,
        rule: String,
        is_found: bool,
    },
    AreaFull {
        running: usize,
        most: usize,
    },
    SourceFull {
        running: usize,
        most: usize,
    },
    DestinationFull {
        running: usize,
        most: usize,
    },
    /// Files of higher priority of the same VO wait on the same link.
    Priority(i64),
    /// It is the turn of others on the link, by the shares of VOs.
    VoShare,
    /// It is the turn of another activity of the VO.
    ActivityShare,
    /// All places of the mover are taken.
    NoPlace,
}

/// The clocks of those who share links. Kept from one decision to the next.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    /// When whoever has a share is next.
    next: HashMap<String, f64>,
    /// How far those who share something are.
    now: HashMap<String, f64>,
}

/// More than this are forgotten; then all begin anew as equals.
const MOST_CLOCKS: usize = 10_000;

impl Clocks {
    fn start(&self, shared: &str, who: &str) -> f64 {
        let now = self.now.get(shared).copied().unwrap_or(0.0);
        self.next.get(&format!("{shared}\n{who}")).copied().unwrap_or(0.0).max(now)
    }

    fn grant(&mut self, shared: &str, who: &str, weight: f64) {
        let start = self.start(shared, who);
        if self.next.len() > MOST_CLOCKS {
            self.next.clear();
            self.now.clear();
        }
        self.now.insert(shared.to_owned(), start);
        self.next.insert(format!("{shared}\n{who}"), start + 1.0 / weight.max(LEAST_WEIGHT));
    }
}

/// What is decided, for each line in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub begin: Vec<usize>,
    pub why: Vec<Why>,
}

/// How many copies use what.
#[derive(Default)]
struct Use<'a> {
    links: BTreeMap<(&'a str, &'a str), usize>,
    areas: BTreeMap<(&'a str, &'a str), usize>,
    out: BTreeMap<&'a str, usize>,
    into: BTreeMap<&'a str, usize>,
}

impl<'a> Use<'a> {
    fn add(&mut self, lane: &'a Lane, count: usize) {
        *self.links.entry(lane.link()).or_default() += count;
        *self.areas.entry((&lane.from, &lane.to)).or_default() += count;
        *self.out.entry(&lane.source).or_default() += count;
        *self.into.entry(&lane.destination).or_default() += count;
    }

    fn running(&self, lane: &Lane) -> usize {
        self.links.get(&lane.link()).copied().unwrap_or(0)
    }

    /// The limit that keeps the lane from running one more.
    fn full(&self, rules: &Rules, lane: &Lane) -> Option<Why> {
        let running = self.running(lane);
        if let Some(limit) = rules.link_limit(lane).filter(|limit| running >= limit.most) {
            let (most, rule, is_found) = (limit.most, limit.rule.to_owned(), limit.is_found);
            return Some(Why::LinkFull { running, most, rule, is_found });
        }
        let running = self.areas.get(&(lane.from.as_str(), lane.to.as_str())).copied().unwrap_or(0);
        if running >= rules.per_area {
            return Some(Why::AreaFull { running, most: rules.per_area });
        }
        let running = self.out.get(lane.source.as_str()).copied().unwrap_or(0);
        if let Some(most) = rules.outbound(&lane.source).filter(|most| running >= *most) {
            return Some(Why::SourceFull { running, most });
        }
        let running = self.into.get(lane.destination.as_str()).copied().unwrap_or(0);
        rules
            .inbound(&lane.destination)
            .filter(|most| running >= *most)
            .map(|most| Why::DestinationFull { running, most })
    }
}

fn link_name(lane: &Lane) -> String {
    format!("{}\n{}", lane.source, lane.destination)
}

fn vo_name(lane: &Lane) -> String {
    format!("{}\n{}\n{}", lane.source, lane.destination, lane.vo)
}

/// Decides about `free` places.
pub fn decide(rules: &Rules, lines: &[Line], clocks: &mut Clocks, free: usize) -> Decision {
    let mut in_use = Use::default();
    for line in lines {
        in_use.add(&line.lane, line.running);
    }
    let mut begin = vec![0; lines.len()];
    for _ in 0..free {
        let open: Vec<usize> = (0..lines.len())
            .filter(|i| begin[*i] < lines[*i].due && in_use.full(rules, &lines[*i].lane).is_none())
            .collect();
        let Some(chosen) = next(rules, lines, &open, clocks, &in_use) else { break };
        let lane = &lines[chosen].lane;
        begin[chosen] += 1;
        in_use.add(lane, 1);
        clocks.grant(&link_name(lane), &lane.vo, rules.vo_weight(lane));
        if let Some(weight) = rules.activity_weight(lane) {
            clocks.grant(&vo_name(lane), &lane.activity, weight);
        }
    }
    let why = (0..lines.len()).map(|i| reason(rules, lines, &begin, i, clocks, &in_use)).collect();
    Decision { begin, why }
}

/// The best of the lines that may begin one more.
fn next(rules: &Rules, lines: &[Line], open: &[usize], clocks: &Clocks, in_use: &Use<'_>) -> Option<usize> {
    let first = |i: &usize| lines[*i].first.unwrap_or(Timestamp::EPOCH);
    let link = open.iter().min_by_key(|i| (in_use.running(&lines[**i].lane), first(i), **i))?;
    let link = lines[*link].lane.link();
    let of_link: Vec<usize> = open.iter().copied().filter(|i| lines[*i].lane.link() == link).collect();
    let vo_clock = |lane: &Lane| clocks.start(&link_name(lane), &lane.vo);
    let vo = of_link.iter().min_by(|a, b| {
        let (x, y) = (&lines[**a].lane, &lines[**b].lane);
        // A VO without a share comes after all that have one.
        let none = |lane: &Lane| rules.vo_weight(lane) <= 0.0;
        (none(x).cmp(&none(y))).then(vo_clock(x).total_cmp(&vo_clock(y))).then(first(a).cmp(&first(b))).then(a.cmp(b))
    })?;
    let vo = &lines[*vo].lane.vo;
    let of_vo: Vec<usize> = of_link.into_iter().filter(|i| lines[*i].lane.vo == *vo).collect();
    let priority = of_vo.iter().map(|i| lines[*i].lane.priority).max()?;
    let urgent = of_vo.into_iter().filter(|i| lines[*i].lane.priority == priority);
    urgent.min_by(|a, b| {
        let clock = |i: &usize| {
            let lane = &lines[*i].lane;
            rules.activity_weight(lane).map(|_| clocks.start(&vo_name(lane), &lane.activity))
        };
        let (x, y) = (clock(a).unwrap_or(0.0), clock(b).unwrap_or(0.0));
        x.total_cmp(&y).then(first(a).cmp(&first(b))).then(a.cmp(b))
    })
}

/// Why a line does not begin more than it does.
fn reason(rules: &Rules, lines: &[Line], begin: &[usize], i: usize, clocks: &Clocks, in_use: &Use<'_>) -> Why {
    let line = &lines[i];
    if line.due == 0 {
        return Why::Later(line.first);
    }
    if begin[i] >= line.due {
        return Why::Begins;
    }
    if let Some(full) = in_use.full(rules, &line.lane) {
        return full;
    }
    let waits = |other: &usize| begin[*other] < lines[*other].due && lines[*other].lane.link() == line.lane.link();
    let others: Vec<&Lane> =
        (0..lines.len()).filter(|other| *other != i && waits(other)).map(|i| &lines[i].lane).collect();
    let same_vo = || others.iter().filter(|lane| lane.vo == line.lane.vo);
    if let Some(higher) = same_vo().map(|lane| lane.priority).filter(|p| *p > line.lane.priority).max() {
        return Why::Priority(higher);
    }
    let vo_clock = |lane: &Lane| clocks.start(&link_name(lane), &lane.vo);
    if others.iter().any(|lane| lane.vo != line.lane.vo && vo_clock(lane) < vo_clock(&line.lane)) {
        return Why::VoShare;
    }
    let clock = |lane: &Lane| clocks.start(&vo_name(lane), &lane.activity);
    if rules.activity_weight(&line.lane).is_some()
        && same_vo().any(|lane| lane.priority == line.lane.priority && clock(lane) < clock(&line.lane))
    {
        return Why::ActivityShare;
    }
    Why::NoPlace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rules::{LinkRule, Mode, StorageRule, VoShare};

    fn line(link: (&str, &str), vo: &str, activity: &str, priority: i64, due: usize) -> Line {
        let lane = Lane {
            from: format!("{}:443/x", link.0),
            to: format!("{}:443/x", link.1),
            source: format!("https://{}", link.0),
            destination: format!("https://{}", link.1),
            vo: vo.into(),
            activity: activity.into(),
            priority,
        };
        Line { lane, running: 0, due, first: Some(Timestamp::EPOCH) }
    }

    fn rules() -> Rules {
        Rules { per_area: 16, ..Rules::default() }
    }

    fn link(name: &str, source: &str, destination: &str, max_active: u32) -> LinkRule {
        let (source, destination) = (source.to_owned(), destination.to_owned());
        LinkRule { name: name.into(), source, destination, min_active: 1, max_active, mode: Mode::Disabled }
    }

    #[test]
    fn limits_of_links_and_storages_hold() {
        let mut rules = rules();
        rules.links = vec![link("all", "*", "*", 9), link("one", "https://a", "https://b", 3)];
        let source = StorageRule { outbound_max_active: Some(5), ..StorageRule::default() };
        let sink = StorageRule { inbound_max_active: Some(4), ..StorageRule::default() };
        rules.storages = [("https://a".to_owned(), source), ("https://c".to_owned(), sink)].into();
        let lines = [
            line(("a", "b"), "v", "", 3, 50),
            line(("a", "d"), "v", "", 3, 50),
            line(("e", "c"), "v", "", 3, 50),
            line(("e", "f"), "v", "", 3, 50),
            line(("e", "f"), "v", "", 3, 0),
        ];
        let decision = decide(&rules, &lines, &mut Clocks::default(), 100);
        assert!(decision.begin[0] <= 3 && decision.begin[0] + decision.begin[1] == 5, "{decision:?}");
        assert_eq!(decision.begin[2..], [4, 9, 0]);
        assert_eq!(decision.why[2], Why::DestinationFull { running: 4, most: 4 });
        assert_eq!(decision.why[3], Why::LinkFull { running: 9, most: 9, rule: "all".into(), is_found: false });
        assert_eq!(decision.why[4], Why::Later(Some(Timestamp::EPOCH)));
        // What the optimiser found holds within the bounds of the rule.
        rules.links = vec![LinkRule { mode: Mode::Normal, ..link("found", "*", "*", 9) }];
        rules.best = [(("https://e".to_owned(), "https://f".to_owned()), 6)].into();
        assert_eq!(decide(&rules, &lines, &mut Clocks::default(), 100).begin[3], 6);
        // The areas' own limit holds with no rule at all; what runs already counts.
        rules.links.clear();
        let busy = [Line { running: 10, ..line(("e", "f"), "v", "", 3, 50) }];
        let decision = decide(&rules, &busy, &mut Clocks::default(), 100);
        assert_eq!((decision.begin[0], &decision.why[0]), (6, &Why::AreaFull { running: 16, most: 16 }));
    }

    /// Gives one place at a time for a while, and counts who gets it.
    fn served(rules: &Rules, lines: &[Line], places: usize) -> Vec<usize> {
        let mut clocks = Clocks::default();
        let mut counts = vec![0; lines.len()];
        for _ in 0..places {
            let decision = decide(rules, lines, &mut clocks, 1);
            counts.iter_mut().zip(decision.begin).for_each(|(count, begun)| *count += begun);
        }
        counts
    }

    #[test]
    fn shares_hold_over_time() {
        let mut rules = rules();
        let weights = [("Production".to_owned(), 0.7), ("default".to_owned(), 0.3)];
        rules.activity_shares = [("atlas".to_owned(), weights.into())].into();
        rules.links = vec![link("all", "*", "*", 9)];
        let share = |vo: &str, share| VoShare { source: "*".into(), destination: "*".into(), vo: vo.into(), share };
        rules.vo_shares = vec![share("atlas", 3), share("public", 1), share("idle", 50)];
        let lines = [
            line(("a", "b"), "atlas", "production", 3, 100),
            line(("a", "b"), "atlas", "user", 3, 100),
            line(("a", "b"), "cms", "", 3, 100),
        ];
        let counts = served(&rules, &lines, 4_000);
        assert!((counts[2] as i64 - 1_000).abs() <= 2, "{counts:?}");
        assert!((counts[0] as i64 - 2_100).abs() <= 3 && (counts[1] as i64 - 900).abs() <= 3, "{counts:?}");
        // What one does not use the others have, and nothing is saved up.
        assert_eq!(served(&rules, &lines[1..2], 100), [100]);
        let mut clocks = Clocks::default();
        for _ in 0..1_000 {
            decide(&rules, &lines[2..], &mut clocks, 1);
        }
        let late: usize = (0..40).map(|_| decide(&rules, &lines[1..], &mut clocks, 1).begin[0]).sum();
        assert!((29..=31).contains(&late), "{late}");
    }

    #[test]
    fn priority_before_activity_and_its_reasons() {
        let mut rules = rules();
        rules.activity_shares = [("*".to_owned(), [("a".to_owned(), 1.0), ("b".to_owned(), 9.0)].into())].into();
        let lines =
            [line(("x", "y"), "v", "a", 5, 2), line(("x", "y"), "v", "b", 3, 5), line(("x", "y"), "w", "b", 1, 5)];
        let decision = decide(&rules, &lines, &mut Clocks::default(), 2);
        assert_eq!(decision.begin, [1, 0, 1], "VOs without shares are equals");
        assert_eq!(decision.why[1], Why::Priority(5));
        let decision = decide(&rules, &lines[..2], &mut Clocks::default(), 1);
        assert_eq!((decision.begin, &decision.why[0]), (vec![1, 0], &Why::NoPlace));
        let same = [line(("x", "y"), "v", "a", 3, 50), line(("x", "y"), "v", "b", 3, 50)];
        let decision = decide(&rules, &same, &mut Clocks::default(), 5);
        assert_eq!(decision.begin, [1, 4]);
        assert_eq!(decision.why, [Why::ActivityShare, Why::NoPlace]);
    }

    #[test]
    fn links_with_fewer_copies_come_first() {
        let lines = [Line { running: 5, ..line(("a", "b"), "v", "", 5, 50) }, line(("a", "c"), "v", "", 1, 50)];
        assert_eq!(decide(&rules(), &lines, &mut Clocks::default(), 7).begin, [1, 6]);
    }
}
