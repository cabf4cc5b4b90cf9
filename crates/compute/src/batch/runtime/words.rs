//! The words of a container program's command. Golden: a change of them is a change of the tests.

use super::{Contained, Kind, RuntimeConfig};

const NVIDIA: &str = "nvidia.com/gpu";
const AMD: &str = "amd.com/gpu";
/// What is left of a pod's grace for the program itself.
const STOP_SECONDS: u64 = 2;

/// Before the pod is ended its containers are, by programs whose containers are not their own processes: what is killed with the
/// pod is only the program.
pub fn stop(config: &RuntimeConfig, container: &Contained<'_>, grace_seconds: u64) -> Option<Vec<String>> {
    if config.kind != Kind::Podman {
        return None;
    }
    let seconds = grace_seconds.saturating_sub(STOP_SECONDS).max(1);
    let mut words = begin(config);
    words.extend(["stop", "--ignore", "--time"].map(str::to_owned));
    words.extend([seconds.to_string(), container.name.clone()]);
    Some(words)
}

fn begin(config: &RuntimeConfig) -> Vec<String> {
    let program = config.program.as_ref().map(|path| path.to_string_lossy().into_owned());
    let mut words = vec![program.unwrap_or_else(|| config.kind.name().to_owned())];
    words.extend(config.args.iter().cloned());
    words
}

pub fn of(config: &RuntimeConfig, container: &Contained<'_>) -> Result<Vec<String>, String> {
    let mut words = begin(config);
    match config.kind {
        Kind::Apptainer | Kind::Singularity => apptainer(config, container, &mut words),
        Kind::Podman => podman(config, container, &mut words),
        Kind::Udocker => udocker(config, container, &mut words)?,
    }
    Ok(words)
}

fn has(container: &Contained<'_>, resource: &str) -> bool {
    container.plan.extended.get(resource).is_some_and(|count| *count > 0)
}

/// Variables come as `APPTAINERENV_…`; `--no-eval` keeps it from treating them as a shell would.
fn apptainer(config: &RuntimeConfig, container: &Contained<'_>, words: &mut Vec<String>) {
    let verb = if container.plan.keeps_entrypoint { "run" } else { "exec" };
    words.extend([verb, "--containall", "--no-eval"].map(str::to_owned));
    for bind in &container.binds {
        let mode = if bind.read_only { "ro" } else { "rw" };
        words.extend(["--bind".to_owned(), format!("{}:{}:{mode}", bind.from, bind.to)]);
    }
    words.extend(container.plan.working_dir.iter().flat_map(|dir| ["--pwd".to_owned(), dir.clone()]));
    words.extend(has(container, NVIDIA).then(|| "--nv".to_owned()));
    words.extend(has(container, AMD).then(|| "--rocm".to_owned()));
    words.extend(config.options.iter().cloned());
    words.push(container.image.clone());
    words.extend(container.argv.iter().cloned());
}

/// The batch system holds the limits of processors and memory. A container of the same name can only be left of an earlier job
/// of the pod, which had not begun.
fn podman(config: &RuntimeConfig, container: &Contained<'_>, words: &mut Vec<String>) {
    words.extend(["run", "--rm", "--replace", "--name"].map(str::to_owned));
    words.push(container.name.clone());
    words.extend(["--security-opt=no-new-privileges", "--network=host", "--env-file"].map(str::to_owned));
    words.push(container.environment_file.clone());
    for bind in &container.binds {
        let mode = if bind.read_only { ",readonly" } else { "" };
        words.push("--mount".to_owned());
        words.push(format!("type=bind,source={},destination={}{mode}", bind.from, bind.to));
    }
    words.extend(container.plan.working_dir.iter().flat_map(|dir| ["--workdir".to_owned(), dir.clone()]));
    words.extend(has(container, NVIDIA).then(|| "--device=nvidia.com/gpu=all".to_owned()));
    words.extend(has(container, AMD).then(|| "--device=amd.com/gpu=all".to_owned()));
    words.extend(config.options.iter().cloned());
    let mut argv = container.argv.iter().cloned();
    if !container.plan.keeps_entrypoint
        && let Some(program) = argv.next()
    {
        // A list, so that a program whose name looks like one is still a word.
        words.extend(["--entrypoint".to_owned(), serde_json::json!([program]).to_string()]);
    }
    words.push(container.image.clone());
    words.extend(argv);
}

/// It mounts nothing for reading only: what pods see is their own copy.
fn udocker(config: &RuntimeConfig, container: &Contained<'_>, words: &mut Vec<String>) -> Result<(), String> {
    if has(container, NVIDIA) || has(container, AMD) {
        return Err("udocker gives containers no GPUs here".into());
    }
    if container.argv.iter().any(String::is_empty) {
        return Err("udocker would leave an empty argument out".into());
    }
    if container.binds.iter().any(|bind| bind.from.contains(' ') || bind.to.contains(' ')) {
        return Err("udocker mounts no paths with blanks".into());
    }
    words.extend(["--quiet", "run", "--rm", "--nobanner"].map(str::to_owned));
    words.push(format!("--env-file={}", container.environment_file));
    words.extend(container.binds.iter().map(|bind| format!("--volume={}:{}", bind.from, bind.to)));
    words.extend(container.plan.working_dir.iter().map(|dir| format!("--workdir={dir}")));
    words.extend((!container.plan.keeps_entrypoint).then(|| "--entrypoint=".to_owned()));
    words.extend(config.options.iter().cloned());
    words.push(container.image.clone());
    words.extend(container.argv.iter().cloned());
    Ok(())
}
