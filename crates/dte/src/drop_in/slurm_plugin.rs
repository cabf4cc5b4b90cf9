//! `SlurmConfig.yaml` of upstream's Slurm plugin: its Slurm becomes the site `slurm`, and its socket leads to it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml_edit::{Array, InlineTable};

use super::{Instead, Reading, socket_path};
use crate::failure::Failure;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct File {
    sbatch_path: String,
    scancel_path: String,
    squeue_path: String,
    sinfo_path: String,
    socket: String,
    image_prefix: String,
    data_root_folder: PathBuf,
    verbose_logging: bool,
    errors_only_logging: bool,
    singularity_path: PathBuf,
    singularity_default_options: Vec<String>,
    container_runtime: String,
}

const KNOWN: &[&str] = &[
    "SbatchPath",
    "ScancelPath",
    "SqueuePath",
    "SinfoPath",
    "Socket",
    "ImagePrefix",
    "DataRootFolder",
    "VerboseLogging",
    "ErrorsOnlyLogging",
    "SingularityPath",
    "SingularityDefaultOptions",
    "ContainerRuntime",
    // Volumes always go with their pod.
    "ExportPodData",
    // Means nothing without Tsocks, upstream too.
    "TsocksPath",
    "TsocksLoginNode",
    // No shell stands between.
    "BashPath",
];
const NO_SHELL: &str =
    "nothing of a job is read by a shell; set up the jobs' account or `environment` of the site's `container`";
const FLAVOURS: &str = "write `flags` of [[compute.sites]], or a site for each flavour";
const GANGS: &str = "a pod is a job of one node here";
const INSTEAD: &[Instead] = &[
    (
        "SidecarPort",
        "an API server shows no token, so it comes through a socket: set Socket: unix:///… here, and as SidecarURL there",
    ),
    ("CommandPrefix", NO_SHELL),
    ("SingularityPrefix", NO_SHELL),
    ("Namespace", "pods keep the namespace that they come with"),
    ("Tsocks", "reach a login node with `ssh` of [[compute.sites]]"),
    ("VKConfigPath", "a virtual kubelet reads its own file"),
    ("EnableProbes", "containers on batch nodes have no probes here; pods with probes are refused"),
    ("Flavors", FLAVOURS),
    ("DefaultFlavor", FLAVOURS),
    (
        "DefaultUID",
        "set `walls = \"other-user\"` and `uid_first` of [[compute.sites]]: each pod gets a user id of its own",
    ),
    ("EnrootDefaultOptions", "enroot is not had; `container` of [[compute.sites]] says what is"),
    ("EnrootPrefix", "enroot is not had; `container` of [[compute.sites]] says what is"),
    ("EnrootPath", "enroot is not had; `container` of [[compute.sites]] says what is"),
    ("GangSchedulingEnabled", GANGS),
    ("GangTimeout", GANGS),
    ("LauncherRegistryPath", GANGS),
];
const VARIABLES: &[&str] =
    &["SIDECARPORT", "SBATCHPATH", "SCANCELPATH", "SQUEUEPATH", "SINFOPATH", "TSOCKS", "TSOCKSPATH"];
/// What images are called that have no scheme; the default here too.
const USUAL_PREFIX: &str = "docker://";

pub fn apply(reading: &mut Reading<'_>) -> Result<(), Failure> {
    let (all, file) = reading.read::<File>()?;
    reading.tell_of_others(&all, KNOWN, INSTEAD);
    reading.tell_of_variables(VARIABLES);
    reading.log(file.verbose_logging, file.errors_only_logging);
    if !matches!(file.image_prefix.as_str(), "" | USUAL_PREFIX) {
        reading
            .note("ImagePrefix is left out: images without a scheme are taken from registries; write others in full");
    }
    if file.data_root_folder.as_os_str().is_empty() {
        return Err(reading.wrong("DataRootFolder is missing: the folder that this machine and the nodes share"));
    }
    let folder = std::path::absolute(&file.data_root_folder).map_err(|error| reading.wrong(error))?;
    let mut site = InlineTable::new();
    site.insert("plugin", "slurm".into());
    site.insert("name", "slurm".into());
    site.insert("folder", folder.to_string_lossy().as_ref().into());
    if let Some(programs) = programs(reading, &file)? {
        site.insert("programs", programs.to_string_lossy().as_ref().into());
    }
    site.insert("container", container(reading, &file)?.into());
    reading.push("compute", "sites", &site)?;
    reading
        .note("the site `slurm` runs pods as the account of the jobs, as the plugin did: pods of administrators only");
    match (socket_path(&file.socket), file.socket.is_empty()) {
        (Some(path), _) => reading.socket(path, "plugin"),
        (None, true) => Ok(()),
        (None, false) => Err(reading.wrong(format_args!("Socket: {:?} is not unix:///…", file.socket))),
    }
}

