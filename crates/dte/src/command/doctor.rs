//! `dte doctor`: what this machine offers, what is missing, and what that means.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::cli::Common;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::show;

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    state: String,
    means: &'static str,
}

pub async fn doctor(common: &Common) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let settings = Settings::load(common, &[]);
    let configuration = match settings.and_then(|settings| settings.check()) {
        Ok(()) => "good".to_owned(),
        Err(mistakes) => format!("{} mistakes: see dte config check", mistakes.0.len()),
    };
    findings.push(Finding {
        what: "configuration",
        state: configuration,
        means: "the engine starts only with a good one",
    });
    let probe = dte_compute::host::probe();
    findings.push(Finding {
        what: "sandbox",
        state: probe.to_string(),
        means: "without any isolation the host site takes pods of administrators only",
    });
    findings.push(Finding {
        what: "free space",
        state: free_space(&common.data_dir),
        means: "the data directory holds the store, run folders and the storage area LOCAL",
    });
    for (what, program, means) in [
        ("podman", "podman", "containers at this site (not used yet)"),
        ("slurm", "sbatch", "batch jobs at this site (not used yet)"),
        ("apptainer", "apptainer", "containers on batch nodes (not used yet)"),
    ] {
        findings.push(Finding { what, state: version(program), means });
    }
    if common.json {
        return show::json(&findings);
    }
    let rows: Vec<Vec<String>> =
        findings.into_iter().map(|f| vec![f.what.to_owned(), f.state, f.means.to_owned()]).collect();
    show::table(&["WHAT", "STATE", "MEANS"], &rows);
    Ok(())
}

fn version(program: &str) -> String {
    match Command::new(program).arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("installed").to_owned(),
        Err(_) => "not installed".to_owned(),
    }
}

/// The nearest folder that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."))
}

fn free_space(data_dir: &Path) -> String {
    match nix::sys::statvfs::statvfs(existing(data_dir)) {
        Ok(found) => dte_base::units::Bytes(found.blocks_available() * found.fragment_size()).to_string(),
        Err(error) => format!("unknown: {error}"),
    }
}
