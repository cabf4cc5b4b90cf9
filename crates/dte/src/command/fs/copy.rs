//! Copying: `cp`.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_storage::{Copied, CopyOrder, Entry, Errno, Error, Stat, copy_verified, fetch};
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::change::is_folder;
use super::look::stat_of;
use super::place::{Links, Place, Reach};
use super::{Failures, said};
use crate::cli::FsCopy;
use crate::failure::Failure;
use crate::show;

/// Copies to a server are tried this often when trying again may help.
const MOST_TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The longest list of sources.
const LONGEST_LIST: u64 = 64 << 20;
/// The exit code of a command that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;
/// Between two looks at how far the copies are.
const LOOK: Duration = Duration::from_millis(200);

/// One file to copy.
struct Pair {
    from: Place,
    to: Place,
    /// As far as it is known, for showing how far it is.
    bytes: u64,
    progress: Arc<AtomicU64>,
}

impl Pair {
    fn new(from: Place, to: Place, stat: &Stat) -> Pair {
        Pair { from, to, bytes: stat.bytes.unwrap_or(0), progress: Arc::default() }
    }
}

pub async fn cp(reach: &Reach, wanted: &FsCopy, as_json: bool) -> Result<(), Failure> {
    let (sources, destination) = ends(wanted)?;
    let Plan { pairs, folders, left_out } = plan(reach, &sources, &destination, wanted).await?;
    if wanted.checksum.is_some() && pairs.len() != 1 {
        return Err(Failure::new("--checksum is for one file").with_code(2));
    }
    if wanted.dry_run {
        pairs.iter().for_each(|pair| show::line(format!("{} => {}", pair.from.shown, pair.to.shown)));
        let mut failures = Failures::default();
        left_out.iter().for_each(|(_, failure)| failures.note(failure));
        return failures.end("could not be copied");
    }
    for folder in &folders {
        let made = folder.location.store.make_folder(&folder.location.path).await;
        made.map_err(|error| said(&error))?;
    }
    tokio::select! {
        outcome = copy_all(&pairs, left_out, wanted, as_json) => outcome,
        signal = tokio::signal::ctrl_c() => {
            signal?;
            Err(Failure::new("interrupted; the same command goes on with what was begun").with_code(INTERRUPTED))
        }
    }
}

/// The sources, and where they go.
fn ends(wanted: &FsCopy) -> Result<(Vec<String>, String), Failure> {
    let usage = |text: &str| Failure::new(text).with_code(2);
    let mut places = wanted.places.clone();
    let destination = places.pop().ok_or_else(|| usage("say where to copy to"))?;
    if let Some(file) = &wanted.from_file {
        if !places.is_empty() {
            return Err(usage("with --from-file say the destination only"));
        }
        places = lines_of(file)?;
    }
    if places.is_empty() {
        return Err(usage("say what to copy and where: dte fs cp SOURCE… DESTINATION"));
    }
    Ok((places, destination))
}

