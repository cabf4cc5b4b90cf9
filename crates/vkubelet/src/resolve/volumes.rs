//! The contents of a pod's volumes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::claims::Claimed;
use super::environment::{Kind, absent, without_key};
use super::sources::{Sources, containers};
use super::{Remark, Unresolved, downward};

/// What volumes hold, in the three lists of an interLink request.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub config_maps: Vec<ConfigMap>,
    pub secrets: Vec<Secret>,
    /// Named by volume: what is projected into it, by path.
    pub projected: Vec<ConfigMap>,
    /// Folders of the site that stand for claimed volumes, by volume.
    pub claimed: BTreeMap<String, Claimed>,
    pub remarks: Vec<Remark>,
}

/// Resolves all volumes that a container mounts.
pub fn resolve(pod: &Pod, sources: &Sources, without_projected: bool) -> Result<Contents, Unresolved> {
    let mounted: BTreeSet<&str> =
        containers(pod).flat_map(|one| one.volume_mounts.iter().flatten()).map(|mount| mount.name.as_str()).collect();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let mut contents = Contents::default();
    for volume in volumes.iter().filter(|volume| mounted.contains(volume.name.as_str())) {
        one(pod, volume, sources, without_projected, &mut contents)?;
    }
    Ok(contents)
}

fn one(
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
    without_projected: bool,
    contents: &mut Contents,
) -> Result<(), Unresolved> {
    let within = |error: Unresolved| in_volume(&volume.name, error);
    if let Some(asked) = &volume.config_map {
        match sources.config_maps.get(&asked.name) {
            Some(map) => {
                let has = |key: &str| map_keys(map).any(|known| known == key);
                check_items(asked.items.as_deref(), asked.optional, Kind::ConfigMap, &asked.name, has)
                    .map_err(within)?;
                if !contents.config_maps.iter().any(|known| known.metadata.name.as_deref() == Some(asked.name.as_str()))
                {
                    contents.config_maps.push(plain_map(map));
                }
            }
            None => absent(asked.optional, Kind::ConfigMap, &asked.name, &mut contents.remarks).map_err(within)?,
        }
    } else if let Some(asked) = &volume.secret {
        let name = asked.secret_name.as_deref().unwrap_or_default();
        match sources.secrets.get(name) {
            Some(secret) => {
                let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
                check_items(asked.items.as_deref(), asked.optional, Kind::Secret, name, has).map_err(within)?;
                push_secret(&mut contents.secrets, secret);
            }
            None => absent(asked.optional, Kind::Secret, name, &mut contents.remarks).map_err(within)?,
        }
    } else if let Some(projected) = &volume.projected {
        if !without_projected {
            let mut files = Files::default();
            for source in projected.sources.iter().flatten() {
                project(pod, volume, source, sources, &mut files, &mut contents.remarks).map_err(within)?;
            }
            contents.projected.push(files.named(&volume.name));
        }
    } else if let Some(asked) = &volume.downward_api {
        let mut files = Files::default();
        for item in asked.items.iter().flatten() {
            files.put(&item.path, downward_file(pod, item, sources).map_err(within)?.into_bytes());
        }
        contents.projected.push(files.named(&volume.name));
    } else if let Some(asked) = &volume.persistent_volume_claim {
        let place = sources.claims.get(&asked.claim_name).cloned();
        let place =
            place.unwrap_or_else(|| Err(Unresolved::Volume("it was not looked at".to_owned()))).map_err(within)?;
        let read_only = place.read_only || asked.read_only.unwrap_or(false);
        contents.claimed.insert(volume.name.clone(), Claimed { read_only, ..place });
    } else if volume.empty_dir.is_none() && volume.host_path.is_none() {
        let kind = kind_of(volume);
        return Err(Unresolved::Volume(format!(
            "volume {:?}: volumes of the kind {kind} cannot be mounted at a remote site; configMap, secret, projected, downwardAPI, emptyDir, hostPath and persistentVolumeClaim can",
            volume.name
        )));
    }
    Ok(())
}

fn in_volume(name: &str, error: Unresolved) -> Unresolved {
    match error {
        Unresolved::Missing { message, .. } => {
            Unresolved::Missing { reason: "FailedMount", message: format!("volume {name:?}: {message}") }
        }
        Unresolved::Nonsense(message) => Unresolved::Nonsense(format!("volume {name:?}: {message}")),
        Unresolved::Volume(message) if !message.starts_with("volume ") => {
            Unresolved::Volume(format!("volume {name:?}: {message}"))
        }
        other => other,
    }
}

/// The field that says what a volume is, by its name in the API.
fn kind_of(volume: &Volume) -> String {
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let mut names = fields.as_object().into_iter().flat_map(|fields| fields.keys());
    names.find(|name| *name != "name").cloned().unwrap_or_else(|| "that this version does not know".to_owned())
}

