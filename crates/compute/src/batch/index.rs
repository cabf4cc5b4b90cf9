//! What the engine itself remembers of its pods at the site, in `DATA_DIR/sites/NAME/UID/`: enough to go on after a restart,
//! also while the site cannot be reached. For a far site the pods' inputs and outputs pass through here.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::system::JobName;
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
    /// What jobs are called that it may have, beside one of its own; the last is the one that counts.
    #[serde(default)]
    pub shared: Vec<JobName>,
}

impl Record {
    pub fn new(plan: &PodPlan) -> Record {
        Record { plan: plan.without_secrets(), job: None, user: None, shared: Vec::new() }
    }

    /// What the pod's job is called, as far as is known.
    pub fn called(&self) -> JobName {
        self.shared.last().copied().unwrap_or(JobName::own(self.plan.uid))
    }

    /// All that its jobs may be called: a kill may have left more than one, of which one runs it.
    pub fn names(&self) -> impl Iterator<Item = JobName> {
        let own = JobName::own(self.plan.uid);
        self.shared.iter().copied().filter(move |name| *name != own).chain([own])
    }

    /// The job of this name is the one that counts.
    pub fn call(&mut self, name: JobName) {
        if self.called() != name {
            self.shared.retain(|known| *known != name);
            self.shared.push(name);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_remembers_all_names_that_its_jobs_may_have() {
        let mut record = Record::new(&PodPlan { uid: Uuid::from_u128(1), ..PodPlan::default() });
        let (own, first) = (JobName::own(Uuid::from_u128(1)), JobName::task(Uuid::from_u128(2), 7));
        record.call(own);
        assert_eq!((record.called(), record.shared.len()), (own, 0));
        record.call(first);
        assert_eq!((record.called(), record.names().collect::<Vec<_>>()), (first, vec![first, own]));
        record.call(own);
        assert_eq!(record.called(), own);
        assert_eq!(record.names().collect::<Vec<_>>(), [first, own]);
        let known: Record = serde_json::from_value(serde_json::json!({"plan": record.plan, "job": 5})).expect("old");
        assert_eq!((known.called(), known.job), (own, Some(5)));
    }
}
