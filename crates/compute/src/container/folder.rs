//! A pod's folder, `DATA_DIR/sites/NAME/UID/`: what is remembered of it, its data, and what its volumes hold. Only the engine's
//! account enters it; it goes with the pod.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::files::{Durable, private_folder, read_note, write_note};
use crate::host::folder::{INPUTS, OUTPUTS, remove_tree};
use crate::pod::{PodPlan, VolumeSource};
use crate::report::PodReport;
use crate::site::Cancellation;

const PLAN: &str = "plan.json";
const EXIT: &str = "exit.json";
const ENDING: &str = "ending.json";
const VOLUMES: &str = "volumes";

/// Why a pod is being ended, and since when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ending {
    pub how: Cancellation,
    pub since: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn of(root: &Path, uid: Uuid) -> Folder {
        Folder { path: root.join(uid.to_string()) }
    }

    pub fn create(&self) -> io::Result<()> {
        private_folder(&self.path)?;
        for name in [INPUTS, OUTPUTS] {
            private_folder(&self.path.join(name))?;
            // Whoever a container's program runs as; nobody else comes past the folder above.
            fs::set_permissions(self.path.join(name), Permissions::from_mode(0o777))?;
        }
        Ok(())
    }

    pub fn inputs(&self) -> PathBuf {
        self.path.join(INPUTS)
    }

    pub fn outputs(&self) -> PathBuf {
        self.path.join(OUTPUTS)
    }

    pub fn volumes(&self) -> PathBuf {
        self.path.join(VOLUMES)
    }

    pub fn save_plan(&self, plan: &PodPlan) -> io::Result<()> {
        write_note(&self.path, PLAN, plan, Durable::Yes)
    }

    pub fn plan(&self) -> io::Result<Option<PodPlan>> {
        read_note(&self.path.join(PLAN))
    }

    pub fn save_exit(&self, report: &PodReport) -> io::Result<()> {
        write_note(&self.path, EXIT, report, Durable::Yes)
    }

    pub fn exit(&self) -> io::Result<Option<PodReport>> {
        read_note(&self.path.join(EXIT))
    }

    pub fn save_ending(&self, ending: &Ending) -> io::Result<()> {
        write_note(&self.path, ENDING, ending, Durable::Yes)
    }

    pub fn ending(&self) -> io::Result<Option<Ending>> {
        read_note(&self.path.join(ENDING))
    }

    /// A file for a container's environment, to be removed when the container is made.
    pub fn write_environment(&self, text: &str) -> io::Result<PathBuf> {
        let path = self.path.join(format!(".environment-{}", Uuid::now_v7()));
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// Writes what volumes hold; those that are there already stay as they are.
    pub fn fill_volumes(&self, plan: &PodPlan) -> io::Result<()> {
        for volume in &plan.volumes {
            let place = self.volumes().join(&volume.name);
            if place.exists() || matches!(volume.source, VolumeSource::HostPath { .. }) {
                continue;
            }
            let draft = self.volumes().join(format!(".new-{}", Uuid::now_v7()));
            private_folder(&draft)?;
            let mut mode = 0o777;
            if let VolumeSource::Files { files } = &volume.source {
                mode = 0o755;
                for file in files {
                    let path = draft.join(&file.path);
                    if let Some(parent) = path.parent() {
                        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
                    }
                    OpenOptions::new()
                        .create_new(true)
                        .write(true)
                        .mode(0o600)
                        .open(&path)?
                        .write_all(&file.content.0)?;
                    fs::set_permissions(&path, Permissions::from_mode(file.mode))?;
                }
            }
            fs::set_permissions(&draft, Permissions::from_mode(mode))?;
            fs::rename(&draft, &place)?;
        }
        Ok(())
    }

    /// Removes what may be secret of a pod that has ended: what its volumes held, and the values in its plan.
    pub fn forget_secrets(&self) -> io::Result<()> {
        remove_tree(&self.volumes())?;
        let Some(plan) = self.plan()? else { return Ok(()) };
        let bare = plan.without_secrets();
        if bare == plan { Ok(()) } else { self.save_plan(&bare) }
    }

    pub fn remove(&self) -> io::Result<()> {
        let gone = self.path.with_file_name(format!(".old-{}", Uuid::now_v7()));
        match fs::rename(&self.path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| remove_tree(&gone)),
        }
    }
}

/// The pods that have folders. What was left half-removed goes.
pub fn all(root: &Path) -> io::Result<Vec<Uuid>> {
    private_folder(root)?;
    let mut all = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Some(name) if name.starts_with('.') => remove_tree(&entry.path())?,
            Some(name) => all.extend(name.parse::<Uuid>()),
            None => {}
        }
    }
    Ok(all)
}
