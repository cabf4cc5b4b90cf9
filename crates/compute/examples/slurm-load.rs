//! What it costs to follow many running pods at a Slurm site: `slurm-load PODS SECONDS RUNNER` prints one line of JSON.
//!
//! One machine cannot run ten thousand jobs, so Slurm's programs are stood in for by scripts that say what Slurm would say of
//! jobs that run; run folders, the site and everything in it are the real ones.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_compute::pod::{ContainerPlan, PodPlan};
use dte_compute::slurm::{self, SlurmConfig};
use dte_compute::{Phase, Site, SiteContext, SiteError};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

const SUBMITTERS: usize = 16;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let pods: usize = arguments.next().ok_or("PODS is missing")?.parse()?;
    let seconds: u64 = arguments.next().ok_or("SECONDS is missing")?.parse()?;
    let runner = arguments.next().ok_or("RUNNER is missing")?;
    let dir = std::env::temp_dir().join(format!("dte-slurm-load-{}", new_id()));
    let programs = dir.join("programs");
    fs::create_dir_all(&programs)?;
    let script = |name: &str, text: String| -> std::io::Result<()> {
        fs::write(programs.join(name), format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755))
    };
    let at = dir.display();
    let name = "name=$(sed -n 's/^#SBATCH --job-name=//p' \"$2\")";
    script("sbatch", format!("{name}; echo \"$$|RUNNING|None|node|$name\" >> {at}/queue; echo $$"))?;
    script("squeue", format!("echo 1 >> {at}/asked; exec cat {at}/queue"))?;
    fs::write(dir.join("queue"), "")?;
    let config = SlurmConfig {
        name: "load".into(),
        folder: dir.join("shared"),
        programs: Some(programs.clone()),
        max_pods: pods as u64 + 1,
        runner: Some(runner.into()),
        ..SlurmConfig::default()
    };
    let tasks = Tasks::new();
    let context = SiteContext { data_dir: dir.join("data"), sockets: Vec::new(), tasks: tasks.clone() };
    let site = slurm::open(config, &context).await?;

    let begun = Instant::now();
    let uids: Vec<Uuid> = (0..pods).map(|_| new_id()).collect();
    let mut submissions = JoinSet::new();
    for some in uids.chunks(pods.div_ceil(SUBMITTERS)) {
        let (site, some) = (site.clone(), some.to_vec());
        submissions.spawn(async move {
            for uid in some {
                site.prepare(uid).await?;
                site.submit(&plan(uid)).await?;
            }
            Ok::<_, SiteError>(())
        });
    }
    while let Some(done) = submissions.join_next().await {
        done??;
    }
    let submitting = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(10)).await;

    let (cpu, asked) = (cpu_seconds()?, lines(&dir.join("asked")));
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let (cpu, asked) = (cpu_seconds()? - cpu, lines(&dir.join("asked")) - asked);
    let begun = Instant::now();
    let reports = site.status(&uids).await?;
    let known = reports.iter().filter(|report| report.phase == Phase::Pending).count();
    let answer = json!({
        "pods": known,
        "submitted_per_second": pods as f64 / submitting,
        "cpu_percent": cpu / minutes / 60.0 * 100.0,
        "squeue_per_minute": asked as f64 / minutes,
        "status_of_all_ms": begun.elapsed().as_millis() as u64,
        "resident_megabytes": resident()? as f64 / 1e6,
    });
    println!("{answer}");
    tasks.stop_and_wait(Duration::from_secs(5)).await;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

fn plan(uid: Uuid) -> PodPlan {
    let argv = ["/bin/sleep", "60"].map(str::to_owned).to_vec();
    let container = ContainerPlan { name: "main".into(), image: "host".into(), argv, ..ContainerPlan::default() };
    PodPlan { uid, namespace: "default".into(), name: "p".into(), containers: vec![container], ..PodPlan::default() }
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let used = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(used.user_time()) + seconds(used.system_time()))
}

/// Resident memory in bytes.
fn resident() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
