//! The clocks of those who share links: start-time fair queueing (Goyal, Vin, Cheng 1996).
//!
//! Each grant moves its owner's clock by one over its weight, and the earliest clock is next. So shares hold over time however
//! few places there are, and what was not used is not saved up.

use std::collections::HashMap;
use std::sync::Arc;

/// A weight that is not zero and yet gives way to every other.
const LEAST_WEIGHT: f64 = 1e-6;
/// Of more links than this those are forgotten that were not used for longest.
const MOST_LINKS: usize = 1_000;
/// A link on which more than this share something begins anew, with all as equals.
const MOST_OF_LINK: usize = 1_000;

/// Kept from one decision to the next; a copy is cheap.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    links: HashMap<String, Arc<OfLink>>,
    grants: u64,
}

/// What is shared on one link, by name.
#[derive(Clone, Debug, Default)]
struct OfLink {
    shared: HashMap<String, Shared>,
    /// How many have a clock.
    count: usize,
    /// The grant that used it last.
    used: u64,
}

#[derive(Clone, Debug, Default)]
struct Shared {
    /// How far those who share it are.
    now: f64,
    /// When whoever has a share is next.
    next: HashMap<String, f64>,
}

impl Shared {
    fn start(&self, who: &str) -> f64 {
        self.next.get(who).copied().unwrap_or(0.0).max(self.now)
    }
}

impl Clocks {
    /// When `who` is next in what is shared on the link.
    pub fn start(&self, link: &str, shared: &str, who: &str) -> f64 {
        self.links.get(link).and_then(|link| link.shared.get(shared)).map_or(0.0, |shared| shared.start(who))
    }

    pub fn grant(&mut self, link: &str, shared: &str, who: &str, weight: f64) {
        self.grants += 1;
        if !self.links.contains_key(link) {
            self.make_room();
        }
        let of_link = Arc::make_mut(self.links.entry(link.to_owned()).or_default());
        of_link.used = self.grants;
        if of_link.count >= MOST_OF_LINK {
            of_link.shared.clear();
            of_link.count = 0;
        }
        let shared = of_link.shared.entry(shared.to_owned()).or_default();
        let start = shared.start(who);
        shared.now = start;
        if shared.next.insert(who.to_owned(), start + 1.0 / weight.max(LEAST_WEIGHT)).is_none() {
            of_link.count += 1;
        }
    }

    /// Forgets the link that was not used for longest, if there are many.
    fn make_room(&mut self) {
        if self.links.len() < MOST_LINKS {
            return;
        }
        if let Some(oldest) = self.links.iter().min_by_key(|(_, link)| link.used).map(|(name, _)| name.clone()) {
            self.links.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_links_do_not_make_others_forget() {
        let mut clocks = Clocks::default();
        for n in 0..3 * MOST_LINKS {
            clocks.grant("busy", "", "a", 1.0);
            clocks.grant(&format!("link {n}"), "", "a", 1.0);
        }
        assert!(clocks.start("busy", "", "a") >= 3_000.0 && clocks.links.len() <= MOST_LINKS);
        for n in 0..3 * MOST_OF_LINK {
            clocks.grant("busy", "", &format!("{n}"), 1.0);
        }
        assert!(clocks.links["busy"].count <= MOST_OF_LINK && clocks.start("link 2999", "", "a") > 0.0);
    }
}
