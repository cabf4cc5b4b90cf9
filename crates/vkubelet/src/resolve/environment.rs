//! A container's environment, in the kubelet's order: services, `envFrom`, `env`; the later wins. Pure.

use dte_compute::pod::expand;
use k8s_openapi::api::core::v1::{ConfigMapKeySelector, Container, EnvFromSource, EnvVar, Pod, SecretKeySelector};

use super::sources::Sources;
use super::{Remark, Unresolved, downward, services};

/// Names and values in the order in which they were defined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    pub fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name, value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Replaces `$(NAME)` by values; what is not known stays.
    pub fn expand(&self, text: &str) -> String {
        expand(text, |name| self.get(name).map(str::to_owned))
    }
}

/// The environment of `container`, and what was left out of it.
pub fn resolve(pod: &Pod, container: &Container, sources: &Sources) -> Result<(Environment, Vec<Remark>), Unresolved> {
    let mut environment = Environment::default();
    let mut remarks = Vec::new();
    for (name, value) in services::variables(sources.api_service.as_ref(), &sources.services) {
        environment.set(name, value);
    }
    if let Some((host, port)) = &sources.kubernetes_api {
        for (name, value) in services::of_address(host, *port) {
            environment.set(name, value);
        }
    }
    for source in container.env_from.iter().flatten() {
        take_all(source, sources, &mut environment, &mut remarks)?;
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(environment.expand(variable.value.as_deref().unwrap_or_default())),
            Some(_) => referred(pod, container, variable, sources, &mut remarks)?,
        };
        if let Some(value) = value {
            environment.set(variable.name.clone(), value);
        }
    }
    Ok((environment, remarks))
}

/// One source of `envFrom`.
fn take_all(
    source: &EnvFromSource,
    sources: &Sources,
    environment: &mut Environment,
    remarks: &mut Vec<Remark>,
) -> Result<(), Unresolved> {
    let entries: Vec<(String, String)> = if let Some(asked) = &source.config_map_ref {
        match sources.config_maps.get(&asked.name) {
            Some(map) => map.data.clone().unwrap_or_default().into_iter().collect(),
            None => {
                absent(asked.optional, Kind::ConfigMap, &asked.name, remarks)?;
                return Ok(());
            }
        }
    } else if let Some(asked) = &source.secret_ref {
        match sources.secrets.get(&asked.name) {
            Some(secret) => {
                let data = secret.data.clone().unwrap_or_default().into_iter();
                data.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect()
            }
            None => {
                absent(asked.optional, Kind::Secret, &asked.name, remarks)?;
                return Ok(());
            }
        }
    } else {
        Vec::new()
    };
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let (good, bad): (Vec<_>, Vec<_>) =
        entries.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)).partition(|(key, _)| is_name(key));
    if !bad.is_empty() {
        let names: Vec<String> = bad.into_iter().map(|(key, _)| key).collect();
        let message =
            format!("Keys [{}] were skipped since they are no names of environment variables.", names.join(", "));
        remarks.push(Remark { reason: "InvalidEnvironmentVariableNames", message });
    }
    for (name, value) in good {
        environment.set(name, value);
    }
    Ok(())
}

/// Printable ASCII without `=`, as the API server checks names of variables.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| (0x20..0x7f).contains(&c) && c != b'=')
}

/// The value of `valueFrom`; `None` when it is optional and not there.
fn referred(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    sources: &Sources,
    remarks: &mut Vec<Remark>,
) -> Result<Option<String>, Unresolved> {
    let Some(from) = &variable.value_from else { return Ok(None) };
    if let Some(selector) = &from.field_ref {
        return downward::field(pod, &sources.node, selector).map(Some);
    }
    if let Some(selector) = &from.resource_field_ref {
        return downward::resource(pod, &sources.node, &container.name, selector).map(Some);
    }
    if let Some(key) = &from.config_map_key_ref {
        return of_config_map(key, sources, remarks);
    }
    if let Some(key) = &from.secret_key_ref {
        return of_secret(key, sources, remarks);
    }
    Err(Unresolved::Nonsense(format!("the variable {} refers to something that is not known here", variable.name)))
}

fn of_config_map(
    key: &ConfigMapKeySelector,
    sources: &Sources,
    remarks: &mut Vec<Remark>,
) -> Result<Option<String>, Unresolved> {
    let Some(map) = sources.config_maps.get(&key.name) else {
        return absent(key.optional, Kind::ConfigMap, &key.name, remarks).map(|()| None);
    };
    match map.data.as_ref().and_then(|data| data.get(&key.key)) {
        Some(value) => Ok(Some(value.clone())),
        None => without_key(key.optional, Kind::ConfigMap, &key.name, &key.key, remarks).map(|()| None),
    }
}

