//! The model against the real observations: no look-ahead, and better than what costs nothing.

use crate::forecast::{LEADS, forecast};
use crate::series::Series;

/// January 1980: before it is history, from it on the twin is judged.
const START: usize = 30 * 12;

fn observations() -> Series {
    let text = include_str!("../../data/nino12-sst-monthly-1950-2010.csv");
    let values = text
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').expect("test data").1.parse().expect("test data"))
        .collect();
    Series { first: crate::month::Month::parse("1950-01").expect("test data"), values }
}

fn known(series: &Series, months: usize) -> Series {
    Series { first: series.first, values: series.values[..months].to_vec() }
}

/// The mean of each calendar month over 1950–1979.
fn climatology(series: &Series) -> [f64; 12] {
    std::array::from_fn(|month| series.values[..START].iter().skip(month).step_by(12).sum::<f64>() / 30.0)
}

#[test]
fn a_changed_future_changes_no_earlier_forecast() {
    let truth = observations();
    let mut changed = truth.clone();
    changed.values[START + 24..].iter_mut().for_each(|value| *value += 7.0);
    for months in [START, START + 11, START + 24] {
        assert_eq!(forecast(&known(&truth, months)), forecast(&known(&changed, months)));
    }
    assert_ne!(forecast(&known(&truth, START + 25)), forecast(&known(&changed, START + 25)));
}

#[test]
fn beats_persistence_and_climatology_out_of_sample() {
    let series = observations();
    let climatology = climatology(&series);
    let normal = |index: usize| climatology[series.month(index).of_year()];
    // Per lead: squared errors of model, persistence and climatology; how often the 80 % interval held the truth.
    let mut squares = [[0.0; 3]; LEADS];
    let mut held = [0.0; LEADS];
    let mut count = [0.0; LEADS];
    for months in START + 1..series.values.len() {
        let issue = months - 1;
        for f in forecast(&known(&series, months)).expect("test data") {
            let Some(truth) = series.values.get(issue + f.lead) else { continue };
            let persistence = normal(issue + f.lead) + series.values[issue] - normal(issue);
            let tries = [f.mean, persistence, normal(issue + f.lead)];
            for (sum, guess) in squares[f.lead - 1].iter_mut().zip(tries) {
                *sum += (guess - truth) * (guess - truth);
            }
            let (low, high) = f.interval_80();
            held[f.lead - 1] += f64::from(u8::from((low..=high).contains(truth)));
            count[f.lead - 1] += 1.0;
        }
    }
    for lead in 1..=LEADS {
        let n: f64 = count[lead - 1];
        let [model, persistence, climate] = squares[lead - 1].map(|sum: f64| (sum / n).sqrt());
        let coverage = held[lead - 1] / n;
        println!(
            "lead {lead}: model {model:.3} persistence {persistence:.3} climatology {climate:.3} °C; 80 % held {coverage:.2}"
        );
        assert!((0.70..0.90).contains(&coverage), "lead {lead}: {coverage}");
        if lead <= 3 {
            assert!(model < persistence && model < climate, "lead {lead}");
        }
    }
}
