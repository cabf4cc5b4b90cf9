//! A container's variables: under names of the container program's own, or in a file that only it reads.

use std::path::Path;

use super::RUN_DIR;
use crate::host::folder::VOLUMES;
use crate::pod::{ContainerPlan, Content, PodPlan, Volume, VolumeFile, VolumeSource, expand};

/// The volume with the files.
const VOLUME: &str = "dte-environment";

/// Ours and the pod's, expanded, later ones in place of earlier ones.
pub fn of(container: &ContainerPlan) -> Result<Vec<(String, String)>, String> {
    let own = [("DTE_RUN_DIR", ""), ("DTE_INPUTS", "/inputs"), ("DTE_OUTPUTS", "/outputs")];
    let mut all: Vec<(String, String)> = own.map(|(name, sub)| (name.to_owned(), format!("{RUN_DIR}{sub}"))).to_vec();
    for (name, value) in &container.env {
        let mut characters = name.chars();
        let is_name = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(format!("env {name:?}: containers of this site have variables of letters, digits and _ only"));
        }
        let value = expand(value, |wanted| all.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()));
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((name, _)) if own.iter().any(|(own, _)| own == name) => {}
            Some(known) => known.1 = value,
            None => all.push((name.clone(), value)),
        }
    }
    Ok(all)
}

/// `PREFIX_NAME=value`, which the program hands on as `NAME=value`.
pub fn prefixed(prefix: &str, variables: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
    if let Some((name, _)) = variables.iter().find(|(_, value)| value.contains('\0')) {
        return Err(format!("env {name}: its value contains a NUL"));
    }
    Ok(variables.iter().map(|(name, value)| (format!("{prefix}{name}"), value.clone())).collect())
}

/// Files with `NAME=value` lines, one for each container, in a volume that nobody mounts.
pub struct Files {
    files: Vec<VolumeFile>,
}

impl Files {
    pub fn new(plan: &PodPlan) -> Result<Files, String> {
        if plan.volumes.iter().any(|volume| volume.name == VOLUME) {
            return Err(format!("volume {VOLUME}: the name is taken at this site"));
        }
        Ok(Files { files: Vec::new() })
    }

    pub fn path(&self, folder: &Path, container: &str) -> String {
        folder.join(VOLUMES).join(VOLUME).join(container).to_string_lossy().into_owned()
    }

    /// `trims`: the program takes blanks away from both ends of a value.
    pub fn add(&mut self, container: &str, variables: &[(String, String)], trims: bool) -> Result<(), String> {
        for (name, value) in variables {
            if value.contains(['\n', '\r', '\0']) {
                return Err(format!("env {name}: the container program of this site takes values of one line only"));
            }
            if trims && value.trim() != value {
                return Err(format!("env {name}: udocker would take the blanks at its ends away"));
            }
        }
        let text: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        self.files.push(VolumeFile { path: container.to_owned(), mode: 0o600, content: Content(text.into_bytes()) });
        Ok(())
    }

    pub fn volume(self) -> Option<Volume> {
        let source = VolumeSource::Files { files: self.files };
        match &source {
            VolumeSource::Files { files } if files.is_empty() => None,
            _ => Some(Volume { name: VOLUME.to_owned(), source }),
        }
    }
}
