//! What the engine itself remembers of its pods at the site, in `DATA_DIR/sites/NAME/UID/`: enough to go on after a restart,
//! also while the site cannot be reached. For a far site the pods' inputs and outputs pass through here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
        let mut plan = plan.clone();
        plan.volumes.clear();
        plan.annotations.clear();
        for container in plan.init_containers.iter_mut().chain(&mut plan.containers) {
            container.env.clear();
            container.argv.clear();
        }
        Record { plan, job: None, user: None }
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
        private(&root)?;
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
                    let (record, exit) = (read(&entry.path().join(RECORD))?, read(&entry.path().join(EXIT))?);
                    all.push(Remembered { uid, record, exit });
                }
                _ => {}
            }
        }
        Ok(all)
    }

    pub fn create(&self, uid: Uuid) -> io::Result<()> {
        for name in [INPUTS, OUTPUTS] {
            private(&self.folder(uid).join(name))?;
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
        replace(&self.folder(uid), RECORD, record)
    }

    pub fn save_exit(&self, uid: Uuid, report: &PodReport) -> io::Result<()> {
        replace(&self.folder(uid), EXIT, report)
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

fn private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn replace(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let draft = folder.join(format!(".{name}-{}", Uuid::now_v7()));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
