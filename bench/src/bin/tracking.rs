//! What it costs to know how pods on a batch system are, and how often the batch system is asked.
//!
//! `tracking PODS SECONDS CALLS PID[,PID…] NAME=PLACE[,TOKEN_FILE[,SITE]]` hands over PODS that sleep, waits until CALLS stops naming
//! submissions, then asks for all of them every 5 s, as interLink's virtual kubelet does, for SECONDS. CALLS is a file to
//! which each call of a program of the batch system adds a line with the program's name. Prints one line of JSON; CPU time
//! is that of the processes and of the programs that they called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use dte_bench::cpu_seconds_with_ended_children;
use dte_bench::offload::{Failure, hand_over, parse};
use serde_json::{Value, json};

const ASK_EVERY: Duration = Duration::from_secs(5);
/// When nothing was submitted for so long, everything has been.
const QUIET: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(3_600);

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or_else(|| Failure::from(format!("{what} is missing")));
    let pods: usize = next("PODS")?.parse()?;
    let seconds: f64 = next("SECONDS")?.parse()?;
    let calls = PathBuf::from(next("CALLS")?);
    let pids: Vec<u32> = next("PID")?.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let server = parse(&next("NAME=PLACE")?)?;

    let pods: Vec<Value> = (0..pods).map(|_| server.pod("sleep 3600")).collect();
    let begun = Instant::now();
    let (_, refused) = hand_over(&server, &pods);
    let accepted = begun.elapsed();
    let submitted = wait_until_submitted(&calls)?;
    let body = Value::from(pods);

    let before = counted(&calls)?;
    let cpu = |pids: &[u32]| pids.iter().copied().map(cpu_seconds_with_ended_children).sum::<f64>();
    let spent = cpu(&pids);
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut known = 0;
    while began.elapsed().as_secs_f64() < seconds {
        let asked = Instant::now();
        let answer = server.ask("GET", "/status", &body)?;
        slowest = slowest.max(asked.elapsed());
        known = serde_json::from_str::<Option<Vec<Value>>>(&answer)?.map_or(0, |statuses| statuses.len());
        thread::sleep(ASK_EVERY.saturating_sub(asked.elapsed()));
    }
    let passed = began.elapsed().as_secs_f64();
    let spent = cpu(&pids) - spent;
    let asked: BTreeMap<String, f64> = counted(&calls)?
        .into_iter()
        .map(|(program, count)| {
            (program.clone(), (count - before.get(&program).copied().unwrap_or(0.0)) * 60.0 / passed)
        })
        .filter(|(_, count)| *count > 0.0)
        .collect();
    println!(
        "{}",
        json!({ server.name: {
            "refused": refused, "accepted_s": accepted.as_secs_f64(), "submitted_s": (submitted - begun).as_secs_f64(), "known": known,
            "cpu_percent": 100.0 * spent / passed, "calls_per_minute": asked, "status_of_all_ms": slowest.as_secs_f64() * 1e3,
        }})
    );
    Ok(())
}

/// When the last submission was seen.
fn wait_until_submitted(calls: &Path) -> Result<Instant, Failure> {
    let (begun, mut last, mut count) = (Instant::now(), Instant::now(), 0.0);
    while last.elapsed() < QUIET && begun.elapsed() < PATIENCE {
        let now = counted(calls)?.get("sbatch").copied().unwrap_or(0.0);
        if now > count {
            (count, last) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(last)
}

/// How often each program has been called.
fn counted(calls: &Path) -> Result<BTreeMap<String, f64>, Failure> {
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(calls)?.lines() {
        *counts.entry(line.to_owned()).or_insert(0.0) += 1.0;
    }
    Ok(counts)
}
