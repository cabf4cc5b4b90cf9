//! Offloading against upstream's interLink API server and Slurm plugin, on the same Slurm.
//!
//! `compute PODS FOLDER NAME=PLACE[,TOKEN_FILE[,SITE]] …` prints one line of JSON. A place is `unix:PATH` or `http://HOST:PORT/PREFIX`.
//! For each server: pods accepted per second (PODS of them, from 16 connections, until `/create` has answered); and for pods that
//! write down when they begin and end into FOLDER, which their jobs see: milliseconds from `/create` until they run, and from
//! their end until `/status` says so, when it is asked for all of them every 100 ms.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use dte_bench::offload::{Failure, Server, ended, hand_over, now_ms, parse, spread};
use serde_json::{Map, Value, json};

/// Pods whose life is watched, and how long each runs.
const WATCHED: usize = 40;
const RUNS: &str = "0.3";
const ASK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let pods: usize = arguments.next().ok_or("PODS is missing")?.parse()?;
    let folder = PathBuf::from(arguments.next().ok_or("FOLDER is missing")?);
    let mut answer = Map::new();
    for text in arguments {
        let server = parse(&text)?;
        let life = watch(&server, &folder)?;
        let accepted = accept(&server, pods)?;
        answer.insert(server.name.clone(), json!({ "accepted": accepted, "life": life }));
    }
    println!("{}", Value::Object(answer));
    Ok(())
}

/// Hands over pods that do nothing, as fast as they are taken; then removes them.
fn accept(server: &Server, count: usize) -> Result<Value, Failure> {
    let pods: Vec<Value> = (0..count).map(|_| server.pod("true")).collect();
    let begun = Instant::now();
    let (took, refused) = hand_over(server, &pods);
    let seconds = begun.elapsed().as_secs_f64();
    let all_over = begun.elapsed();
    let end = Instant::now() + PATIENCE;
    while !ended(server, &pods)?.values().all(|is_over| *is_over) && Instant::now() < end {
        thread::sleep(ASK_EVERY);
    }
    let run = begun.elapsed();
    for pod in &pods {
        drop(server.ask("DELETE", "/delete", pod));
    }
    Ok(json!({
        "per_s": count as f64 / seconds, "ms": spread(took), "refused": refused, "accepted_s": all_over.as_secs_f64(),
        "run_per_s": count as f64 / run.as_secs_f64(),
    }))
}

/// When pods begin, and when their end is told.
fn watch(server: &Server, folder: &Path) -> Result<Value, Failure> {
    let place = folder.join(&server.name);
    std::fs::create_dir_all(&place)?;
    let mut created = HashMap::new();
    let mut pods = Vec::new();
    for _ in 0..WATCHED {
        let mut pod = server.pod("");
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let file = place.join(&uid);
        let file = file.display();
        pod["spec"]["containers"][0]["command"][2] =
            format!("date +%s%N >{file}.begin; sleep {RUNS}; date +%s%N >{file}.end").into();
        created.insert(uid, now_ms());
        server.create(&pod)?;
        pods.push(pod);
    }
    let mut seen: HashMap<String, f64> = HashMap::new();
    let end = Instant::now() + PATIENCE;
    while seen.len() < WATCHED && Instant::now() < end {
        for (uid, is_over) in ended(server, &pods)? {
            if is_over {
                seen.entry(uid).or_insert_with(now_ms);
            }
        }
        thread::sleep(ASK_EVERY);
    }
    let noted = |uid: &str, what: &str| -> Option<f64> {
        let text = std::fs::read_to_string(place.join(format!("{uid}.{what}"))).ok()?;
        Some(text.trim().parse::<f64>().ok()? / 1e6)
    };
    let to_running = created.iter().filter_map(|(uid, at)| Some(noted(uid, "begin")? - at)).collect();
    let to_seen = seen.iter().filter_map(|(uid, at)| Some(at - noted(uid, "end")?)).collect();
    for pod in &pods {
        drop(server.ask("DELETE", "/delete", pod));
    }
    Ok(json!({ "create_to_running_ms": spread(to_running), "exit_to_seen_ms": spread(to_seen), "seen": seen.len() }))
}
