//! How a container is made: the arguments of `create`. Nothing of a pod is an option there: images and names are checked,
//! environment comes by file or behind `--env`, and what runs stands after the image.

use std::io;
use std::path::{Path, PathBuf};

use super::ContainerConfig;
use super::program::{CONTAINER, POD, SITE, name_of};
use crate::pod::{ContainerPlan, PodPlan, VolumeSource, expand};

/// Where containers find their data.
const RUN_DIR: &str = "/dte";

/// What the arguments refer to on this machine.
pub struct Places<'a> {
    pub inputs: &'a Path,
    pub outputs: &'a Path,
    pub volumes: &'a Path,
    /// The file with the environment.
    pub env_file: &'a Path,
    /// The container whose network this one shares.
    pub network_of: Option<&'a str>,
}

/// The arguments, and what the file of the environment has to hold.
#[derive(Debug)]
pub struct Creation {
    pub arguments: Vec<String>,
    pub environment: String,
}

/// Letters of image references: registry, path, tag, digest.
pub fn is_image(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    text.len() <= 512 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

pub fn create(config: &ContainerConfig, plan: &PodPlan, index: usize, places: &Places<'_>) -> Result<Creation, String> {
    let container = plan.all_containers().nth(index).ok_or("there is no such container")?;
    let mut words: Vec<String> = vec!["create".into(), "--name".into(), name_of(plan.uid, &container.name)];
    let labels = [(SITE, config.name.clone()), (POD, plan.uid.to_string()), (CONTAINER, container.name.clone())];
    for (label, value) in labels {
        words.extend(["--label".into(), format!("{label}={value}")]);
    }
    words.push(format!("--pull={}", config.pull.as_str()));
    match (places.network_of, &config.network) {
        (Some(other), _) => words.extend(["--network".into(), format!("container:{other}")]),
        (None, Some(network)) => words.extend(["--network".into(), network.clone()]),
        (None, None) => {}
    }
    words.push("--security-opt=no-new-privileges".into());
    words.extend(container.limits.memory_bytes.map(|bytes| format!("--memory={bytes}b")));
    words.extend(container.limits.cpu_millis.map(|millis| format!("--cpus={}.{:03}", millis / 1_000, millis % 1_000)));
    let known = environment(container);
    // A file has a line for each; what has lines itself goes another way.
    let fits = |(name, value): &&(String, String)| {
        !value.contains(['\n', '\r']) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    words.extend(["--env-file".into(), text(places.env_file)?]);
    for (name, value) in known.iter().filter(|pair| !fits(pair)) {
        words.extend(["--env".into(), format!("{name}={value}")]);
    }
    words.extend(bind(places.inputs, &format!("{RUN_DIR}/inputs"), true)?);
    words.extend(bind(places.outputs, &format!("{RUN_DIR}/outputs"), false)?);
    words.extend(mounts(plan, container, places.volumes)?);
    words.extend(container.working_dir.iter().flat_map(|dir| ["--workdir".to_owned(), dir.clone()]));
    let lookup = |name: &str| known.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let mut argv = container.argv.iter().map(|word| expand(word, lookup));
    if !container.keeps_entrypoint
        && let Some(program) = argv.next()
    {
        // docker takes a word; podman a list, so that a program whose name looks like one is still a word.
        let program = if config.is_docker() { program } else { serde_json::json!([program]).to_string() };
        words.extend(["--entrypoint".into(), program]);
    }
    words.extend(config.extra_args.iter().cloned());
    words.push(container.image.clone());
    words.extend(argv);
    let environment = known.iter().filter(fits).map(|(name, value)| format!("{name}={value}\n")).collect();
    Ok(Creation { arguments: words, environment })
}

fn mounts(plan: &PodPlan, container: &ContainerPlan, volumes: &Path) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for mount in &container.mounts {
        let field = format!("container {}: volumeMounts {:?}", container.name, mount.path);
        let volume = plan.volumes.iter().find(|volume| volume.name == mount.volume);
        let root = match volume.map(|volume| &volume.source) {
            None => return Err(format!("{field}: there is no volume {:?}", mount.volume)),
            Some(VolumeSource::HostPath { path, .. }) => PathBuf::from(path),
            Some(_) => volumes.join(&mount.volume),
        };
        let is_fixed = matches!(volume.map(|volume| &volume.source), Some(VolumeSource::Files { .. }));
        if mount.sub_path.is_some() && !is_fixed {
            // A container could put a link there, which the next start of another would follow.
            return Err(format!(
                "{field}: subPath of a volume that containers write to cannot be mounted at this site"
            ));
        }
        let from = match &mount.sub_path {
            Some(sub) => beneath(&root, Path::new(sub)).map_err(|why| format!("{field}: subPath {sub:?}: {why}"))?,
            None => root,
        };
        if !mount.path.starts_with('/') {
            return Err(format!("{field}: it must be an absolute path at this site"));
        }
        words.extend(bind(&from, &mount.path, mount.read_only || is_fixed)?);
    }
    Ok(words)
}

/// Ours and the pod's, expanded, later ones in place of earlier ones.
fn environment(container: &ContainerPlan) -> Vec<(String, String)> {
    let own = [("DTE_RUN_DIR", ""), ("DTE_INPUTS", "/inputs"), ("DTE_OUTPUTS", "/outputs")];
    let mut all: Vec<(String, String)> = own.map(|(name, sub)| (name.to_owned(), format!("{RUN_DIR}{sub}"))).to_vec();
    for (name, value) in &container.env {
        let value = expand(value, |wanted| all.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()));
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((name, _)) if own.iter().any(|(own, _)| own == name) => {}
            Some(known) => known.1 = value,
            None => all.push((name.clone(), value)),
        }
    }
    all
}

