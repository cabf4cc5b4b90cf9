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
    let decision = explained(&rules, &lines, &mut Clocks::default(), 100);
    assert!(decision.begin[0] <= 3 && decision.begin[0] + decision.begin[1] == 5, "{decision:?}");
    assert_eq!(decision.begin[2..], [4, 9, 0]);
    assert_eq!(decision.why[2], Why::DestinationFull { running: 4, most: 4 });
    assert_eq!(decision.why[3], Why::LinkFull { running: 9, most: 9, rule: "all".into(), is_found: false });
    assert_eq!(decision.why[4], Why::Later(Some(Timestamp::EPOCH)));
    // What the optimiser found holds within the bounds of the rule.
    rules.links = vec![LinkRule { mode: Mode::Normal, ..link("found", "*", "*", 9) }];
    rules.best = [(("https://e".to_owned(), "https://f".to_owned()), 6)].into();
    assert_eq!(explained(&rules, &lines, &mut Clocks::default(), 100).begin[3], 6);
    // The areas' own limit holds with no rule at all; what runs already counts.
    rules.links.clear();
    let busy = [Line { running: 10, ..line(("e", "f"), "v", "", 3, 50) }];
    let decision = explained(&rules, &busy, &mut Clocks::default(), 100);
    assert_eq!((decision.begin[0], &decision.why[0]), (6, &Why::AreaFull { running: 16, most: 16 }));
}

/// Gives one place at a time for a while, and counts who gets it.
fn served(rules: &Rules, lines: &[Line], places: usize) -> Vec<usize> {
    let mut clocks = Clocks::default();
    let mut counts = vec![0; lines.len()];
    for _ in 0..places {
        let begun = decide(rules, lines, &mut clocks, 1);
        counts.iter_mut().zip(begun).for_each(|(count, begun)| *count += begun);
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
        explained(&rules, &lines[2..], &mut clocks, 1);
    }
    let late: usize = (0..40).map(|_| explained(&rules, &lines[1..], &mut clocks, 1).begin[0]).sum();
    assert!((29..=31).contains(&late), "{late}");
}

#[test]
fn priority_before_activity_and_its_reasons() {
    let mut rules = rules();
    rules.activity_shares = [("*".to_owned(), [("a".to_owned(), 1.0), ("b".to_owned(), 9.0)].into())].into();
    let lines = [line(("x", "y"), "v", "a", 5, 2), line(("x", "y"), "v", "b", 3, 5), line(("x", "y"), "w", "b", 1, 5)];
    let decision = explained(&rules, &lines, &mut Clocks::default(), 2);
    assert_eq!(decision.begin, [1, 0, 1], "VOs without shares are equals");
    assert_eq!(decision.why[1], Why::Priority(5));
    let decision = explained(&rules, &lines[..2], &mut Clocks::default(), 1);
    assert_eq!((decision.begin, &decision.why[0]), (vec![1, 0], &Why::NoPlace));
    let same = [line(("x", "y"), "v", "a", 3, 50), line(("x", "y"), "v", "b", 3, 50)];
    let decision = explained(&rules, &same, &mut Clocks::default(), 5);
    assert_eq!(decision.begin, [1, 4]);
    assert_eq!(decision.why, [Why::ActivityShare, Why::NoPlace]);
}

#[test]
fn links_with_fewer_copies_come_first() {
    let lines = [Line { running: 5, ..line(("a", "b"), "v", "", 5, 50) }, line(("a", "c"), "v", "", 1, 50)];
    assert_eq!(decide(&rules(), &lines, &mut Clocks::default(), 7), [1, 6]);
}

#[test]
fn names_that_no_share_names_have_one_share_together() {
    let mut rules = rules();
    let weights = [("Prod".to_owned(), 1.0), ("default".to_owned(), 1.0)];
    rules.activity_shares = [("atlas".to_owned(), weights.into())].into();
    rules.links = vec![link("all", "*", "*", 9)];
    let share = |vo: &str, share| VoShare { source: "*".into(), destination: "*".into(), vo: vo.into(), share };
    rules.vo_shares = vec![share("atlas", 2), share("public", 1)];
    // Another name for every file, or another spelling, brings no more than the share.
    let mut lines = vec![line(("a", "b"), "atlas", "Prod", 3, 10_000), line(("a", "b"), "atlas", "pRoD", 3, 10_000)];
    lines.extend((0..20).map(|n| line(("a", "b"), "atlas", &format!("x{n}"), 3, 10_000)));
    lines.extend((0..10).map(|n| line(("a", "b"), &format!("vo{n}"), "", 3, 10_000)));
    let counts = served(&rules, &lines, 3_000);
    let sums = [&counts[..2], &counts[2..22], &counts[22..]].map(|counts| counts.iter().sum::<usize>());
    assert!(sums.iter().all(|sum| (995..=1_005).contains(sum)), "{sums:?}");
    assert!(counts[22..].iter().all(|count| (99..=101).contains(count)), "VOs without a name take turns: {counts:?}");
}

#[test]
fn many_lines_take_a_moment() {
    let lines: Vec<Line> =
        (0..5_000).map(|n| line(("a", &format!("b{}", n % 500)), &format!("v{}", n % 7), "", 1 + n % 5, 100)).collect();
    let begun = decide(&rules(), &lines, &mut Clocks::default(), 2_000);
    assert_eq!(begun.iter().sum::<usize>(), 2_000);
    let mut of_links = HashMap::new();
    for (line, begun) in lines.iter().zip(&begun) {
        *of_links.entry(line.lane.link()).or_insert(0) += begun;
    }
    assert!(of_links.values().all(|begun| *begun == 4), "{of_links:?}");
}
