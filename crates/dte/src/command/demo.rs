//! `dte demo`: the example twin, from its first observation to its last.
//!
//! A person who replays history: it writes one file a month into the folder that the twin watches. Everything else is done by
//! the engine, through the same interfaces that every other user has. What it finds in the data directory it resumes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dte_protocol_rucio::{LakeClient, Protocol};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::cli::{Common, Demo};
use crate::command::{token, twin, up};
use crate::engine::{Engine, asked_to_stop};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::services;
use crate::settings::Settings;
use crate::show;

const TWIN: &str = "enso";
/// The figures, the twin and its attribution, as they stand in `examples/enso`.
const FIGURES: &str = include_str!("../../../../examples/enso/data/nino12-sst-monthly-1950-2010.csv");
const DOCUMENT: &str = include_str!("../../../../examples/enso/enso.yaml");
const HISTORY_FILE: &str = "nino12-history.csv";
/// From this month on, each observation arrives by itself.
const START: &str = "1980-01";
/// A second storage area, so that a rule has somewhere to put its second copy.
const ARCHIVE: &str = "ARCHIVE";
/// Observations that may wait for their run while we replay as fast as we can.
const AHEAD: u64 = 24;
/// Nothing moved for so long: something is wrong, and saying so beats waiting for ever.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn demo(common: &Common, command: &Demo) -> Result<(), Failure> {
    let model = model_program(command.model.as_deref())?;
    let data_dir = std::path::absolute(&common.data_dir)?;
    write_config(&data_dir)?;
    let folder = write_example(&data_dir, &model)?;
    let settings = Settings::load(common, &up::overrides(&command.listening))?;
    let began = Instant::now();
    let engine = Engine::start(&settings, &services::ALL.iter().collect::<Vec<_>>()).await?;
    engine.announce(command.listening.ready_file.as_deref())?;
    let stop = asked_to_stop();
    tokio::pin!(stop);
    let replayed = tokio::select! {
        replayed = replay(&engine, &data_dir, &folder, command, began) => replayed,
        stopped = &mut stop => stopped.map(|()| false),
    };
    let finished = match replayed {
        Ok(finished) => finished,
        Err(failure) => {
            engine.stop().await?;
            return Err(failure);
        }
    };
    if finished && (command.stay || command.pace.is_some()) {
        eprintln!("serving until Ctrl-C");
        stop.await?;
    }
    engine.stop().await
}

/// `true` when all was replayed.
async fn replay(
    engine: &Engine,
    data_dir: &Path,
    folder: &Path,
    command: &Demo,
    began: Instant,
) -> Result<bool, Failure> {
    let url = engine.context.public_url.clone();
    // The engine runs in this process, so its own client reaches it without a socket.
    let remote = Remote { client: engine.context.client.clone(), url, token: token::from_socket(data_dir).await? };
    eprintln!("engine on {} (data in {})", engine.url(), data_dir.display());
    add_archive(&remote).await?;
    twin::apply_file(&remote, &folder.join("enso.yaml")).await?;
    let link = crate::command::account::login_link(data_dir, engine.url()).await?;
    eprintln!("watch it:  {link}");
    let (history, months) = split_figures();
    let months = &months[..command.months.unwrap_or(months.len()).min(months.len())];
    let observations = folder.join("observations");
    arrive(&observations, HISTORY_FILE, &history)?;
    let progress = ProgressBar::new(months.len() as u64);
    progress.set_style(
        ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} forecasts, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut watch = Watch::new(&remote, &progress);
    for (index, (month, text)) in months.iter().enumerate() {
        arrive(&observations, &format!("nino12-{month}.csv"), text)?;
        progress.set_message(month.clone());
        match command.pace {
            Some(pace) => tokio::time::sleep(pace).await,
            None => watch.until_at_least((index as u64 + 1).saturating_sub(AHEAD)).await?,
        }
    }
    watch.until_at_least(months.len() as u64).await?;
    let status = watch.until_settled().await?;
    progress.finish_and_clear();
    report(&remote, data_dir, &status, &link, began.elapsed()).await?;
    Ok(true)
}