fn bind(from: &Path, to: &str, read_only: bool) -> Result<[String; 2], String> {
    let from = text(from)?;
    if from.contains([',', '"']) || to.contains([',', '"']) {
        return Err(format!("{to:?} cannot be mounted: its path contains a comma or a quotation mark"));
    }
    let mode = if read_only { ",readonly" } else { "" };
    Ok(["--mount".into(), format!("type=bind,source={from},destination={to}{mode}")])
}

fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is not text", path.display()))
}

/// A place within a volume, reached without links, which a container may have put there. Made if it is not there.
fn beneath(root: &Path, sub: &Path) -> Result<PathBuf, String> {
    let mut at = root.to_path_buf();
    for part in sub.components() {
        at.push(part);
        match std::fs::symlink_metadata(&at) {
            Ok(meta) if meta.file_type().is_symlink() => return Err("it leads through a link".into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir(&at).map_err(|error| error.to_string())?;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Limits;

    #[test]
    fn golden() {
        let container = ContainerPlan {
            name: "main".into(),
            image: "localhost/box:1".into(),
            argv: ["sh", "-c", "echo $(A) --privileged"].map(str::to_owned).to_vec(),
            env: [("A", "it's `id`"), ("B", "two\nlines"), ("DTE_INPUTS", "/etc")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            limits: Limits { cpu_millis: Some(1_500), memory_bytes: Some(1 << 20), storage_bytes: None },
            ..ContainerPlan::default()
        };
        let plan = PodPlan { containers: vec![container], ..PodPlan::default() };
        let [inputs, outputs, volumes, env_file] = ["/d/i", "/d/o", "/d/v", "/d/env"].map(Path::new);
        let places = Places { inputs, outputs, volumes, env_file, network_of: None };
        let config = ContainerConfig { network: Some("none".into()), ..ContainerConfig::default() };
        let made = create(&config, &plan, 0, &places).expect("made");
        let wanted = "create --name dte-00000000-0000-0000-0000-000000000000-main --label dte.site=containers \
            --label dte.pod=00000000-0000-0000-0000-000000000000 --label dte.container=main --pull=missing --network none \
            --security-opt=no-new-privileges --memory=1048576b --cpus=1.500 --env-file /d/env --env B=two\nlines \
            --mount type=bind,source=/d/i,destination=/dte/inputs,readonly --mount type=bind,source=/d/o,destination=/dte/outputs \
            --entrypoint [\"sh\"] localhost/box:1 -c echo it's `id` --privileged";
        assert_eq!(made.arguments.join(" "), wanted);
        assert_eq!(
            made.environment,
            "DTE_RUN_DIR=/dte\nDTE_INPUTS=/dte/inputs\nDTE_OUTPUTS=/dte/outputs\nA=it's `id`\n"
        );
    }

    #[test]
    fn images_are_not_options() {
        for image in ["--privileged", "", "a b", "$(id)", "-v/:/h", "a;b", "a\nb"] {
            assert!(!is_image(image), "{image}");
        }
        assert!(is_image("registry.example.org:5000/a/b_c:1.0@sha256:00ff"));
    }
}
