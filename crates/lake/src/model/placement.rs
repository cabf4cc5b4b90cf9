//! Which storage elements get the copies of one group of files.
//!
//! First those that the rule uses for this group already, then those that hold most of the bytes, then the rest in an
//! order that depends on the group alone: groups spread evenly, and the same question has the same answer after a crash.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

/// A storage element that matches the rule's expression.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub rse: String,
    /// May be written. One that may not can still be chosen when it holds everything.
    pub writable: bool,
    /// Relative share of groups that it gets; 1 unless the rule names a weight.
    pub weight: f64,
}

/// Chooses `copies` of `candidates` for the group `key`; fewer when there are fewer.
///
/// `used`: where the rule has this group already. `coverage`: bytes of the group that are there. `bytes`: size of the group.
pub fn choose(
    copies: usize,
    candidates: &[Candidate],
    used: &BTreeSet<String>,
    coverage: &BTreeMap<String, u64>,
    bytes: u64,
    key: &str,
) -> Vec<String> {
    let held = |candidate: &Candidate| coverage.get(&candidate.rse).copied();
    let mut ranked: Vec<(u8, u64, f64, &Candidate)> = candidates
        .iter()
        .filter(|candidate| candidate.writable || held(candidate).is_some_and(|held| held >= bytes))
        .map(|candidate| {
            let rank = match (used.contains(&candidate.rse), held(candidate)) {
                (true, _) => 0,
                (false, Some(_)) => 1,
                (false, None) => 2,
            };
            (rank, u64::MAX - held(candidate).unwrap_or(0), -draw(key, &candidate.rse, candidate.weight), candidate)
        })
        .collect();
    ranked.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
    ranked.into_iter().take(copies).map(|(.., candidate)| candidate.rse.clone()).collect()
}

/// Weighted rendezvous hashing: the largest draw wins, each candidate with a probability in proportion to its weight.
fn draw(key: &str, rse: &str, weight: f64) -> f64 {
    let digest = Sha256::new().chain_update(key).chain_update([0]).chain_update(rse).finalize();
    let number =
        u64::from_be_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]]);
    // Strictly between 0 and 1.
    let uniform = (number as f64 + 1.0) / (u64::MAX as f64 + 2.0);
    weight / -uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(names: &[&str]) -> Vec<Candidate> {
        names.iter().map(|name| Candidate { rse: (*name).to_owned(), writable: true, weight: 1.0 }).collect()
    }

    fn plain(copies: usize, key: &str, names: &[&str]) -> Vec<String> {
        choose(copies, &candidates(names), &BTreeSet::new(), &BTreeMap::new(), 10, key)
    }

    #[test]
    fn used_first_then_data_then_the_draw() {
        let all = candidates(&["A", "B", "C", "D"]);
        let used = BTreeSet::from(["D".to_owned()]);
        let coverage = BTreeMap::from([("B".to_owned(), 5), ("C".to_owned(), 9)]);
        assert_eq!(choose(4, &all, &used, &coverage, 10, "k"), ["D", "C", "B", "A"]);
        assert_eq!(choose(9, &all, &used, &coverage, 10, "k").len(), 4);
    }

    #[test]
    fn what_may_not_be_written_counts_only_when_it_has_all() {
        let mut all = candidates(&["A", "B"]);
        all[0].writable = false;
        let half = BTreeMap::from([("A".to_owned(), 5)]);
        let full = BTreeMap::from([("A".to_owned(), 10)]);
        assert_eq!(choose(1, &all, &BTreeSet::new(), &half, 10, "k"), ["B"]);
        assert_eq!(choose(1, &all, &BTreeSet::new(), &full, 10, "k"), ["A"]);
    }

    #[test]
    fn spreads_and_repeats() {
        let mut hits: BTreeMap<String, u32> = BTreeMap::new();
        for n in 0..3000 {
            let key = format!("s:ds{n}");
            let chosen = plain(1, &key, &["A", "B", "C"]);
            assert_eq!(chosen, plain(1, &key, &["C", "B", "A"]), "the order of the candidates does not matter");
            *hits.entry(chosen[0].clone()).or_default() += 1;
        }
        assert!(hits.values().all(|n| (800..1200).contains(n)), "{hits:?}");
    }

    #[test]
    fn weights() {
        let mut all = candidates(&["A", "B"]);
        all[0].weight = 3.0;
        let none = BTreeMap::new();
        let first =
            (0..2000).filter(|n| choose(1, &all, &BTreeSet::new(), &none, 1, &format!("k{n}"))[0] == "A").count();
        assert!((1400..1600).contains(&first), "{first}");
    }
}
