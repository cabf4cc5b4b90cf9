//! The submit description. Golden: a change of its text is a change of the tests below.

use uuid::Uuid;

use super::flags::Command;
use crate::batch::resources::Wanted;
use crate::batch::system::JobPlace;
use crate::host::POD_SHIM;

/// What a runner may take beyond the pod's own grace before HTCondor ends it.
const PATIENCE_SECONDS: u64 = 10;
const KIBIBYTES: u64 = 1_024;
const SECONDS_OF_A_MINUTE: u64 = 60;

/// What the containers are limited to, in HTCondor's words.
pub fn wanted_commands(wanted: &Wanted) -> impl Iterator<Item = Command> {
    let asked = [
        ("request_cpus", wanted.cpus),
        // MiB, and KiB
        ("request_memory", wanted.memory_mebibytes),
        ("request_disk", wanted.storage_mebibytes.map(|mebibytes| mebibytes.saturating_mul(KIBIBYTES))),
        ("request_gpus", Some(wanted.gpus).filter(|gpus| *gpus > 0)),
        ("+MaxWallTimeMins", wanted.minutes),
    ];
    let given = asked.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
    // The attribute means something to some pools only; this ends the job at any.
    let limit = wanted.minutes.map(|minutes| {
        let seconds = minutes.saturating_mul(SECONDS_OF_A_MINUTE);
        let expression = format!("JobStatus == 2 && time() - EnteredCurrentStatus > {seconds}");
        ("periodic_remove".to_owned(), expression)
    });
    given.chain(limit)
}

/// The description of a pod's job. Paths are of plain characters ([`crate::place::check_folder`]), commands are checked
/// ([`super::flags`]), the site's name is a DNS label, and nothing else is in it.
pub fn render(uid: Uuid, site: &str, place: &JobPlace<'_>, commands: &[Command]) -> String {
    let folder = place.run_folder.display();
    let mut lines = vec![
        "universe = vanilla".to_owned(),
        format!("executable = {}", place.runner.display()),
        "transfer_executable = false".to_owned(),
        format!("arguments = \"{POD_SHIM} {folder}\""),
        format!("initialdir = {folder}"),
        format!("output = {folder}/job.out"),
        format!("error = {folder}/job.out"),
        format!("log = {folder}/job.log"),
        "should_transfer_files = NO".to_owned(),
        "getenv = false".to_owned(),
        "notification = never".to_owned(),
        "kill_sig = SIGTERM".to_owned(),
        "remove_kill_sig = SIGTERM".to_owned(),
        format!("job_max_vacate_time = {}", place.grace_seconds.saturating_add(PATIENCE_SECONDS)),
        format!("batch_name = {uid}"),
        format!("+DtePod = \"{uid}\""),
        format!("+DteSite = \"{site}\""),
    ];
    lines.extend(commands.iter().map(|(name, value)| format!("{name} = {value}")));
    lines.push("queue 1".to_owned());
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::htcondor::flags::merged;

    #[test]
    fn golden() {
        let uid = Uuid::from_u128(1);
        let wanted = Wanted {
            cpus: Some(2),
            memory_mebibytes: Some(2_048),
            storage_mebibytes: Some(10),
            minutes: Some(3),
            gpus: 1,
        };
        let site = [("requirements", "HasFastDisk"), ("request_cpus", "1")];
        let site = site.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let commands = merged(site.into_iter().chain(wanted_commands(&wanted)));
        let run_folder = Path::new("/shared/dte/runs/00000000-0000-0000-0000-000000000001");
        let place = JobPlace { run_folder, runner: Path::new("/shared/dte/bin/dte-0123"), grace_seconds: 20 };
        let wanted = "\
universe = vanilla
executable = /shared/dte/bin/dte-0123
transfer_executable = false
arguments = \"pod-shim /shared/dte/runs/00000000-0000-0000-0000-000000000001\"
initialdir = /shared/dte/runs/00000000-0000-0000-0000-000000000001
output = /shared/dte/runs/00000000-0000-0000-0000-000000000001/job.out
error = /shared/dte/runs/00000000-0000-0000-0000-000000000001/job.out
log = /shared/dte/runs/00000000-0000-0000-0000-000000000001/job.log
should_transfer_files = NO
getenv = false
notification = never
kill_sig = SIGTERM
remove_kill_sig = SIGTERM
job_max_vacate_time = 30
batch_name = 00000000-0000-0000-0000-000000000001
+DtePod = \"00000000-0000-0000-0000-000000000001\"
+DteSite = \"pool\"
requirements = HasFastDisk
request_cpus = 2
request_memory = 2048
request_disk = 10240
request_gpus = 1
+MaxWallTimeMins = 3
periodic_remove = JobStatus == 2 && time() - EnteredCurrentStatus > 180
queue 1
";
        assert_eq!(render(uid, "pool", &place, &commands), wanted);
    }
}
