//! Whose turn it is: which waiting files are copied next, and why the others are not.
//!
//! Places are given one by one. First to the link on which the fewest run; on a link to VOs by their shares; within a VO to the
//! highest priority that waits, and there to activities by their shares. VOs that no share names have one together, and take
//! turns in it. Shares are kept by [`Clocks`]. Nothing runs beyond a limit.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use dte_base::time::Timestamp;

use crate::model::clocks::Clocks;
use crate::model::lane::Lane;
use crate::model::rules::{LinkLimit, Rules};

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

/// What is decided, for each line in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub begin: Vec<usize>,
    pub why: Vec<Why>,
}

/// What is known of a line before anything is decided.
struct About<'a> {
    link: usize,
    area: usize,
    /// Whose share its VO has, and the weight of that.
    group: (&'a str, f64),
    /// Whose share its activity has, where activities count.
    activity: Option<(&'a str, f64)>,
    /// What is shared within the group, and within the VO.
    members: String,
    activities: String,
}

/// From one storage to another.
struct Link<'a> {
    name: String,
    source: usize,
    destination: usize,
    limit: Option<LinkLimit<'a>>,
    running: usize,
    lines: Vec<usize>,
}

/// How many copies one storage has in one direction, and may have.
struct End {
    running: usize,
    most: Option<usize>,
}

impl End {
    fn full(&self) -> Option<(usize, usize)> {
        self.most.filter(|most| self.running >= *most).map(|most| (self.running, most))
    }
}

/// A link with something to begin: how many run on it, the oldest of its open lines, and its number.
type Turn = Reverse<(usize, (Timestamp, usize), usize)>;

/// The lines with all that is looked up once.
struct Table<'a> {
    rules: &'a Rules,
    lines: &'a [Line],
    about: Vec<About<'a>>,
    links: Vec<Link<'a>>,
    areas: Vec<usize>,
    out: Vec<End>,
    into: Vec<End>,
    begin: Vec<usize>,
}

/// The number of a key, in the order in which keys come.
fn number<K: std::hash::Hash + Eq>(numbers: &mut HashMap<K, usize>, key: K) -> usize {
    let next = numbers.len();
    *numbers.entry(key).or_insert(next)
}

impl<'a> Table<'a> {
    fn new(rules: &'a Rules, lines: &'a [Line]) -> Self {
        let (mut links, mut areas) = (HashMap::new(), HashMap::new());
        let (mut out, mut into) = (HashMap::new(), HashMap::new());
        let begin = vec![0; lines.len()];
        let mut table = Table {
            rules,
            lines,
            about: Vec::with_capacity(lines.len()),
            links: Vec::new(),
            areas: Vec::new(),
            out: Vec::new(),
            into: Vec::new(),
            begin,
        };
        for (i, line) in lines.iter().enumerate() {
            let lane = &line.lane;
            let link = number(&mut links, lane.link());
            if link == table.links.len() {
                let source = number(&mut out, &lane.source);
                if source == table.out.len() {
                    table.out.push(End { running: 0, most: rules.outbound(&lane.source) });
                }
                let destination = number(&mut into, &lane.destination);
                if destination == table.into.len() {
                    table.into.push(End { running: 0, most: rules.inbound(&lane.destination) });
                }
                let name = format!("{}\n{}", lane.source, lane.destination);
                let limit = rules.link_limit(lane);
                table.links.push(Link { name, source, destination, limit, running: 0, lines: Vec::new() });
            }
            table.links[link].lines.push(i);
            let area = number(&mut areas, (&lane.from, &lane.to));
            if area == table.areas.len() {
                table.areas.push(0);
            }
            let group = rules.vo_share(lane);
            table.about.push(About {
                link,
                area,
                group,
                activity: rules.activity_share(lane),
                members: format!("group\n{}", group.0),
                activities: format!("vo\n{}", lane.vo),
            });
            table.add(i, line.running);
        }
        table
    }

