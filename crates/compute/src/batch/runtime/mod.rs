//! Container programs of batch nodes: a pod's container becomes one command of such a program, which the pod's runner starts as
//! it starts programs of the machine.
//!
//! The command is a list of words, never a line for a shell. What is in a pod stands in it only where the program takes a plain
//! value: images, paths and names are checked, variables come by file or under names of the program's own, and what runs
//! stands after the image. The engine says whether a pod can be run this way before its job is handed over.

mod environment;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::host::folder::{INPUTS, OUTPUTS, TERMINATION, VOLUMES};
use crate::pod::{Action, ContainerPlan, PodPlan, Probes, VolumeSource, expand};
use crate::site::SiteError;

/// What a pod's image is called that is a program of the machine.
pub const HOST: &str = "host";
/// Where containers find their data.
const RUN_DIR: &str = "/dte";

/// `container = { program = "apptainer", … }` of a batch site.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    pub kind: Kind,
    /// Where it is on the nodes, if not on the usual path.
    #[serde(default)]
    pub program: Option<PathBuf>,
    /// Words before its command, such as `["--allow-root"]` of udocker.
    #[serde(default)]
    pub args: Vec<String>,
    /// Further options of every container.
    #[serde(default)]
    pub options: Vec<String>,
    /// Images that pods may use, see [`crate::image::allowed`]. Empty: all.
    #[serde(default)]
    pub images: Vec<String>,
    /// Folders of the nodes whose images pods may use by their paths, such as `/cvmfs/unpacked.cern.ch`.
    #[serde(default)]
    pub image_folders: Vec<PathBuf>,
    /// Images have to be named by digest (`…@sha256:…`), or by path.
    #[serde(default)]
    pub digests_only: bool,
    /// Folders of the nodes that pods may mount with hostPath, to read.
    #[serde(default)]
    pub host_paths: Vec<PathBuf>,
    /// Variables of the program itself, such as `APPTAINER_CACHEDIR`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Apptainer,
    Singularity,
    Podman,
    Udocker,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Apptainer => "apptainer",
            Kind::Singularity => "singularity",
            Kind::Podman => "podman",
            Kind::Udocker => "udocker",
        }
    }

    /// Whether an image may be a file or folder of the node.
    const fn takes_paths(self) -> bool {
        matches!(self, Kind::Apptainer | Kind::Singularity)
    }
}

/// One container, ready to be put into words.
struct Contained<'a> {
    plan: &'a ContainerPlan,
    image: String,
    name: String,
    binds: Vec<Bind>,
    /// The file with the environment, for programs that read one.
    environment_file: String,
    argv: Vec<String>,
}

struct Bind {
    from: String,
    to: String,
    read_only: bool,
}

impl RuntimeConfig {
    pub fn check(&self, site: &str) -> Result<(), SiteError> {
        let wrong = |text: String| Err(SiteError::Configuration(format!("site {site}: container: {text}")));
        if !self.image_folders.is_empty() && !self.kind.takes_paths() {
            return wrong(format!("image_folders: {} runs no images that are files", self.kind.name()));
        }
        for folder in self.image_folders.iter().chain(&self.host_paths).chain(&self.program) {
            if !folder.is_absolute() || folder.to_str().is_none_or(|path| !is_path(path)) {
                return wrong(format!("{} is not an absolute path of plain characters", folder.display()));
            }
        }
        Ok(())
    }
}

/// The pod with its containers as commands of the site's container program. `folder`: its run folder on the node. Containers of
/// image `host` are left as they are; what cannot be run is refused with the reason.
pub fn contained(
    config: Option<&RuntimeConfig>,
    site: &str,
    plan: &PodPlan,
    folder: &Path,
    grace_seconds: u64,
) -> Result<PodPlan, String> {
    let mut made = plan.clone();
    let is_host = |container: &&ContainerPlan| container.image == HOST;
    if let Some(volume) = plan.volumes.iter().find(|volume| matches!(volume.source, VolumeSource::HostPath { .. }))
        && (config.is_none() || plan.all_containers().any(|one| is_host(&one)))
    {
        return Err(format!("volume {}: site {site} lets pods mount no hostPath", volume.name));
    }
    let Some(first) = plan.all_containers().find(|one| !is_host(one)) else { return Ok(made) };
    let Some(config) = config else {
        let (name, image) = (&first.name, &first.image);
        return Err(format!("container {name}: site {site} runs image `{HOST}` only, not {image:?}"));
    };
    let mut files = environment::Files::new(plan)?;
    for container in made.init_containers.iter_mut().chain(&mut made.containers) {
        if container.image == HOST {
            continue;
        }
        let wrap = wrap(config, site, plan, container, folder, &mut files, grace_seconds);
        *container = wrap.map_err(|why| format!("container {}: {why}", container.name))?;
    }
    // Their places are bound by the container program; the node's runner only makes them.
    made.volumes.retain(|volume| !matches!(volume.source, VolumeSource::HostPath { .. }));
    made.volumes.extend(files.volume());
    Ok(made)
}