fn model_program(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = || std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("enso-model")));
    let path = given.map(Path::to_owned).or_else(beside).unwrap_or_else(|| PathBuf::from("enso-model"));
    if path.is_file() {
        return Ok(std::path::absolute(path)?);
    }
    Err(Failure::new(format!(
        "the model program {} is missing: build it with `cargo build --release -p enso-model`, or name it with --model",
        path.display()
    )))
}

/// One more storage area than the default.
fn write_config(data_dir: &Path) -> Result<(), Failure> {
    let file = data_dir.join("dte.toml");
    if file.exists() {
        return Ok(());
    }
    fs::create_dir_all(data_dir)?;
    let path = toml_edit::Value::from(data_dir.join("storage/archive").display().to_string());
    fs::write(file, format!("[[edge.areas]]\nname = \"archive\"\npath = {path}\nmode = \"webdav\"\n"))?;
    Ok(())
}

/// The example as a user would have it: the document, and beside it the folder that is watched.
fn write_example(data_dir: &Path, model: &Path) -> Result<PathBuf, Failure> {
    let folder = data_dir.join("twin");
    fs::create_dir_all(folder.join("observations"))?;
    let program = serde_json::to_string(&model.display().to_string())?;
    let text = DOCUMENT.replace("program: enso-model ", &format!("program: {program} "));
    if !text.contains(&program) {
        return Err(Failure::new("the example twin does not name its model program"));
    }
    fs::write(folder.join("enso.yaml"), text)?;
    Ok(folder)
}

/// A file arrives whole: it is written under a name that nobody watches and renamed. One that is there already stays.
fn arrive(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let target = folder.join(name);
    if target.exists() {
        return Ok(());
    }
    let part = folder.join(format!(".{name}.part"));
    fs::write(&part, text)?;
    fs::rename(&part, &target)?;
    Ok(())
}

/// What is known at the start, and then each month with its file.
fn split_figures() -> (String, Vec<(String, String)>) {
    let mut lines = FIGURES.lines();
    let heading = lines.next().unwrap_or_default();
    let (mut history, mut months) = (format!("{heading}\n"), Vec::new());
    for line in lines {
        match line.split_once(',') {
            Some((month, _)) if month >= START => months.push((month.to_owned(), format!("{heading}\n{line}\n"))),
            Some(_) => history.push_str(&format!("{line}\n")),
            None => {}
        }
    }
    (history, months)
}

async fn add_archive(remote: &Remote) -> Result<(), Failure> {
    let lake = LakeClient::new(remote.client.clone(), remote.base("/rucio")?, remote.token.clone());
    lake.ensure_rse(ARCHIVE).await?;
    let base = remote.base("/dav/archive/")?;
    lake.ensure_protocol(ARCHIVE, &webdav(&base)).await?;
    lake.ensure_rse_attribute(ARCHIVE, "tier", "archive").await?;
    Ok(())
}

/// How the lake reaches a folder of a WebDAV server.
fn webdav(base: &url::Url) -> Protocol {
    let operations = serde_json::json!({ "read": 1, "write": 1, "delete": 1, "third_party_copy_read": 1, "third_party_copy_write": 1 });
    Protocol {
        scheme: base.scheme().to_owned(),
        hostname: base.host_str().unwrap_or("localhost").to_owned(),
        port: base.port().unwrap_or(0),
        prefix: base.path().to_owned(),
        implementation: "rucio.rse.protocols.webdav.Default".to_owned(),
        domains: ["lan", "wan"].iter().map(|domain| ((*domain).to_owned(), operations.clone())).collect(),
        extended_attributes: None,
    }
}

/// Follows the twin's status and notices when nothing moves any more.
struct Watch<'a> {
    remote: &'a Remote,
    progress: &'a ProgressBar,
    done: u64,
    moved: Instant,
}