    fn add(&mut self, i: usize, count: usize) {
        let About { link, area, .. } = self.about[i];
        let link = &mut self.links[link];
        link.running += count;
        self.out[link.source].running += count;
        self.into[link.destination].running += count;
        self.areas[area] += count;
    }

    /// The limit of its link or storages that keeps a link from running one more.
    fn link_full(&self, link: &Link<'_>) -> bool {
        link.limit.is_some_and(|limit| link.running >= limit.most)
            || self.out[link.source].full().is_some()
            || self.into[link.destination].full().is_some()
    }

    fn area_full(&self, i: usize) -> Option<Why> {
        let (running, most) = (self.areas[self.about[i].area], self.rules.per_area);
        (running >= most).then_some(Why::AreaFull { running, most })
    }

    /// The limit that keeps the line from running one more.
    fn full(&self, i: usize) -> Option<Why> {
        let link = &self.links[self.about[i].link];
        if let Some(limit) = link.limit.filter(|limit| link.running >= limit.most) {
            let (running, rule) = (link.running, limit.rule.to_owned());
            return Some(Why::LinkFull { running, most: limit.most, rule, is_found: limit.is_found });
        }
        let source = || self.out[link.source].full().map(|(running, most)| Why::SourceFull { running, most });
        let sink = || self.into[link.destination].full().map(|(running, most)| Why::DestinationFull { running, most });
        self.area_full(i).or_else(source).or_else(sink)
    }

    fn is_waiting(&self, i: usize) -> bool {
        self.begin[i] < self.lines[i].due
    }

    /// Which of some lines comes first when nothing else speaks for one.
    fn age(&self, i: usize) -> (Timestamp, usize) {
        (self.lines[i].first.unwrap_or(Timestamp::EPOCH), i)
    }

    fn group_clock(&self, clocks: &Clocks, i: usize) -> f64 {
        let about = &self.about[i];
        clocks.start(&self.links[about.link].name, "", about.group.0)
    }

    fn member_clock(&self, clocks: &Clocks, i: usize) -> f64 {
        let about = &self.about[i];
        clocks.start(&self.links[about.link].name, &about.members, &self.lines[i].lane.vo)
    }

    fn activity_clock(&self, clocks: &Clocks, i: usize) -> f64 {
        let about = &self.about[i];
        let clock = |(key, _)| clocks.start(&self.links[about.link].name, &about.activities, key);
        about.activity.map_or(0.0, clock)
    }

    /// Gives `free` places.
    fn give(&mut self, clocks: &mut Clocks, free: usize) {
        // The open lines of each link. Limits are only reached, never left, so what is full once need not be looked at again.
        let mut open: Vec<Vec<usize>> = self.links.iter().map(|link| link.lines.clone()).collect();
        let mut turns = BinaryHeap::new();
        for (link, open) in open.iter_mut().enumerate() {
            turns.extend(self.turn(link, open));
        }
        let mut given = 0;
        while given < free
            && let Some(Reverse((.., link))) = turns.pop()
        {
            // Other links may have filled its storages and areas since.
            if self.turn(link, &mut open[link]).is_none() {
                continue;
            }
            let Some(chosen) = self.next(&open[link], clocks) else { continue };
            self.begin[chosen] += 1;
            given += 1;
            self.add(chosen, 1);
            self.charge(chosen, clocks);
            turns.extend(self.turn(link, &mut open[link]));
        }
    }

    /// When a link with something to begin has its turn: the fewer run, the earlier.
    fn turn(&self, link: usize, open: &mut Vec<usize>) -> Option<Turn> {
        let about = &self.links[link];
        if self.link_full(about) {
            return None;
        }
        open.retain(|i| self.is_waiting(*i) && self.area_full(*i).is_none());
        open.iter().map(|i| self.age(*i)).min().map(|age| Reverse((about.running, age, link)))
    }