fn of_secret(
    key: &SecretKeySelector,
    sources: &Sources,
    remarks: &mut Vec<Remark>,
) -> Result<Option<String>, Unresolved> {
    let Some(secret) = sources.secrets.get(&key.name) else {
        return absent(key.optional, Kind::Secret, &key.name, remarks).map(|()| None);
    };
    match secret.data.as_ref().and_then(|data| data.get(&key.key)) {
        Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
        None => without_key(key.optional, Kind::Secret, &key.name, &key.key, remarks).map(|()| None),
    }
}

/// What a reference may point at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmap",
            Kind::Secret => "secret",
        }
    }
}

/// Something is not there: a remark if it is optional, else an error.
pub fn absent(optional: Option<bool>, kind: Kind, name: &str, remarks: &mut Vec<Remark>) -> Result<(), Unresolved> {
    let message = format!("{} {name:?} not found", kind.word());
    let (remark, error) = match kind {
        Kind::ConfigMap => ("OptionalConfigMapNotFound", "MandatoryConfigMapNotFound"),
        Kind::Secret => ("OptionalSecretNotFound", "MandatorySecretNotFound"),
    };
    match optional.unwrap_or(false) {
        true => {
            remarks.push(Remark { reason: remark, message });
            Ok(())
        }
        false => Err(Unresolved::Missing { reason: error, message }),
    }
}

/// The same for one key of it.
pub fn without_key(
    optional: Option<bool>,
    kind: Kind,
    name: &str,
    key: &str,
    remarks: &mut Vec<Remark>,
) -> Result<(), Unresolved> {
    let message = format!("couldn't find key {key} in {} {name:?}", kind.word());
    let (remark, error) = match kind {
        Kind::ConfigMap => ("OptionalConfigMapKeyNotFound", "MandatoryConfigMapNotFound"),
        Kind::Secret => ("OptionalSecretKeyNotFound", "MandatorySecretNotFound"),
    };
    match optional.unwrap_or(false) {
        true => {
            remarks.push(Remark { reason: remark, message });
            Ok(())
        }
        false => Err(Unresolved::Missing { reason: error, message }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::node::Facts;
    use serde_json::{Value, json};

    fn sources() -> Sources {
        let read = |value: Value| serde_json::from_value(value).expect("an object");
        Sources {
            config_maps: BTreeMap::from([(
                "m".to_owned(),
                read(json!({"metadata": {"name": "m"}, "data": {"A": "map", "B": "b", "bad=name": "x"}})),
            )]),
            secrets: BTreeMap::from([(
                "s".to_owned(),
                serde_json::from_value(json!({"metadata": {"name": "s"}, "data": {"P": "cGEkJHdvcmQ="}}))
                    .expect("a secret"),
            )]),
            claims: BTreeMap::new(),
            services: Vec::new(),
            api_service: None,
            tokens: BTreeMap::new(),
            node: Facts { name: "n".into(), ip: [127, 0, 0, 1].into(), allocatable: BTreeMap::new() },
            kubernetes_api: Some(("k8s".into(), 6443)),
        }
    }

    fn ask(container: Value) -> Result<(Environment, Vec<Remark>), Unresolved> {
        let container: Container = serde_json::from_value(container).expect("a container");
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": []}})).expect("a pod");
        resolve(&pod, &container, &sources())
    }

    #[test]
    fn the_later_wins_and_sees_the_earlier() {
        let (environment, remarks) = ask(json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "m"}}, {"prefix": "X_", "secretRef": {"name": "s"}}],
            "env": [{"name": "A", "value": "own"}, {"name": "C", "value": "$(A)-$(B)-$$(A)-$(NONE)-$(KUBERNETES_SERVICE_HOST)"},
                    {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}))
        .expect("resolved");
        assert_eq!(environment.get("C"), Some("own-b-$(A)-$(NONE)-k8s"));
        assert_eq!((environment.get("X_P"), environment.get("N")), (Some("pa$$word"), Some("p")));
        assert_eq!(remarks[0].reason, "InvalidEnvironmentVariableNames");
    }

    #[test]
    fn optional_and_not() {
        let from = |optional: bool| {
            ask(
                json!({"name": "c", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": optional}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": optional}}}]}),
            )
        };
        let (environment, remarks) = from(true).expect("resolved");
        assert_eq!((environment.get("A"), remarks.len()), (None, 2));
        assert_eq!(from(false).expect_err("missing").event(), "MandatoryConfigMapNotFound");
    }
}