/// The folder of Slurm's programs. They have one: the engine asks more of them than the plugin did.
fn programs(reading: &Reading<'_>, file: &File) -> Result<Option<PathBuf>, Failure> {
    let mut folder: Option<&Path> = None;
    for (key, name, path) in [
        ("SbatchPath", "sbatch", &file.sbatch_path),
        ("ScancelPath", "scancel", &file.scancel_path),
        ("SqueuePath", "squeue", &file.squeue_path),
        ("SinfoPath", "sinfo", &file.sinfo_path),
    ] {
        if path.is_empty() || path == name {
            continue;
        }
        let path = Path::new(path);
        let own = path.parent().filter(|_| path.is_absolute() && path.file_name().is_some_and(|last| last == name));
        let own =
            own.ok_or_else(|| reading.wrong(format_args!("{key}: {} is no absolute path of {name}", path.display())))?;
        if folder.is_some_and(|other| other != own) {
            let text = "all of Slurm's programs must be in one folder: make one with links to them";
            return Err(reading.wrong(format_args!("{key}: {text}")));
        }
        folder = Some(own);
    }
    Ok(folder.map(Path::to_owned))
}

fn container(reading: &Reading<'_>, file: &File) -> Result<InlineTable, Failure> {
    if !matches!(file.container_runtime.as_str(), "" | "singularity") {
        let text = "is not had; `container` of [[compute.sites]] says what is";
        return Err(reading.wrong(format_args!("ContainerRuntime: {} {text}", file.container_runtime)));
    }
    let name = file.singularity_path.file_name().and_then(|name| name.to_str()).unwrap_or("singularity");
    let mut container = InlineTable::new();
    container.insert("kind", if name.contains("apptainer") { "apptainer" } else { "singularity" }.into());
    if file.singularity_path.is_absolute() {
        container.insert("program", file.singularity_path.to_string_lossy().as_ref().into());
    }
    container.insert("options", file.singularity_default_options.iter().collect::<Array>().into());
    Ok(container)
}

#[cfg(test)]
mod tests {
    use super::super::tests::made;

    const USUAL: &str = "SidecarPort: \"4000\"\nSocket: \"unix:///run/plugin.sock\"\nSbatchPath: \"/usr/bin/sbatch\"\nScancelPath: \"/usr/bin/scancel\"\n\
        SqueuePath: /usr/bin/squeue\nSinfoPath: /usr/bin/sinfo\nCommandPrefix: \"module load x\"\nImagePrefix: \"docker://\"\n\
        SingularityPath: /opt/apptainer\nSingularityDefaultOptions: [\"--no-eval\"]\nExportPodData: true\nDataRootFolder: \"/shared/jobs/\"\n\
        Namespace: vk\nTsocks: false\nTsocksPath: \"$WORK/x\"\nTsocksLoginNode: login01\nBashPath: /bin/bash\nVerboseLogging: true\n\
        ErrorsOnlyLogging: false\nFlavors: {default: {Name: default}}\nDefaultFlavor: default\n";

    #[test]
    fn the_usual_file() {
        let (document, notes) = made("", None, Some(USUAL)).expect("configured");
        let compute: dte_compute::ComputeConfig = document.section("compute").expect("valid");
        let site = format!("{:?}", compute.sites[0]);
        for words in ["\"/shared/jobs", "programs: Some(\"/usr/bin\")", "Apptainer", "\"/opt/apptainer\"", "--no-eval"]
        {
            assert!(site.contains(words), "{words}: {site}");
        }
        for words in
            ["SidecarPort is left out", "CommandPrefix is left out", "Flavors is left out", "/run/plugin.sock lets in"]
        {
            assert!(notes.contains(words), "{words}: {notes}");
        }
        assert!(!notes.contains("Tsocks") && !notes.contains("ExportPodData"), "{notes}");
    }

    #[test]
    fn both_files_are_one_engine() {
        let api = "InterlinkAddress: unix:///run/api.sock\nSidecarURL: unix:///run/plugin.sock\n";
        let (document, notes) = made("", Some(api), Some(USUAL)).expect("configured");
        let compute: dte_compute::ComputeConfig = document.section("compute").expect("valid");
        assert_eq!(compute.sites.len(), 1);
        assert!(notes.contains("the engine is the Slurm plugin itself"), "{notes}");
        assert!(notes.contains("/run/api.sock lets in") && notes.contains("/run/plugin.sock lets in"), "{notes}");
    }

    #[test]
    fn what_cannot_be() {
        for (from, to, words) in [
            ("/usr/bin/squeue", "/opt/bin/squeue", "in one folder"),
            ("/usr/bin/sbatch", "/usr/bin/my-sbatch", "is no absolute path of sbatch"),
            ("/shared/jobs/", "", "DataRootFolder is missing"),
            ("unix:///run/plugin.sock", "/run/plugin.sock", "is not unix:///"),
            ("BashPath: /bin/bash", "ContainerRuntime: enroot", "enroot is not had"),
        ] {
            let error = made("", None, Some(&USUAL.replace(from, to))).expect_err(to);
            assert!(error.contains(words), "{error}");
        }
    }
}
