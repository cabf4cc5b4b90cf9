//! What this engine remembers of a pod that it handed over: one folder a pod, one note in it, replaced as a whole.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dte_base::time::Timestamp;
use dte_protocol_interlink::RawPod;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::report::PodReport;
use crate::site::{SiteError, Staging};

const NOTE: &str = "note.json";
const DRAFT: &str = ".note.json";

/// A pod that was handed over, or is about to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    pub pod: RawPod,
    /// When it was handed over first.
    pub asked: Timestamp,
    /// What the place calls it, once it has answered.
    pub job: Option<String>,
    /// How it ended.
    pub report: Option<PodReport>,
}

/// The folder of a site.
#[derive(Clone, Debug)]
pub struct Notes {
    folder: PathBuf,
}

fn make(path: &Path) -> Result<(), SiteError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(SiteError::io(path.display().to_string()))
}

impl Notes {
    pub fn open(folder: PathBuf) -> Result<Self, SiteError> {
        make(&folder)?;
        Ok(Notes { folder })
    }

    /// The pod's own folder.
    pub fn folder(&self, uid: Uuid) -> PathBuf {
        self.folder.join(uid.to_string())
    }

    /// All notes. What cannot be read is an error: forgetting it could run a pod twice.
    pub fn all(&self) -> Result<Vec<(Uuid, Note)>, SiteError> {
        let failed = |path: &Path| SiteError::io(path.display().to_string());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed(&self.folder))? {
            let entry = entry.map_err(failed(&self.folder))?;
            let Some(uid) = entry.file_name().to_str().and_then(|name| name.parse::<Uuid>().ok()) else { continue };
            let path = entry.path().join(NOTE);
            let text = match fs::read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&path)(error)),
            };
            let note = serde_json::from_slice(&text).map_err(|error| failed(&path)(error.into()))?;
            found.push((uid, note));
        }
        Ok(found)
    }

    /// Makes the pod's folder.
    pub fn prepare(&self, uid: Uuid) -> Result<Staging, SiteError> {
        let folder = self.folder(uid);
        let staging = Staging { inputs: folder.join("in"), outputs: folder.join("out") };
        make(&staging.inputs)?;
        make(&staging.outputs)?;
        Ok(staging)
    }

    /// Writes a note; it is on disk when this returns.
    pub fn save(&self, uid: Uuid, note: &Note) -> Result<(), SiteError> {
        let folder = self.folder(uid);
        make(&folder)?;
        let (draft, path) = (folder.join(DRAFT), folder.join(NOTE));
        let written = serde_json::to_vec(note).map_err(std::io::Error::from).and_then(|text| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            fs::File::open(&folder)?.sync_all()
        });
        written.map_err(SiteError::io(path.display().to_string()))
    }

    /// Takes back the note of a pod that the place refused.
    pub fn withdraw(&self, uid: Uuid) -> Result<(), SiteError> {
        let path = self.folder(uid).join(NOTE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(SiteError::io(path.display().to_string())(error))
            }
            _ => Ok(()),
        }
    }

    /// Forgets a pod.
    pub fn remove(&self, uid: Uuid) -> Result<(), SiteError> {
        let folder = self.folder(uid);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(SiteError::io(folder.display().to_string())(error))
            }
            _ => Ok(()),
        }
    }
}
