//! What a pod may know of itself: fields and resources. Pure.

use std::collections::BTreeMap;

use dte_compute::quantity::Quantity;
use k8s_openapi::api::core::v1::{ObjectFieldSelector, Pod, ResourceFieldSelector};

use super::Unresolved;
use super::sources::containers;
use crate::node::Facts;

fn nonsense(text: String) -> Unresolved {
    Unresolved::Nonsense(text)
}

/// The value of a `fieldRef`.
pub fn field(pod: &Pod, node: &Facts, selector: &ObjectFieldSelector) -> Result<String, Unresolved> {
    let meta = &pod.metadata;
    let path = selector.field_path.as_str();
    let of = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|map| map.get(key)).cloned();
    let account = || pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let text = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(file_of(meta.labels.as_ref())),
        "metadata.annotations" => Some(file_of(meta.annotations.as_ref())),
        "spec.nodeName" => Some(node.name.clone()),
        "spec.serviceAccountName" => account(),
        "status.hostIP" | "status.hostIPs" | "status.podIP" | "status.podIPs" => Some(node.ip.to_string()),
        _ => match (keyed(path, "metadata.labels"), keyed(path, "metadata.annotations")) {
            (Some(key), _) => of(&meta.labels, key),
            (_, Some(key)) => of(&meta.annotations, key),
            _ => return Err(nonsense(format!("the field {path:?} is not known"))),
        },
    };
    Ok(text.unwrap_or_default())
}

/// The key in `metadata.labels['key']`.
fn keyed<'a>(path: &'a str, map: &str) -> Option<&'a str> {
    path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']")
}

/// One `key="value"` a line, sorted.
fn file_of(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

/// As Go's `%q` writes it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() && u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a `resourceFieldRef`; `container` is the one that asks, where the reference names none.
pub fn resource(
    pod: &Pod,
    node: &Facts,
    container: &str,
    selector: &ResourceFieldSelector,
) -> Result<String, Unresolved> {
    let wanted = selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(container);
    let Some(found) = containers(pod).find(|one| one.name == wanted) else {
        return Err(nonsense(format!("resourceFieldRef names the container {wanted:?}, which is not there")));
    };
    let Some((kind, name)) = selector.resource.split_once('.') else {
        return Err(nonsense(format!("the resource {:?} is not known", selector.resource)));
    };
    let resources = found.resources.as_ref();
    let given = match kind {
        "limits" => resources.and_then(|all| all.limits.as_ref()),
        "requests" => resources.and_then(|all| all.requests.as_ref()),
        _ => return Err(nonsense(format!("the resource {:?} is not known", selector.resource))),
    };
    let given = given.and_then(|all| all.get(name)).map(|amount| amount.0.clone());
    // Without a limit a container may use what the node has.
    let amount = given.or_else(|| (kind == "limits").then(|| node.allocatable.get(name).cloned()).flatten());
    let amount = amount.unwrap_or_else(|| "0".to_owned());
    let divisor = selector.divisor.as_ref().map(|divisor| divisor.0.as_str()).filter(|text| !matches!(*text, "" | "0"));
    let parse = |text: &str| Quantity::parse(text).ok_or_else(|| nonsense(format!("{text:?} is not a quantity")));
    let (amount, divisor) = (parse(&amount)?, parse(divisor.unwrap_or("1"))?);
    let (amount, divisor) = match name {
        "cpu" => (amount.millis(), divisor.millis()),
        _ => (amount.units(), divisor.units()),
    };
    Ok(amount.div_ceil(divisor.max(1)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "x \"y\"\n"}},
            "spec": {"serviceAccountName": "sa", "containers": [{"name": "c",
                "resources": {"limits": {"cpu": "1500m", "memory": "2Gi"}, "requests": {"cpu": "250m"}}}]}
        }))
        .expect("a pod")
    }

    fn node() -> Facts {
        Facts {
            name: "n".into(),
            ip: [10, 0, 0, 1].into(),
            allocatable: BTreeMap::from([("ephemeral-storage".to_owned(), "1Gi".to_owned())]),
        }
    }

    #[test]
    fn fields() {
        let ask =
            |path: &str| field(&pod(), &node(), &ObjectFieldSelector { api_version: None, field_path: path.into() });
        assert_eq!(ask("metadata.labels['b']").as_deref(), Ok("2"));
        assert_eq!(ask("metadata.labels['none']").as_deref(), Ok(""));
        assert_eq!(ask("metadata.labels").as_deref(), Ok("a=\"x \\\"y\\\"\\n\"\nb=\"2\""));
        assert_eq!(ask("status.hostIP").as_deref(), Ok("10.0.0.1"));
        assert_eq!(ask("spec.serviceAccountName").as_deref(), Ok("sa"));
        assert!(ask("spec.hostname").is_err());
    }

    #[test]
    fn resources_round_up() {
        let ask = |name: &str, divisor: Option<&str>| {
            let selector = ResourceFieldSelector {
                container_name: None,
                divisor: divisor.map(|text| k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.into())),
                resource: name.into(),
            };
            resource(&pod(), &node(), "c", &selector)
        };
        assert_eq!(ask("limits.cpu", None).as_deref(), Ok("2"));
        assert_eq!(ask("limits.cpu", Some("1m")).as_deref(), Ok("1500"));
        assert_eq!(ask("limits.memory", Some("1Mi")).as_deref(), Ok("2048"));
        assert_eq!(ask("requests.memory", Some("0")).as_deref(), Ok("0"));
        assert_eq!(ask("limits.ephemeral-storage", None).as_deref(), Ok("1073741824"));
        assert!(ask("cpu", None).is_err());
    }
}
