//! Files of ConfigMap, Secret, projected and downward volumes, from the objects that came with the pod.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Request;
use super::volume::{VolumeFile, is_clean_relative};

/// A ConfigMap or Secret holds at most so much: what Kubernetes allows.
pub const MAX_OBJECT: usize = 1 << 20;
/// All files of a pod's volumes together.
pub const MAX_CONTENT: usize = 32 << 20;
/// Mode of files that do not say.
const USUAL_MODE: u32 = 0o644;

/// Bytes of a file; shown to nobody by accident, written as base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Content).map_err(serde::de::Error::custom)
    }
}

/// Reads volumes, and counts how much they hold.
pub(super) struct Files<'a> {
    request: &'a Request<'a>,
    total: usize,
}

/// `items` of a volume: a key and the path that it gets.
struct Item<'a> {
    key: &'a str,
    path: &'a str,
    mode: Option<i32>,
}

impl<'a> Files<'a> {
    pub fn new(request: &'a Request<'a>) -> Self {
        Files { request, total: 0 }
    }

    pub fn config_map_volume(
        &mut self,
        source: &core::ConfigMapVolumeSource,
        field: &str,
    ) -> Result<Vec<VolumeFile>, String> {
        let field = format!("{field}.configMap");
        let usual = mode(source.default_mode, None, &format!("{field}.defaultMode"))?;
        let found = self.config_map(&source.name, source.optional, &field)?;
        self.pick(found.as_ref(), items(source.items.as_deref()), source.optional, usual, &field)
    }

    pub fn secret_volume(&mut self, source: &core::SecretVolumeSource, field: &str) -> Result<Vec<VolumeFile>, String> {
        let field = format!("{field}.secret");
        let usual = mode(source.default_mode, None, &format!("{field}.defaultMode"))?;
        let name = source.secret_name.as_deref().unwrap_or_default();
        let found = self.secret(name, source.optional, &field)?;
        self.pick(found.as_ref(), items(source.items.as_deref()), source.optional, usual, &field)
    }

    /// A virtual node sends the union of all sources under the volume's name; where it did not, its sources are put together
    /// from the objects.
    pub fn projected_volume(
        &mut self,
        name: &str,
        source: &core::ProjectedVolumeSource,
        field: &str,
    ) -> Result<Vec<VolumeFile>, String> {
        let field = format!("{field}.projected");
        let usual = mode(source.default_mode, None, &format!("{field}.defaultMode"))?;
        let modes = projected_modes(source, &field)?;
        if let Some(sent) = self.request.projected(name) {
            let mut files = self.pick(Some(&data_of(sent, &field)?), None, None, usual, &field)?;
            for file in &mut files {
                file.mode = modes.get(file.path.as_str()).copied().unwrap_or(file.mode);
            }
            return Ok(files);
        }
        let mut files: Vec<VolumeFile> = Vec::new();
        for (at, source) in source.sources.iter().flatten().enumerate() {
            let field = format!("{field}.sources[{at}]");
            let more = if let Some(one) = &source.config_map {
                let found = self.config_map(&one.name, one.optional, &field)?;
                self.pick(found.as_ref(), items(one.items.as_deref()), one.optional, usual, &field)?
            } else if let Some(one) = &source.secret {
                let found = self.secret(&one.name, one.optional, &field)?;
                self.pick(found.as_ref(), items(one.items.as_deref()), one.optional, usual, &field)?
            } else if let Some(one) = &source.downward_api {
                self.downward(one.items.as_deref().unwrap_or_default(), usual, &field)?
            } else {
                return Err(format!("{field}: its content did not come with the pod (projectedvolumesmaps)"));
            };
            // A later source wins.
            files.retain(|file| more.iter().all(|new| new.path != file.path));
            files.extend(more);
        }
        Ok(files)
    }

    pub fn downward_volume(
        &mut self,
        name: &str,
        source: &core::DownwardAPIVolumeSource,
        field: &str,
    ) -> Result<Vec<VolumeFile>, String> {
        let field = format!("{field}.downwardAPI");
        let usual = mode(source.default_mode, None, &format!("{field}.defaultMode"))?;
        let listed = source.items.as_deref().unwrap_or_default();
        let Some(sent) = self.request.projected(name) else { return self.downward(listed, usual, &field) };
        let mut files = self.pick(Some(&data_of(sent, &field)?), None, None, usual, &field)?;
        for file in &mut files {
            if let Some(item) = listed.iter().find(|item| item.path == file.path) {
                file.mode = mode(item.mode, Some(usual), &field)?;
            }
        }
        Ok(files)
    }

    fn downward(
        &mut self,
        listed: &[core::DownwardAPIVolumeFile],
        usual: u32,
        field: &str,
    ) -> Result<Vec<VolumeFile>, String> {
        let mut files = Vec::with_capacity(listed.len());
        for (at, item) in listed.iter().enumerate() {
            let field = format!("{field}.items[{at}]");
            let Some(from) = &item.field_ref else {
                return Err(format!("{field}: only fieldRef is known where the content did not come with the pod"));
            };
            let text = self.request.field(&from.field_path, true);
            let text = text.ok_or_else(|| format!("{field}.fieldRef {:?} is not known here", from.field_path))?;
            files.push(self.file(&item.path, mode(item.mode, Some(usual), &field)?, text.into_bytes(), &field)?);
        }
        Ok(files)
    }