/// The secrets with which images are pulled.
pub fn pull_secrets(pod: &Pod, sources: &Sources, secrets: &mut Vec<Secret>) {
    let named = pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets.as_deref()).unwrap_or_default();
    for secret in named.iter().filter_map(|reference| sources.secrets.get(&reference.name)) {
        push_secret(secrets, secret);
    }
}

fn push_secret(secrets: &mut Vec<Secret>, secret: &Secret) {
    if !secrets.iter().any(|known| known.metadata.name == secret.metadata.name) {
        let metadata = plain_meta(&secret.metadata);
        secrets.push(Secret { metadata, data: secret.data.clone(), type_: secret.type_.clone(), ..Secret::default() });
    }
}

fn plain_map(map: &ConfigMap) -> ConfigMap {
    let metadata = plain_meta(&map.metadata);
    ConfigMap { metadata, data: map.data.clone(), binary_data: map.binary_data.clone(), ..ConfigMap::default() }
}

/// Names only: what else is in an object's metadata is nobody's business at the site.
fn plain_meta(meta: &ObjectMeta) -> ObjectMeta {
    ObjectMeta { name: meta.name.clone(), namespace: meta.namespace.clone(), ..ObjectMeta::default() }
}

fn map_keys(map: &ConfigMap) -> impl Iterator<Item = &str> {
    let text = map.data.iter().flat_map(|data| data.keys());
    text.chain(map.binary_data.iter().flat_map(|data| data.keys())).map(String::as_str)
}

/// All keys that `items` names are there.
fn check_items(
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    kind: Kind,
    name: &str,
    has: impl Fn(&str) -> bool,
) -> Result<(), Unresolved> {
    match items.into_iter().flatten().find(|item| !has(&item.key)) {
        Some(item) => without_key(optional, kind, name, &item.key, &mut Vec::new()),
        None => Ok(()),
    }
}

/// Files by their path within a volume.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn put(&mut self, path: &str, content: Vec<u8>) {
        self.0.insert(path.to_owned(), content);
    }

    /// Text goes as text, everything else as bytes.
    fn named(self, volume: &str) -> ConfigMap {
        let (mut data, mut binary) = (BTreeMap::new(), BTreeMap::new());
        for (path, content) in self.0 {
            match String::from_utf8(content) {
                Ok(text) => {
                    data.insert(path, text);
                }
                Err(error) => {
                    binary.insert(path, ByteString(error.into_bytes()));
                }
            }
        }
        ConfigMap {
            metadata: ObjectMeta { name: Some(volume.to_owned()), ..ObjectMeta::default() },
            data: Some(data),
            binary_data: Some(binary).filter(|map| !map.is_empty()),
            ..ConfigMap::default()
        }
    }
}

/// One source of a projected volume.
fn project(
    pod: &Pod,
    volume: &Volume,
    source: &VolumeProjection,
    sources: &Sources,
    files: &mut Files,
    remarks: &mut Vec<Remark>,
) -> Result<(), Unresolved> {
    if let Some(asked) = &source.service_account_token {
        let token = sources.tokens.get(&(volume.name.clone(), asked.path.clone()));
        files.put(&asked.path, token.cloned().unwrap_or_default().into_bytes());
    } else if let Some(asked) = &source.config_map {
        let Some(map) = sources.config_maps.get(&asked.name) else {
            return absent(asked.optional, Kind::ConfigMap, &asked.name, remarks);
        };
        let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.clone()));
        let keys: BTreeMap<&str, Vec<u8>> = text.chain(binary).collect();
        place(keys, asked.items.as_deref(), asked.optional, (Kind::ConfigMap, &asked.name), files)?;
    } else if let Some(asked) = &source.secret {
        let Some(secret) = sources.secrets.get(&asked.name) else {
            return absent(asked.optional, Kind::Secret, &asked.name, remarks);
        };
        let keys = secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.clone())).collect();
        place(keys, asked.items.as_deref(), asked.optional, (Kind::Secret, &asked.name), files)?;
    } else if let Some(asked) = &source.downward_api {
        for item in asked.items.iter().flatten() {
            files.put(&item.path, downward_file(pod, item, sources)?.into_bytes());
        }
    } else {
        return Err(Unresolved::Volume(format!(
            "volume {:?}: only tokens, configMaps, secrets and the downward API can be projected at a remote site",
            volume.name
        )));
    }
    Ok(())
}

