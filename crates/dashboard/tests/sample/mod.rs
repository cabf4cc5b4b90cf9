//! A twin as it looks after sixty years of real observations, with forecasts by damped persistence: good enough to draw.

#![allow(dead_code)]

use std::time::Duration;

use dte_base::time::Timestamp;
use dte_dashboard::model::engine::{Engine, Log, PodLine, Queue, RseLine, ServiceLine, SiteLine, TwinLine};
use dte_dashboard::model::lineage::{InputFile, Lineage, Node, collapse};
use dte_dashboard::model::period::Period;
use dte_dashboard::model::twin::*;

const LEADS: u32 = 6;
const SPREAD: [f64; 6] = [0.43, 0.62, 0.75, 0.83, 0.88, 0.92];

pub fn observations(until: &str) -> Vec<Observation> {
    let until: Period = until.parse().expect("test data");
    let text = include_str!("../../../../examples/enso/data/nino12-sst-monthly-1950-2010.csv");
    let read = |line: &str| {
        let (period, value) = line.split_once(',').expect("test data");
        Observation { period: period.parse().expect("test data"), value: value.parse().expect("test data") }
    };
    text.lines().skip(1).map(read).filter(|o| o.period <= until).collect()
}

pub fn period(text: &str) -> Period {
    text.parse().expect("test data")
}

fn issued(twin: &Twin, issue: usize) -> Vec<Forecast> {
    let climatology = twin.climatology();
    let now = &twin.observed[issue];
    let anomaly = now.value - climatology.at(&now.period).expect("test data");
    (1..=LEADS)
        .map(|lead| {
            let target = now.period.plus(i64::from(lead));
            let mean = climatology.at(&target).expect("test data") + anomaly * 0.89f64.powi(lead as i32);
            let spread = SPREAD[lead as usize - 1];
            Forecast {
                issue: now.period.clone(),
                target,
                lead,
                mean,
                interval_80: Some((mean - 1.28 * spread, mean + 1.28 * spread)),
                interval_95: Some((mean - 1.96 * spread, mean + 1.96 * spread)),
            }
        })
        .collect()
}

pub fn twin(lead: u32, until: &str) -> Twin {
    let mut twin = Twin {
        name: "enso".to_owned(),
        title: "Eastern equatorial Pacific".to_owned(),
        description: "Sea surface temperature of the region Niño 1+2 (0–10° S, 90–80° W), observed monthly and forecast six months ahead.".to_owned(),
        quantity: "sea surface temperature".to_owned(),
        unit: "°C".to_owned(),
        owner: "admin".to_owned(),
        state: State::Fresh,
        behind: Some(0),
        observed: observations(until),
        start: Some(period("1980-01")),
        leads: (1..=LEADS).collect(),
        ..Twin::default()
    };
    let start = twin.observed.iter().position(|o| Some(&o.period) == twin.start.as_ref()).expect("test data");
    let all: Vec<Vec<Forecast>> = (start..twin.observed.len()).map(|issue| issued(&twin, issue)).collect();
    twin.newest = all.last().cloned().unwrap_or_default();
    twin.newest_did = twin.newest.first().map(|f| format!("enso:forecast-{}.csv", f.issue));
    twin.history = all.iter().map(|forecasts| forecasts[lead as usize - 1].clone()).collect();
    twin.skill = skill(&twin, &all);
    twin.gate = Some(Gate { state: "passed".to_owned(), not_better_at: Vec::new() });
    let climatology = twin.climatology();
    for forecasts in &all {
        let high = forecasts
            .iter()
            .take(3)
            .map(|f| f.mean - climatology.at(&f.target).expect("test data"))
            .fold(f64::MIN, f64::max);
        let issue = forecasts[0].issue.clone();
        match twin.alerts.last_mut().filter(|alert| alert.is_open) {
            Some(alert) => {
                alert.is_open = high > 0.5;
                alert.until = Some(issue);
            }
            None if high > 1.3 => twin.alerts.push(Alert {
                name: "el-nino".to_owned(),
                target: Some(forecasts[2].target.clone()),
                until: Some(issue.clone()),
                issue,
                is_open: true,
                text: "El Niño conditions are likely off the coast of Ecuador and Peru".to_owned(),
                detail: format!("+{high:.1} °C in {}, 83 % likely", forecasts[2].target.text()),
                raised: Some(Timestamp::now()),
            }),
            None => {}
        }
    }
    twin.alerts.reverse();
    let runs = (twin.observed.len() - start) as u64;
    twin.counts = Counts {
        arrivals: runs + 1,
        runs,
        failed: 0,
        forecasts: runs,
        held: 0,
        refused: 1,
        alerts: twin.alerts.len() as u64,
    };
    twin.refused = vec![SetAside {
        name: "nino12-2003-07.csv".to_owned(),
        reason: "line 2: \"warm\" is not a number".to_owned(),
        since: Some(Timestamp::now()),
    }];
    twin.cost = vec![
        Cost { what: "Processor".to_owned(), amount: "3.31 s".to_owned(), of: "372 pods".to_owned() },
        Cost { what: "Stored".to_owned(), amount: "118.4 KiB".to_owned(), of: "745 files".to_owned() },
        Cost { what: "Transferred".to_owned(), amount: "0 B".to_owned(), of: "0 copies".to_owned() },
    ];
    let finished = Timestamp::now();
    twin.runs = vec![Run {
        uid: "5d3dc1f0-8a4c-5d0e-9f21-6f1c3a1b7e55".to_owned(),
        model: "forecast".to_owned(),
        arrival: until.to_owned(),
        state: "succeeded".to_owned(),
        site: Some("local (host)".to_owned()),
        why: Some("the model asks for dte.site = local; the input files are on LOCAL beside it".to_owned()),
        reason: None,
        started: Some(finished - Duration::from_millis(41)),
        finished: Some(finished),
        cpu_seconds: Some(0.009),
        max_rss_bytes: Some(3 << 20),
    }];
    twin.lineage = Some(lineage(&twin));
    twin
}

