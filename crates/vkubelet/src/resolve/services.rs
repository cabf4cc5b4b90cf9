//! The variables that tell a container of services, as the kubelet makes them. Pure.

use k8s_openapi::api::core::v1::Service;

/// A service without an address of its own.
const HEADLESS: &str = "None";

/// The variables of `services`, in the order of names; the cluster's own service comes first and is there in any case.
pub fn variables(api: Option<&Service>, services: &[Service]) -> Vec<(String, String)> {
    let mut sorted: Vec<&Service> = services.iter().filter(|one| !same(api, one)).collect();
    sorted.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    api.into_iter().chain(sorted).flat_map(of_service).collect()
}

fn same(api: Option<&Service>, other: &Service) -> bool {
    api.is_some_and(|api| api.metadata.name == other.metadata.name)
}

fn of_service(service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let host = spec.cluster_ip.clone().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let (Some(first), false) = (ports.first(), host.is_empty() || host == HEADLESS) else { return Vec::new() };
    let name = upper(service.metadata.name.as_deref().unwrap_or_default());
    let mut all =
        vec![(format!("{name}_SERVICE_HOST"), host.clone()), (format!("{name}_SERVICE_PORT"), first.port.to_string())];
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            all.push((format!("{name}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string()));
        }
    }
    // The form of container links, which many images still read.
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let (lower, number) = (protocol.to_lowercase(), port.port);
        let url = format!("{lower}://{bracketed}:{number}");
        if index == 0 {
            all.push((format!("{name}_PORT"), url.clone()));
        }
        let prefix = format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
        all.push((prefix.clone(), url));
        all.push((format!("{prefix}_PROTO"), lower));
        all.push((format!("{prefix}_PORT"), number.to_string()));
        all.push((format!("{prefix}_ADDR"), host.clone()));
    }
    all
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// The variables of the cluster's own service, with the address at which the site reaches it. The names are upstream's.
pub fn of_address(host: &str, port: u16) -> Vec<(String, String)> {
    [
        ("KUBERNETES_PORT", format!("tcp://{host}:{port}")),
        ("KUBERNETES_SERVICE_PORT", port.to_string()),
        ("KUBERNETES_PORT_443_TCP_ADDR", host.to_owned()),
        ("KUBERNETES_PORT_443_TCP_PORT", port.to_string()),
        ("KUBERNETES_PORT_443_TCP_PROTO", "tcp".to_owned()),
        ("KUBERNETES_PORT_443_TCP", format!("tcp://{host}:{port}")),
        ("KUBERNETES_SERVICE_PORT_HTTPS", port.to_string()),
        ("KUBERNETES_SERVICE_HOST", host.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, ip: &str) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name},
            "spec": {"clusterIP": ip, "ports": [{"name": "my-port", "port": 6379, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}))
        .expect("a service")
    }

    #[test]
    fn as_the_kubelet_names_them() {
        let all = variables(None, &[service("redis-db", "10.0.0.11"), service("none", "None")]);
        let get = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(get("REDIS_DB_SERVICE_HOST"), Some("10.0.0.11"));
        assert_eq!(get("REDIS_DB_SERVICE_PORT_MY_PORT"), Some("6379"));
        assert_eq!(get("REDIS_DB_PORT"), Some("tcp://10.0.0.11:6379"));
        assert_eq!(get("REDIS_DB_PORT_53_UDP_PROTO"), Some("udp"));
        assert_eq!(get("NONE_SERVICE_HOST"), None);
        assert_eq!(of_address("h", 1).len(), 8);
    }
}