fn place(
    keys: BTreeMap<&str, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    (kind, name): (Kind, &str),
    files: &mut Files,
) -> Result<(), Unresolved> {
    check_items(items, optional, kind, name, |key| keys.contains_key(key))?;
    match items.filter(|items| !items.is_empty()) {
        None => keys.into_iter().for_each(|(key, content)| files.put(key, content)),
        Some(items) => {
            for item in items {
                if let Some(content) = keys.get(item.key.as_str()) {
                    files.put(&item.path, content.clone());
                }
            }
        }
    }
    Ok(())
}

fn downward_file(pod: &Pod, item: &DownwardAPIVolumeFile, sources: &Sources) -> Result<String, Unresolved> {
    match (&item.field_ref, &item.resource_field_ref) {
        (Some(field), _) => downward::field(pod, &sources.node, field),
        (_, Some(resource)) => downward::resource(pod, &sources.node, "", resource),
        _ => Err(Unresolved::Nonsense(format!("the file {:?} has no source", item.path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Facts;
    use serde_json::{Value, json};

    fn ask(volumes: Value) -> Result<Contents, Unresolved> {
        let names: Vec<Value> =
            volumes.as_array().expect("a list").iter().map(|v| json!({"name": v["name"], "mountPath": "/x"})).collect();
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {"volumes": volumes, "containers": [{"name": "c", "volumeMounts": names}]}}))
        .expect("a pod");
        let map = json!({"metadata": {"name": "m", "uid": "x"}, "data": {"k": "v"}, "binaryData": {"raw": "/w=="}});
        let secret = json!({"metadata": {"name": "s"}, "data": {"P": "cGE="}, "type": "Opaque"});
        let sources = Sources {
            config_maps: BTreeMap::from([("m".to_owned(), serde_json::from_value(map).expect("a map"))]),
            secrets: BTreeMap::from([("s".to_owned(), serde_json::from_value(secret).expect("a secret"))]),
            claims: BTreeMap::from([
                ("data".to_owned(), Ok(Claimed { path: "/data".into(), read_only: false })),
                ("far".to_owned(), Err(Unresolved::Volume("nobody has said where".into()))),
            ]),
            services: Vec::new(),
            api_service: None,
            tokens: BTreeMap::from([(("v".to_owned(), "token".to_owned()), "t0ken".to_owned())]),
            node: Facts { name: "n".into(), ip: [127, 0, 0, 1].into(), allocatable: BTreeMap::new() },
            kubernetes_api: None,
        };
        resolve(&pod, &sources, false)
    }

    #[test]
    fn projections_are_joined() {
        let contents = ask(json!([{"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "m", "items": [{"key": "raw", "path": "a/raw"}]}},
            {"secret": {"name": "s"}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}]))
        .expect("contents");
        let map = &contents.projected[0];
        let data = map.data.as_ref().expect("data");
        assert_eq!((data["token"].as_str(), data["P"].as_str(), data["labels"].as_str()), ("t0ken", "pa", "a=\"b\""));
        assert_eq!(map.binary_data.as_ref().expect("bytes")["a/raw"].0, [0xff]);
        assert_eq!(map.metadata.name.as_deref(), Some("v"));
    }

    #[test]
    fn maps_and_secrets_are_sent_once_and_bare() {
        let contents = ask(json!([{"name": "a", "configMap": {"name": "m"}}, {"name": "b", "configMap": {"name": "m"}},
            {"name": "c", "secret": {"secretName": "s"}}, {"name": "d", "emptyDir": {}}, {"name": "e", "configMap": {"name": "none", "optional": true}}]))
        .expect("contents");
        assert_eq!((contents.config_maps.len(), contents.secrets.len(), contents.remarks.len()), (1, 1, 1));
        assert_eq!(contents.config_maps[0].metadata.uid, None);
    }

    #[test]
    fn claims_are_folders_of_the_site() {
        let contents = ask(json!([{"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "b", "persistentVolumeClaim": {"claimName": "data", "readOnly": true}}]))
        .expect("contents");
        assert_eq!((contents.claimed["a"].read_only, contents.claimed["b"].read_only), (false, true));
        let error = ask(json!([{"name": "a", "persistentVolumeClaim": {"claimName": "far"}}])).expect_err("nowhere");
        assert_eq!(error.to_string(), "volume \"a\": nobody has said where");
    }

    #[test]
    fn what_cannot_be_is_said() {
        let error = ask(json!([{"name": "a", "nfs": {"server": "x", "path": "/"}}])).expect_err("unsupported");
        assert!(error.to_string().contains("nfs") && error.event() == "FailedMount", "{error}");
        assert!(ask(json!([{"name": "a", "secret": {"secretName": "none"}}])).is_err());
        let missing_key = json!([{"name": "a", "configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}}]);
        assert_eq!(ask(missing_key).expect_err("missing").event(), "FailedMount");
    }
}