fn skill(twin: &Twin, all: &[Vec<Forecast>]) -> Vec<Skill> {
    let climatology = twin.climatology();
    let truth = |target: &Period| twin.observed.iter().find(|o| o.period == *target).map(|o| o.value);
    (1..=LEADS)
        .map(|lead| {
            let (mut sums, mut held, mut count) = ([0.0; 3], 0.0, 0.0);
            for f in all.iter().map(|forecasts| &forecasts[lead as usize - 1]) {
                let Some(truth) = truth(&f.target) else { continue };
                let usual = climatology.at(&f.target).expect("test data");
                let persistence = usual + (f.mean - usual) / 0.89f64.powi(lead as i32);
                for (sum, guess) in sums.iter_mut().zip([f.mean, persistence, usual]) {
                    *sum += (guess - truth) * (guess - truth);
                }
                let (low, high) = f.interval_80.expect("test data");
                held += f64::from(u8::from((low..=high).contains(&truth)));
                count += 1.0;
            }
            let rmse = |sum: f64| (count > 0.0).then(|| (sum / count).sqrt());
            Skill {
                lead,
                count: count as u64,
                model: rmse(sums[0]),
                persistence: rmse(sums[1]),
                climatology: rmse(sums[2]),
                coverage_80: (count > 0.0).then(|| held / count),
                coverage_95: None,
            }
        })
        .collect()
}

pub fn lineage(twin: &Twin) -> Lineage {
    let mut files = vec![InputFile { name: "enso:nino12-1950-1979.csv".to_owned(), bytes: Some(5_411) }];
    for o in twin.observed.iter().filter(|o| Some(&o.period) >= twin.start.as_ref()) {
        files.push(InputFile { name: format!("enso:nino12-{}.csv", o.period), bytes: Some(27) });
    }
    let node = |label: &str, details: &[&str]| Node {
        label: label.to_owned(),
        details: details.iter().map(|d| (*d).to_owned()).collect(),
    };
    Lineage {
        inputs: collapse(&files),
        run: node("forecast for 2010-12", &["2026-11-21 03:10:07 UTC", "41 ms"]),
        code: Some(node("enso-model", &["sha256 3fa2c11b…90d4"])),
        site: Some(node("local", &["plugin host, engine's own machine"])),
        agent: Some(node("admin", &["through workflow"])),
        outputs: vec![node("enso:forecast-2010-12.csv", &["adler32 8c1b33f0", "412 B on LOCAL"])],
        document: Some("/yprov/api/v0/documents/run-5d3dc1f0".to_owned()),
    }
}

pub fn engine() -> Engine {
    Engine {
        version: "0.1.0".to_owned(),
        uptime: Duration::from_secs(3_725),
        memory: Some(61 << 20),
        twins: vec![TwinLine {
            name: "enso".to_owned(),
            title: "Eastern equatorial Pacific".to_owned(),
            state: State::Fresh,
            behind: Some(0),
            last: Some("2010-12".to_owned()),
            runs: 372,
            alerts: 9,
            owner: "admin".to_owned(),
        }],
        services: ["accounting", "edge", "events", "lake", "offload", "provenance", "transfer", "workflow"]
            .iter()
            .enumerate()
            .map(|(i, name)| ServiceLine {
                name: (*name).to_owned(),
                prefixes: vec![format!("/{name}")],
                requests: 1_117 * i as u64,
                errors: 0,
            })
            .collect(),
        log: Log {
            position: 8_931,
            rate: Some(212.0),
            newest: Some(Timestamp::now()),
            recent: vec![
                ("org.dte.lake.replica.available".to_owned(), 31),
                ("org.dte.offload.pod.finished".to_owned(), 12),
            ],
        },
        queues: vec![
            Queue { name: "workflow.arrival".to_owned(), ready: 3, running: 1, dead: 0 },
            Queue { name: "transfer.copy".to_owned(), ready: 0, running: 0, dead: 2 },
        ],
        sites: vec![SiteLine {
            name: "local".to_owned(),
            plugin: "host".to_owned(),
            state: "up".to_owned(),
            running: Some(1),
        }],
        rses: vec![RseLine {
            name: "LOCAL".to_owned(),
            kind: "DISK".to_owned(),
            used: Some(121_000),
            total: Some(40 << 30),
            files: Some(745),
        }],
        pods: vec![PodLine {
            uid: "5d3dc1f0".to_owned(),
            name: "enso-forecast-2010-12".to_owned(),
            phase: "Running".to_owned(),
            site: "local".to_owned(),
            user: "admin".to_owned(),
            since: None,
        }],
        missing: vec![("sites", "the service did not answer".to_owned())],
    }
}
