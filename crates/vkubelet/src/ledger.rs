//! Which pods were handed to the site, kept on disk before they are: a pod that vanished from the cluster while this process
//! was down can then be ended at the site, and no pod of another cluster or node ever is.

use std::io;
use std::path::{Path, PathBuf};

use dte_protocol_interlink::RawPod;
use serde::{Deserialize, Serialize};

/// The pods of one node of one cluster.
#[derive(Clone, Debug)]
pub struct Ledger {
    folder: PathBuf,
}

/// One line of it.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    pod: RawPod,
}

impl Ledger {
    /// `STATE/CLUSTER/NODE`. Both names come from Kubernetes and are no paths.
    pub fn open(state: &Path, cluster: &str, node: &str) -> io::Result<Self> {
        let plain = |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
        if !plain(cluster) || !plain(node) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{cluster:?} or {node:?} is not a name")));
        }
        let folder = state.join(cluster).join(node);
        std::fs::create_dir_all(&folder)?;
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some() {
                // A note that an earlier process did not finish: nothing was handed over.
                std::fs::remove_file(&path)?;
            }
        }
        Ok(Ledger { folder })
    }

    fn file(&self, uid: &str) -> io::Result<PathBuf> {
        if uid.is_empty() || !uid.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{uid:?} is not a pod's UID")));
        }
        Ok(self.folder.join(uid))
    }

    /// Notes that a pod will be handed over. Only what deleting needs is kept: no environment, no secrets.
    pub fn note(&self, pod: &RawPod) -> io::Result<()> {
        let file = self.file(pod.uid())?;
        if file.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec(&Note { pod: bare(pod) })?;
        let part = file.with_extension("part");
        std::fs::write(&part, text)?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(&part, &file)?;
        std::fs::File::open(&self.folder)?.sync_all()
    }

    pub fn has(&self, uid: &str) -> bool {
        self.file(uid).is_ok_and(|file| file.exists())
    }

    /// The site has forgotten the pod.
    pub fn forget(&self, uid: &str) -> io::Result<()> {
        match std::fs::remove_file(self.file(uid)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// All pods that were handed over and not yet forgotten. Others may be noted and forgotten at the same time.
    pub fn all(&self) -> io::Result<Vec<RawPod>> {
        let mut pods = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some() {
                continue;
            }
            let text = match std::fs::read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let note: Note = serde_json::from_slice(&text)?;
            pods.push(note.pod);
        }
        Ok(pods)
    }
}

/// A pod with what names it, and the containers that plugins look at when they delete.
pub fn bare(pod: &RawPod) -> RawPod {
    let names = |list: &str| -> Vec<serde_json::Value> {
        let containers = pod.0.get("spec").and_then(|spec| spec.get(list)).and_then(serde_json::Value::as_array);
        containers
            .into_iter()
            .flatten()
            .map(|one| serde_json::json!({ "name": one["name"], "image": one["image"] }))
            .collect()
    };
    let annotations = pod.0.get("metadata").and_then(|meta| meta.get("annotations")).cloned().unwrap_or_default();
    RawPod(serde_json::json!({
        "metadata": {
            "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid(), "annotations": annotations,
        },
        "spec": { "containers": names("containers"), "initContainers": names("initContainers") },
        "status": { "phase": "Running" },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn notes_survive_and_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let pod = RawPod(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u-1"},
            "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "secret"}]}]}}));
        let ledger = Ledger::open(folder.path(), "c", "n").expect("a ledger");
        ledger.note(&pod).expect("noted");
        assert!(ledger.has("u-1") && !ledger.has("../u-1"));
        let other = Ledger::open(folder.path(), "c", "other").expect("a ledger");
        assert!(other.all().expect("read").is_empty());
        let all = Ledger::open(folder.path(), "c", "n").expect("a ledger").all().expect("read");
        assert_eq!(all[0].uid(), "u-1");
        assert!(!all[0].0.to_string().contains("secret"));
        // What another task is about to note stays its own.
        std::fs::write(folder.path().join("c/n/u-2.part"), "half").expect("written");
        assert_eq!(ledger.all().expect("read").len(), 1);
        assert!(folder.path().join("c/n/u-2.part").exists());
        drop(Ledger::open(folder.path(), "c", "n").expect("a ledger"));
        assert!(!folder.path().join("c/n/u-2.part").exists());
        ledger.forget("u-1").expect("forgotten");
        assert!(ledger.all().expect("read").is_empty());
        assert!(Ledger::open(folder.path(), "..", "n").is_err());
    }
}