    /// The best of the open lines of one link.
    fn next(&self, open: &[usize], clocks: &Clocks) -> Option<usize> {
        let first = |some: &[usize], clock: &dyn Fn(usize) -> f64| {
            let timed = some.iter().map(|i| (clock(*i), self.age(*i), *i));
            timed.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(.., i)| i)
        };
        // A VO without a share comes after all that have one.
        let has_share = |i: &usize| self.about[*i].group.1 > 0.0;
        let only_some = open.iter().any(has_share);
        let with_share: Vec<usize> = open.iter().copied().filter(|i| !only_some || has_share(i)).collect();
        let group = self.about[first(&with_share, &|i| self.group_clock(clocks, i))?].group.0;
        let of_group: Vec<usize> = with_share.into_iter().filter(|i| self.about[*i].group.0 == group).collect();
        let vo = &self.lines[first(&of_group, &|i| self.member_clock(clocks, i))?].lane.vo;
        let of_vo: Vec<usize> = of_group.into_iter().filter(|i| self.lines[*i].lane.vo == *vo).collect();
        let priority = of_vo.iter().map(|i| self.lines[*i].lane.priority).max()?;
        let urgent: Vec<usize> = of_vo.into_iter().filter(|i| self.lines[*i].lane.priority == priority).collect();
        first(&urgent, &|i| self.activity_clock(clocks, i))
    }

    fn charge(&self, i: usize, clocks: &mut Clocks) {
        let (about, vo) = (&self.about[i], &self.lines[i].lane.vo);
        let link = &self.links[about.link].name;
        let (group, weight) = about.group;
        clocks.grant(link, "", group, weight);
        if group != vo {
            clocks.grant(link, &about.members, vo, 1.0);
        }
        if let Some((activity, weight)) = about.activity {
            clocks.grant(link, &about.activities, activity, weight);
        }
    }

    /// Why a line does not begin more than it does.
    fn reason(&self, i: usize, clocks: &Clocks) -> Why {
        let line = &self.lines[i];
        if line.due == 0 {
            return Why::Later(line.first);
        }
        if !self.is_waiting(i) {
            return Why::Begins;
        }
        if let Some(full) = self.full(i) {
            return full;
        }
        let about = &self.about[i];
        let others =
            || self.links[about.link].lines.iter().copied().filter(|other| *other != i && self.is_waiting(*other));
        let same_vo = || others().filter(|other| self.lines[*other].lane.vo == line.lane.vo);
        let priorities = same_vo().map(|other| self.lines[other].lane.priority);
        if let Some(higher) = priorities.filter(|priority| *priority > line.lane.priority).max() {
            return Why::Priority(higher);
        }
        let (group, member) = (self.group_clock(clocks, i), self.member_clock(clocks, i));
        let comes_first = |other: usize| match self.about[other].group.0 == about.group.0 {
            true => self.lines[other].lane.vo != line.lane.vo && self.member_clock(clocks, other) < member,
            false => self.group_clock(clocks, other) < group,
        };
        if others().any(comes_first) {
            return Why::VoShare;
        }
        let mine = self.activity_clock(clocks, i);
        let comes_first = |other: usize| {
            self.lines[other].lane.priority == line.lane.priority && self.activity_clock(clocks, other) < mine
        };
        if same_vo().any(comes_first) { Why::ActivityShare } else { Why::NoPlace }
    }
}

/// Decides about `free` places: how many of each line begin.
pub fn decide(rules: &Rules, lines: &[Line], clocks: &mut Clocks, free: usize) -> Vec<usize> {
    let mut table = Table::new(rules, lines);
    table.give(clocks, free);
    table.begin
}

/// The same with the reasons.
pub fn explained(rules: &Rules, lines: &[Line], clocks: &mut Clocks, free: usize) -> Decision {
    let mut table = Table::new(rules, lines);
    table.give(clocks, free);
    let why = (0..lines.len()).map(|i| table.reason(i, clocks)).collect();
    Decision { begin: table.begin, why }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
