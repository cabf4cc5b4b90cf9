//! Persistent volume claims: the folder of the site that a claim's volume stands for. Pure.
//!
//! Only the persistent volume counts, which administrators of the cluster make: what a claim says of itself, its owner could say of
//! any folder. Whether pods may mount the folder is the site's own decision (`host_paths`).

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec};

use super::Unresolved;

/// Where a persistent volume is at the site: an annotation of it, or one of its CSI attributes.
pub const SITE_PATH: &str = "dte.io/site-path";
const READ_ONLY_MODES: &[&str] = &["ReadOnlyMany"];

/// A claim's volume at the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub path: String,
    pub read_only: bool,
}

/// What is not there yet, and may come.
fn missing(message: String) -> Unresolved {
    Unresolved::Missing { reason: "FailedMount", message }
}

/// The persistent volume that a claim is bound to.
pub fn volume_of(claim: &PersistentVolumeClaim) -> Result<&str, Unresolved> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let is_bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume
        .filter(|volume| is_bound && !volume.is_empty())
        .ok_or_else(|| missing(format!("the claim {name:?} is not bound")))
}

/// The folder that stands for the volume.
pub fn place(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Claimed, Unresolved> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let none = PersistentVolumeSpec::default();
    let spec = volume.spec.as_ref().unwrap_or(&none);
    let owner = spec.claim_ref.as_ref();
    if owner.is_none_or(|owner| owner.uid != claim.metadata.uid || owner.namespace != claim.metadata.namespace) {
        return Err(missing(format!("the persistent volume {name:?} is bound to another claim")));
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(Unresolved::Volume(format!(
            "the persistent volume {name:?} is a block device, which no site mounts"
        )));
    }
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let read_only = !modes.is_empty() && modes.iter().all(|mode| READ_ONLY_MODES.contains(&mode.as_str()));
    let path = path_of(volume, spec).ok_or_else(|| {
        Unresolved::Volume(format!(
            "nobody has said where the persistent volume {name:?} is at the site; its administrator annotates it with {SITE_PATH}: /the/folder"
        ))
    })?;
    if !path.starts_with('/') {
        return Err(Unresolved::Volume(format!("the persistent volume {name:?}: {path:?} is no absolute path")));
    }
    Ok(Claimed { path: path.to_owned(), read_only })
}

fn path_of<'a>(volume: &'a PersistentVolume, spec: &'a PersistentVolumeSpec) -> Option<&'a str> {
    let said = volume.metadata.annotations.as_ref().and_then(|all| all.get(SITE_PATH)).map(String::as_str);
    let of_driver = || {
        let attributes = spec.csi.as_ref()?.volume_attributes.as_ref()?;
        attributes.get(SITE_PATH).map(String::as_str)
    };
    let own = || spec.host_path.as_ref().map(|host| host.path.as_str());
    let local = || spec.local.as_ref().map(|local| local.path.as_str());
    said.or_else(of_driver).or_else(own).or_else(local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(modes: &[&str], phase: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"},
            "spec": {"accessModes": modes, "volumeName": "v"}, "status": {"phase": phase}}))
        .expect("a claim")
    }

    fn placed(source: Value) -> Result<Claimed, Unresolved> {
        let mut volume =
            json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u"}}});
        for (room, part) in source.as_object().expect("parts") {
            for (key, value) in part.as_object().expect("fields") {
                volume[room][key] = value.clone();
            }
        }
        place(&claim(&["ReadWriteMany"], "Bound"), &serde_json::from_value(volume).expect("a volume"))
    }

    #[test]
    fn folders_of_the_site() {
        let path = |source: Value| placed(source).expect("a place").path;
        assert_eq!(path(json!({"spec": {"hostPath": {"path": "/data/a"}}})), "/data/a");
        assert_eq!(path(json!({"spec": {"local": {"path": "/data/b"}}})), "/data/b");
        let nfs = json!({"server": "s", "path": "/export"});
        assert_eq!(path(json!({"metadata": {"annotations": {SITE_PATH: "/nfs/x"}}, "spec": {"nfs": nfs}})), "/nfs/x");
        let csi = json!({"driver": "d", "volumeHandle": "h", "volumeAttributes": {SITE_PATH: "/csi"}});
        assert_eq!(path(json!({"spec": {"csi": csi}})), "/csi");
        let both = json!({"metadata": {"annotations": {SITE_PATH: "/there"}}, "spec": {"hostPath": {"path": "/here"}}});
        assert_eq!(path(both), "/there");
    }

    #[test]
    fn others_are_named() {
        for (source, words) in [
            (json!({"spec": {"nfs": {"server": "s", "path": "/export"}}}), "annotates it with dte.io/site-path"),
            (json!({"spec": {"hostPath": {"path": "data"}}}), "no absolute path"),
            (json!({"spec": {"hostPath": {"path": "/d"}, "volumeMode": "Block"}}), "block device"),
            (
                json!({"spec": {"hostPath": {"path": "/d"}, "claimRef": {"namespace": "n", "name": "c", "uid": "old"}}}),
                "another claim",
            ),
        ] {
            let error = placed(source).expect_err(words);
            assert!(error.to_string().contains(words) && error.event() == "FailedMount", "{error}");
        }
        assert!(volume_of(&claim(&[], "Pending")).expect_err("waits").to_string().contains("is not bound"));
        assert_eq!(volume_of(&claim(&[], "Bound")).expect("a volume"), "v");
    }

    #[test]
    fn some_are_only_read() {
        let volume = json!({"metadata": {"name": "v"}, "spec": {"hostPath": {"path": "/d"}, "claimRef": {"namespace": "n", "uid": "u"}}});
        let volume = serde_json::from_value(volume).expect("a volume");
        assert!(place(&claim(&["ReadOnlyMany"], "Bound"), &volume).expect("a place").read_only);
        assert!(!place(&claim(&["ReadOnlyMany", "ReadWriteOnce"], "Bound"), &volume).expect("a place").read_only);
    }
}