    fn config_map(&self, name: &str, optional: Option<bool>, field: &str) -> Result<Option<Data>, String> {
        let found = self.request.config_maps.iter().find(|one| one.metadata.name.as_deref() == Some(name));
        match found {
            Some(found) => data_of(found, field).map(Some),
            None if optional == Some(true) => Ok(None),
            None => Err(format!("{field}.name: the ConfigMap {name:?} did not come with the pod")),
        }
    }

    fn secret(&self, name: &str, optional: Option<bool>, field: &str) -> Result<Option<Data>, String> {
        let found = self.request.secrets.iter().find(|one| one.metadata.name.as_deref() == Some(name));
        let Some(found) = found else {
            return match optional {
                Some(true) => Ok(None),
                _ => Err(format!("{field}.secretName: the Secret {name:?} did not come with the pod")),
            };
        };
        let mut data = Data::new();
        data.extend(found.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())));
        data.extend(found.string_data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes())));
        within(&data, field)?;
        Ok(Some(data))
    }

    /// The files of a volume: all keys under their own names, or the listed ones under theirs.
    fn pick(
        &mut self,
        data: Option<&Data>,
        items: Option<Vec<Item<'_>>>,
        optional: Option<bool>,
        usual: u32,
        field: &str,
    ) -> Result<Vec<VolumeFile>, String> {
        let Some(data) = data else { return Ok(Vec::new()) };
        let Some(items) = items else {
            return data.iter().map(|(key, bytes)| self.file(key, usual, bytes.clone(), field)).collect();
        };
        let mut files: Vec<VolumeFile> = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let field = format!("{field}.items[{at}]");
            let Some(bytes) = data.get(item.key) else {
                if optional == Some(true) {
                    continue;
                }
                return Err(format!("{field}.key: there is no key {:?}", item.key));
            };
            let file = self.file(item.path, mode(item.mode, Some(usual), &field)?, bytes.clone(), &field)?;
            if files.iter().any(|other| other.path == file.path) {
                return Err(format!("{field}.path: {:?} is there twice", file.path));
            }
            files.push(file);
        }
        Ok(files)
    }

    fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>, field: &str) -> Result<VolumeFile, String> {
        if !is_clean_relative(path) {
            return Err(format!("{field}: {path:?} is not the name of a file beneath the volume"));
        }
        self.total = self.total.saturating_add(bytes.len());
        if self.total > MAX_CONTENT {
            return Err(format!("{field}: the files of all volumes are more than {MAX_CONTENT} bytes"));
        }
        Ok(VolumeFile { path: path.to_owned(), mode, content: Content(bytes) })
    }
}

type Data = BTreeMap<String, Vec<u8>>;

fn data_of(map: &core::ConfigMap, field: &str) -> Result<Data, String> {
    let mut data = Data::new();
    data.extend(map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes())));
    data.extend(map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())));
    within(&data, field)?;
    Ok(data)
}

fn within(data: &Data, field: &str) -> Result<(), String> {
    let total: usize = data.iter().map(|(key, bytes)| key.len() + bytes.len()).sum();
    if total > MAX_OBJECT {
        return Err(format!("{field}: {total} bytes are more than the {MAX_OBJECT} that one object may hold"));
    }
    Ok(())
}

fn items(listed: Option<&[core::KeyToPath]>) -> Option<Vec<Item<'_>>> {
    let listed = listed.filter(|listed| !listed.is_empty())?;
    Some(listed.iter().map(|item| Item { key: &item.key, path: &item.path, mode: item.mode }).collect())
}

/// Modes that the sources of a projected volume give to their files.
fn projected_modes<'s>(source: &'s core::ProjectedVolumeSource, field: &str) -> Result<BTreeMap<&'s str, u32>, String> {
    let mut modes = BTreeMap::new();
    for source in source.sources.iter().flatten() {
        let keys = source.config_map.iter().flat_map(|one| one.items.iter().flatten());
        let keys = keys.chain(source.secret.iter().flat_map(|one| one.items.iter().flatten()));
        let named = keys.map(|item| (item.path.as_str(), item.mode));
        let fields = source.downward_api.iter().flat_map(|one| one.items.iter().flatten());
        for (path, given) in named.chain(fields.map(|item| (item.path.as_str(), item.mode))) {
            if given.is_some() {
                modes.insert(path, mode(given, None, field)?);
            }
        }
    }
    Ok(modes)
}

fn mode(given: Option<i32>, usual: Option<u32>, field: &str) -> Result<u32, String> {
    match given {
        None => Ok(usual.unwrap_or(USUAL_MODE)),
        Some(given) => match u32::try_from(given) {
            Ok(mode) if mode <= 0o777 => Ok(mode),
            _ => Err(format!("{field}: {given} is not a file mode between 0 and 0777")),
        },
    }
}
