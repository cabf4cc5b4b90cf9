//! What administrators say of links, storages, VOs and activities, and what follows for one link.

use std::collections::BTreeMap;

use crate::model::lane::Lane;

/// Stands for every storage.
pub const ANY: &str = "*";
/// The VO whose share those have that are not named.
pub const PUBLIC: &str = "public";
/// The activity whose share those have that are not named.
pub const DEFAULT_ACTIVITY: &str = "default";

/// How boldly the optimiser changes a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Leaves the link at its most.
    Disabled,
    Conservative,
    Normal,
    Aggressive,
}

impl Mode {
    pub const ALL: [Mode; 4] = [Mode::Disabled, Mode::Conservative, Mode::Normal, Mode::Aggressive];

    /// As the wire counts them.
    pub fn number(self) -> i64 {
        match self {
            Mode::Disabled => 0,
            Mode::Conservative => 1,
            Mode::Normal => 2,
            Mode::Aggressive => 3,
        }
    }

    pub fn from_number(number: i64) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.number() == number)
    }
}

/// What is said of a link, or of all from or to a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRule {
    pub name: String,
    pub source: String,
    pub destination: String,
    pub min_active: u32,
    pub max_active: u32,
    pub mode: Mode,
}

impl LinkRule {
    /// More exact rules come first; a rule for a source before one for a destination.
    fn exactness(&self, source: &str, destination: &str) -> Option<u8> {
        let fits = |said: &str, name: &str| said == ANY || said == name;
        (fits(&self.source, source) && fits(&self.destination, destination))
            .then(|| u8::from(self.source != ANY) * 2 + u8::from(self.destination != ANY))
    }
}

/// What is said of a storage, or (as `*`) of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageRule {
    pub inbound_max_active: Option<u32>,
    pub outbound_max_active: Option<u32>,
    /// MiB a second.
    pub inbound_max_throughput: Option<u32>,
    pub outbound_max_throughput: Option<u32>,
}

/// The weight of a VO on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoShare {
    pub source: String,
    pub destination: String,
    pub vo: String,
    pub share: u32,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub links: Vec<LinkRule>,
    pub storages: BTreeMap<String, StorageRule>,
    pub vo_shares: Vec<VoShare>,
    /// The weights of the activities of a VO, where they count.
    pub activity_shares: BTreeMap<String, BTreeMap<String, f64>>,
    /// What the optimiser found best for a link.
    pub best: BTreeMap<(String, String), u32>,
    /// Copies at once between two storage areas.
    pub per_area: usize,
}

/// How many may run on a link, and by whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimit<'a> {
    pub most: usize,
    /// The name of the rule.
    pub rule: &'a str,
    pub is_found: bool,
}

impl Rules {
    /// The rule that holds for a link.
    pub fn link(&self, source: &str, destination: &str) -> Option<&LinkRule> {
        let fitting = self.links.iter().filter_map(|rule| Some((rule.exactness(source, destination)?, rule)));
        fitting.max_by_key(|(exactness, rule)| (*exactness, std::cmp::Reverse(&rule.name))).map(|(_, rule)| rule)
    }

    pub fn link_limit(&self, lane: &Lane) -> Option<LinkLimit<'_>> {
        let rule = self.link(&lane.source, &lane.destination)?;
        let found = self.best.get(&(lane.source.clone(), lane.destination.clone()));
        let found = found.filter(|_| rule.mode != Mode::Disabled && rule.min_active < rule.max_active);
        let most = found.copied().unwrap_or(rule.max_active).clamp(rule.min_active, rule.max_active);
        Some(LinkLimit { most: most as usize, rule: &rule.name, is_found: found.is_some() })
    }

    fn storage(&self, name: &str, of: impl Fn(&StorageRule) -> Option<u32>) -> Option<u32> {
        let said = |name: &str| self.storages.get(name).and_then(&of);
        said(name).or_else(|| said(ANY))
    }

    /// How many may be read from a storage at once.
    pub fn outbound(&self, storage: &str) -> Option<usize> {
        self.storage(storage, |rule| rule.outbound_max_active).map(|most| most as usize)
    }

    pub fn inbound(&self, storage: &str) -> Option<usize> {
        self.storage(storage, |rule| rule.inbound_max_active).map(|most| most as usize)
    }

    /// MiB a second out of one storage, and into the other.
    pub fn throughput(&self, source: &str, destination: &str) -> [Option<u32>; 2] {
        [
            self.storage(source, |rule| rule.outbound_max_throughput),
            self.storage(destination, |rule| rule.inbound_max_throughput),
        ]
    }

    /// Whose share the lane's VO has on its link, and its weight. Where nothing is said of the link every VO has its own, of 1.
    pub fn vo_share<'a>(&'a self, lane: &'a Lane) -> (&'a str, f64) {
        let of_link = |source: &str, destination: &str| {
            let mut shares =
                self.vo_shares.iter().filter(|s| s.source == source && s.destination == destination).peekable();
            shares.peek()?;
            let (mut named, mut public) = (None, None);
            for share in shares {
                let found = (share.vo.as_str(), f64::from(share.share));
                if share.vo == lane.vo {
                    named = Some(found);
                } else if share.vo == PUBLIC {
                    public = Some(found);
                }
            }
            Some(named.or(public).unwrap_or(("", 0.0)))
        };
        let (source, destination) = lane.link();
        let links = [(source, destination), (source, ANY), (ANY, destination), (ANY, ANY)];
        links.into_iter().find_map(|(source, destination)| of_link(source, destination)).unwrap_or((&lane.vo, 1.0))
    }

    /// Whose share the lane's activity has within its VO, and its weight; none where activities do not count.
    pub fn activity_share(&self, lane: &Lane) -> Option<(&str, f64)> {
        let weights = self.activity_shares.get(&lane.vo).or_else(|| self.activity_shares.get(ANY))?;
        Some(named_activity(weights, &lane.activity).unwrap_or(("", 0.0)))
    }
}

/// The share that an activity has among these weights, and its name there.
pub fn named_activity<'a>(weights: &'a BTreeMap<String, f64>, activity: &str) -> Option<(&'a str, f64)> {
    let named = weights.iter().find(|(name, _)| name.eq_ignore_ascii_case(activity));
    named.or_else(|| weights.get_key_value(DEFAULT_ACTIVITY)).map(|(name, weight)| (name.as_str(), *weight))
}