fn lines_of(file: &Path) -> Result<Vec<String>, Failure> {
    let wrong = |error: std::io::Error| Failure::new(format!("{}: {error}", file.display()));
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(LONGEST_LIST).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).map_err(wrong)?.take(LONGEST_LIST).read_to_string(&mut text)
    };
    if read.map_err(wrong)? as u64 >= LONGEST_LIST {
        return Err(Failure::new(format!("{}: longer than {} MiB", file.display(), LONGEST_LIST >> 20)).with_code(2));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// What is to be done.
#[derive(Default)]
struct Plan {
    pairs: Vec<Pair>,
    /// Empty ones, to be made.
    folders: Vec<Place>,
    /// Places in a tree that cannot be copied, with what is wrong with them.
    left_out: Vec<(String, Failure)>,
}

/// Which files go where, and which folders are empty.
async fn plan(reach: &Reach, sources: &[String], destination: &str, wanted: &FsCopy) -> Result<Plan, Failure> {
    let target = reach.place(destination, Links::Followed).await?;
    let into =
        sources.len() > 1 || wanted.from_file.is_some() || destination.ends_with('/') || is_folder(&target).await?;
    let mut plan = Plan::default();
    for text in sources {
        let from = reach.place(text, Links::Followed).await?;
        let to = match from.name().filter(|_| into) {
            Some(name) => target.child(name)?,
            None => target.clone(),
        };
        let stat = stat_of(&from).await?;
        if !stat.is_folder {
            plan.pairs.push(Pair::new(from, to, &stat));
            continue;
        }
        if !wanted.recursive {
            let text = format!("{} is a folder: say --recursive", from.shown);
            return Err(said(&Error::new(Errno::EISDIR, text)));
        }
        if from.storage == to.storage && to.location.path.is_within(&from.location.path) {
            let text = format!("{} would be copied into itself", from.shown);
            return Err(said(&Error::new(Errno::EINVAL, text)));
        }
        plan.tree(reach, from, to).await;
    }
    Ok(plan)
}

impl Plan {
    /// All that is in a folder. What of it cannot be copied keeps nothing else from it.
    async fn tree(&mut self, reach: &Reach, from: Place, to: Place) {
        let mut open = vec![(from, to)];
        while let Some((from, to)) = open.pop() {
            let members = match from.location.store.list(&from.location.path).await {
                Ok(members) => members,
                Err(error) => {
                    self.left_out.push((from.shown, said(&error)));
                    continue;
                }
            };
            // Folders with something in them are made by what comes into them.
            if members.is_empty() {
                self.folders.push(to.clone());
            }
            for entry in members {
                match member(reach, &from, &to, &entry).await {
                    Ok(pair) if entry.stat.is_folder => open.push((pair.from, pair.to)),
                    Ok(pair) => self.pairs.push(pair),
                    Err(failure) => self.left_out.push((format!("{}/{}", from.shown, entry.name), failure)),
                }
            }
        }
    }
}

async fn member(reach: &Reach, from: &Place, to: &Place, entry: &Entry) -> Result<Pair, Failure> {
    let (child, to) = (from.child(&entry.name)?, to.child(&entry.name)?);
    let from = reach.followed(&child)?;
    let stat = if from.file == child.file { entry.stat.clone() } else { stat_of(&from).await? };
    Ok(Pair::new(from, to, &stat))
}

async fn copy_all(
    pairs: &[Pair],
    left_out: Vec<(String, Failure)>,
    wanted: &FsCopy,
    as_json: bool,
) -> Result<(), Failure> {
    let (mut failures, mut done) = (Failures::default(), Vec::new());
    for (from, failure) in &left_out {
        failures.note(failure);
        done.push(json!({ "source": from, "error": failure.to_string() }));
    }
    if wanted.abort_on_failure && !left_out.is_empty() {
        return failures.end("could not be copied");
    }
    let bar = ProgressBar::new(pairs.iter().map(|pair| pair.bytes).sum());
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let copies = stream::iter(pairs).map(|pair| async move { (pair, copy(pair, wanted).await) });
    let mut copies = copies.buffer_unordered(usize::from(wanted.parallel));
    let mut look = tokio::time::interval(LOOK);
    loop {
        let (pair, outcome) = tokio::select! {
            next = copies.next() => match next {
                Some(next) => next,
                None => break,
            },
            _ = look.tick() => {
                bar.set_position(pairs.iter().map(|pair| pair.progress.load(Ordering::Relaxed)).sum());
                bar.set_message(format!("{}/{} files", done.len() - left_out.len(), pairs.len()));
                continue;
            }
        };
        let (from, to) = (&pair.from.shown, &pair.to.shown);
        match outcome {
            Ok(copied) => {
                let sum = copied.digest().hex();
                if !as_json {
                    bar.suspend(|| show::line(format!("{from} => {to} {} bytes adler32 {sum}", copied.bytes)));
                }
                done.push(json!({ "source": from, "destination": to, "bytes": copied.bytes, "adler32": sum }));
            }
            Err(error) => {
                bar.suspend(|| failures.note(&said(&error)));
                done.push(json!({ "source": from, "destination": to, "error": error.to_string() }));
                if wanted.abort_on_failure {
                    break;
                }
            }
        }
    }
    bar.finish_and_clear();
    if as_json {
        show::json(&done)?;
    }
    failures.end("could not be copied")
}

async fn copy(pair: &Pair, wanted: &FsCopy) -> Result<Copied, Error> {
    let order = CopyOrder {
        digests: wanted.checksum.iter().cloned().collect(),
        overwrite: wanted.force,
        // A later try of the same copy replaces what an earlier one left.
        part: Some(name_of(pair)),
        progress: pair.progress.clone(),
        ..CopyOrder::default()
    };
    if let (None, Some(file)) = (&pair.from.file, &pair.to.file) {
        return fetch(&pair.from.location, file, &order).await;
    }
    let waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut failures = 0;
    loop {
        match copy_verified(&pair.from.location, &pair.to.location, &order).await {
            Err(error) if error.is_recoverable() && failures + 1 < MOST_TRIES => {
                failures += 1;
                tokio::time::sleep(waits.wait(failures)).await;
            }
            other => return other,
        }
    }
}

fn name_of(pair: &Pair) -> String {
    let sum = Sha256::digest(format!("{}\n{}", pair.from.shown, pair.to.shown));
    sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
