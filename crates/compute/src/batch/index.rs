//! What the engine itself remembers of its pods at the site, in `DATA_DIR/sites/NAME/UID/`: enough to go on after a restart,
//! also while the site cannot be reached. For a far site the pods' inputs and outputs pass through here.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::files::{Durable, private_folder, read_note, write_note};
use crate::host::folder::{INPUTS, OUTPUTS, remove_tree};
use crate::pod::PodPlan;
use crate::report::PodReport;

const RECORD: &str = "job.json";
const EXIT: &str = "exit.json";

/// A pod that was, or was about to be, handed to the batch system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its containers, without what may be secret.
    pub plan: PodPlan,
    /// None: it was about to be handed over, and the batch system may have it or not.
    pub job: Option<u64>,
    /// The user id that the pod got.
    #[serde(default)]
    pub user: Option<u32>,
}

impl Record {
    pub fn new(plan: &PodPlan) -> Record {
        Record { plan: plan.without_secrets(), job: None, user: None }
    }
}

/// What was remembered of one pod.
pub struct Remembered<R> {
    pub uid: Uuid,
    pub record: Option<R>,
    pub exit: Option<PodReport>,
}

/// A site's folder. `R`: what is remembered of a pod that was, or was about to be, handed over.
#[derive(Clone, Debug)]
pub struct Index<R = Record> {
    root: PathBuf,
    records: PhantomData<fn() -> R>,
}

impl<R: Serialize + DeserializeOwned> Index<R> {
    pub fn open(root: PathBuf) -> io::Result<Self> {
        private_folder(&root)?;
        Ok(Index { root, records: PhantomData })
    }

    pub fn all(&self) -> io::Result<Vec<Remembered<R>>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_str().map(|name| (name.starts_with('.'), name.parse::<Uuid>())) {
                Some((true, _)) => remove_tree(&entry.path())?,
                Some((_, Ok(uid))) => {
                    let (record, exit) = (read_note(&entry.path().join(RECORD))?, read_note(&entry.path().join(EXIT))?);
                    all.push(Remembered { uid, record, exit });
                }
                _ => {}
            }
        }
        Ok(all)
    }

    pub fn create(&self, uid: Uuid) -> io::Result<()> {
        for name in [INPUTS, OUTPUTS] {
            private_folder(&self.folder(uid).join(name))?;
        }
        Ok(())
    }

    pub fn inputs(&self, uid: Uuid) -> PathBuf {
        self.folder(uid).join(INPUTS)
    }

    pub fn outputs(&self, uid: Uuid) -> PathBuf {
        self.folder(uid).join(OUTPUTS)
    }

    /// Survives the machine's death: it is what keeps a pod from being handed over twice.
    pub fn save(&self, uid: Uuid, record: &R) -> io::Result<()> {
        write_note(&self.folder(uid), RECORD, record, Durable::Yes)
    }

    pub fn save_exit(&self, uid: Uuid, report: &PodReport) -> io::Result<()> {
        write_note(&self.folder(uid), EXIT, report, Durable::Yes)
    }

    /// Takes back the record of a pod that was refused.
    pub fn withdraw(&self, uid: Uuid) -> io::Result<()> {
        match fs::remove_file(self.folder(uid).join(RECORD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn remove(&self, uid: Uuid) -> io::Result<()> {
        let gone = self.root.join(format!(".old-{}", Uuid::now_v7()));
        match fs::rename(self.folder(uid), &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| remove_tree(&gone)),
        }
    }

    pub fn folder(&self, uid: Uuid) -> PathBuf {
        self.root.join(uid.to_string())
    }
}