impl<'a> Watch<'a> {
    fn new(remote: &'a Remote, progress: &'a ProgressBar) -> Self {
        Watch { remote, progress, done: 0, moved: Instant::now() }
    }

    async fn look(&mut self) -> Result<Value, Failure> {
        let status = twin::status_of(self.remote, TWIN).await?;
        let ended = twin::runs_in(&status, &["succeeded", "failed"]);
        if ended > self.done {
            self.done = ended;
            self.moved = Instant::now();
            self.progress.set_position(ended);
        }
        if self.moved.elapsed() > PATIENCE {
            return Err(Failure::new(format!(
                "nothing has moved for {} s; the twin says: {}",
                PATIENCE.as_secs(),
                serde_json::to_string(&status).unwrap_or_default()
            )));
        }
        Ok(status)
    }

    async fn until_at_least(&mut self, count: u64) -> Result<(), Failure> {
        while self.done < count {
            self.look().await?;
            if self.done < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Copies, provenance and accounting follow a run; this waits for them.
    async fn until_settled(&mut self) -> Result<Value, Failure> {
        loop {
            let status = self.look().await?;
            if settled(self.remote, self.done).await? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether every rule is satisfied and every run has its records.
async fn settled(remote: &Remote, runs: u64) -> Result<bool, Failure> {
    let summary: Value = remote.get("/accounting/summary?group=twin").await?;
    let charged = find_twin(&summary).and_then(|row| row["compute"]["records"].as_u64()).unwrap_or(0);
    if charged < runs {
        return Ok(false);
    }
    let lake = LakeClient::new(remote.client.clone(), remote.base("/rucio")?, remote.token.clone());
    for container in ["nino12", "forecast"] {
        let did = format!("{TWIN}:{container}").parse().map_err(|error| Failure::new(format!("{error}")))?;
        let rules = lake.list_rules(&did).await?;
        if rules.iter().any(|rule| serde_json::to_value(rule).is_ok_and(|rule| rule["state"] != "OK")) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn find_twin(summary: &Value) -> Option<&Value> {
    summary["rows"].as_array()?.iter().find(|row| row["key"] == TWIN)
}

fn cost_text(row: &Value, currency: &Value) -> String {
    let part = |kind: &str| row[kind]["cost_micro"].as_f64().unwrap_or(0.0) / 1e6;
    format!(
        "{:.4} {}: {:.4} for {} runs ({:.1} CPU s), {:.4} for {} kept copies, {:.4} for {} transfers",
        row["cost_micro"].as_f64().unwrap_or(0.0) / 1e6,
        show::cell(currency),
        part("compute"),
        show::cell(&row["compute"]["records"]),
        row["compute"]["cpu_seconds"].as_f64().unwrap_or(0.0),
        part("storage"),
        show::cell(&row["storage"]["records"]),
        part("transfer"),
        show::cell(&row["transfer"]["records"])
    )
}

fn alert_text(alert: &Value) -> String {
    format!(
        "{} issued {}: {} (until {})",
        show::cell(&alert["alert"]),
        show::cell(&alert["issue_month"]),
        show::cell(&alert["message"]),
        show::cell(&alert["ended_issue_month"])
    )
}

async fn report(remote: &Remote, data_dir: &Path, status: &Value, link: &str, took: Duration) -> Result<(), Failure> {
    twin::print_status(status);
    let summary: Value = remote.get("/accounting/summary?group=twin").await?;
    show::line("");
    for alert in twin::alerts_of(remote, TWIN).await? {
        show::line(format!("alert       {}", alert_text(&alert)));
    }
    if let Some(row) = find_twin(&summary) {
        show::line(format!("cost        {}", cost_text(row, &summary["currency"])));
    }
    show::line(format!("took        {:.1} s", took.as_secs_f64()));
    show::line(format!("the page    {link}"));
    show::line(format!("  later:    dte up --data-dir {0}, then dte ui --data-dir {0}", data_dir.display()));
    show::line(format!("lineage     dte twin lineage {TWIN} --data-dir {}", data_dir.display()));
    Ok(())
}