fn wrap(
    config: &RuntimeConfig,
    site: &str,
    plan: &PodPlan,
    container: &ContainerPlan,
    folder: &Path,
    files: &mut environment::Files,
    grace_seconds: u64,
) -> Result<ContainerPlan, String> {
    if container.probes != Probes::default() || container.post_start.is_some() || container.pre_stop.is_some() {
        return Err(format!("site {site} knows no probes and hooks in containers of {}", config.kind.name()));
    }
    let image = image_of(config, site, &container.image)?;
    let variables = environment::of(container)?;
    let lookup = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let contained = Contained {
        plan: container,
        image,
        name: format!("dte-{}-{}", plan.uid, container.name),
        binds: binds(config, plan, container, folder)?,
        environment_file: files.path(folder, &container.name),
        argv: container.argv.iter().map(|word| expand(word, lookup)).collect(),
    };
    if let Some(dir) = container.working_dir.as_ref().filter(|dir| !is_path(dir)) {
        return Err(format!("workingDir {dir:?} must be an absolute path of plain characters at this site"));
    }
    let words = words::of(config, &contained)?;
    let mut outer: Vec<(String, String)> = config.environment.clone().into_iter().collect();
    match config.kind {
        Kind::Apptainer => outer.extend(environment::prefixed("APPTAINERENV_", &variables)?),
        Kind::Singularity => outer.extend(environment::prefixed("SINGULARITYENV_", &variables)?),
        Kind::Podman => files.add(&container.name, &variables, false)?,
        Kind::Udocker => files.add(&container.name, &variables, true)?,
    }
    // The runner replaces `$(NAME)` once more.
    let kept = |text: String| text.replace('$', "$$");
    Ok(ContainerPlan {
        image: HOST.to_owned(),
        argv: words.into_iter().map(kept).collect(),
        keeps_entrypoint: false,
        env: outer.into_iter().map(|(name, value)| (name, kept(value))).collect(),
        working_dir: None,
        mounts: Vec::new(),
        pre_stop: words::stop(config, &contained, grace_seconds).map(|words| Action::Exec { argv: words }),
        ..container.clone()
    })
}

/// The image as the program is to be given it.
fn image_of(config: &RuntimeConfig, site: &str, image: &str) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("site {site} runs no image {image:?}: {why}"));
    if image.starts_with('/') {
        let path = Path::new(image);
        let known = config.image_folders.iter().any(|folder| path.starts_with(folder) && path != folder);
        return match is_path(image) && known {
            true => Ok(image.to_owned()),
            false => refuse("it is not beneath one of image_folders"),
        };
    }
    let (scheme, name) = image.split_once("://").map_or((None, image), |(scheme, name)| (Some(scheme), name));
    if !crate::container::is_image(name) {
        return refuse("it is not a name of an image");
    }
    let Some(name) = crate::image::allowed(&config.images, name) else {
        return refuse("it is not one that `images` allows");
    };
    // There, names that say no host mean another one than elsewhere.
    if scheme == Some("library") && !config.images.is_empty() && !image.ends_with(&format!("://{name}")) {
        return refuse("it has to be named in full, with its host");
    }
    if config.digests_only && !has_digest(&name) {
        return refuse("images have to be named by digest here (@sha256:…)");
    }
    match (config.kind, scheme) {
        (Kind::Apptainer | Kind::Singularity, Some(scheme @ ("docker" | "oras" | "library"))) => {
            Ok(format!("{scheme}://{name}"))
        }
        (Kind::Apptainer | Kind::Singularity, None) => Ok(format!("docker://{name}")),
        (_, None | Some("docker")) => Ok(name),
        (kind, Some(_)) => refuse(&format!("{} does not know where that is", kind.name())),
    }
}

fn has_digest(name: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    name.rsplit_once("@sha256:").is_some_and(|(_, digest)| digest.len() == 64 && digest.chars().all(is_hex))
}

fn binds(
    config: &RuntimeConfig,
    plan: &PodPlan,
    container: &ContainerPlan,
    folder: &Path,
) -> Result<Vec<Bind>, String> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut binds = vec![
        Bind { from: text(folder.join(INPUTS)), to: format!("{RUN_DIR}/inputs"), read_only: true },
        Bind { from: text(folder.join(OUTPUTS)), to: format!("{RUN_DIR}/outputs"), read_only: false },
    ];
    if let Some(path) = &container.termination.path {
        let from = text(folder.join(TERMINATION).join(&container.name));
        binds.push(Bind { from, to: path.clone(), read_only: false });
    }
    for mount in &container.mounts {
        let source = plan.volumes.iter().find(|volume| volume.name == mount.volume).map(|volume| &volume.source);
        let (root, is_fixed) = match source {
            None => return Err(format!("volumeMounts: there is no volume {:?}", mount.volume)),
            Some(VolumeSource::HostPath { path, .. }) => {
                let allowed = config.host_paths.iter().any(|root| Path::new(path).starts_with(root));
                if !allowed {
                    return Err(format!("volumeMounts: {path:?} is not beneath one of host_paths of this site"));
                }
                (PathBuf::from(path), true)
            }
            Some(VolumeSource::Files { .. }) => (folder.join(VOLUMES).join(&mount.volume), true),
            Some(VolumeSource::EmptyDir { .. }) => (folder.join(VOLUMES).join(&mount.volume), false),
        };
        let from = match &mount.sub_path {
            Some(sub) if is_fixed => root.join(sub),
            Some(_) => return Err("volumeMounts: subPath of an emptyDir cannot be mounted at this site".into()),
            None => root,
        };
        binds.push(Bind { from: text(from), to: mount.path.clone(), read_only: mount.read_only || is_fixed });
    }
    match binds.iter().find(|bind| !is_path(&bind.from) || !is_path(&bind.to)) {
        Some(bad) => {
            Err(format!("{:?} cannot be mounted: paths are absolute and of plain characters at this site", bad.to))
        }
        None => Ok(binds),
    }
}

/// Absolute, without `..`, of characters that mean themselves in the lists of options.
fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@ ~".contains(c);
    let clean = !Path::new(text).components().any(|part| matches!(part, std::path::Component::ParentDir));
    text.starts_with('/') && text.chars().all(plain) && clean
}

#[cfg(test)]
mod tests;
