//! Probes and life-cycle hooks: small things that are done to a container while it runs.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

/// Something that succeeds or fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Action {
    /// A program in the container; it succeeds with exit code 0.
    Exec { argv: Vec<String> },
    /// An HTTP request; it succeeds with a status from 200 to 399.
    Http { host: String, port: u16, path: String, headers: Vec<(String, String)> },
    /// A connection.
    Tcp { host: String, port: u16 },
    /// A question to a gRPC health service; it succeeds with `SERVING`.
    Grpc { host: String, port: u16, service: String },
    /// Waits.
    Sleep { seconds: u64 },
}

/// How often to look, and when to believe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub action: Action,
    pub initial_delay_seconds: u64,
    pub period_seconds: u64,
    pub timeout_seconds: u64,
    pub success_threshold: u32,
    pub failure_threshold: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// Until it succeeds, the other two do not begin.
    pub startup: Option<Probe>,
    /// When it fails, the container is ended and its restart policy decides.
    pub liveness: Option<Probe>,
    /// Whether the container is ready.
    pub readiness: Option<Probe>,
}

/// Where an address does not say: the pod's own machine.
const HERE: &str = "127.0.0.1";
/// A header or path is at most so long.
const LONGEST: usize = 8 << 10;

impl Probes {
    pub(super) fn read(container: &core::Container) -> Result<Probes, String> {
        let read = |field: &str, probe: &Option<core::Probe>| {
            probe.as_ref().map(|probe| read_probe(container, field, probe)).transpose()
        };
        Ok(Probes {
            startup: read("startupProbe", &container.startup_probe)?,
            liveness: read("livenessProbe", &container.liveness_probe)?,
            readiness: read("readinessProbe", &container.readiness_probe)?,
        })
    }
}

fn read_probe(container: &core::Container, field: &str, probe: &core::Probe) -> Result<Probe, String> {
    let number = |name: &str, value: Option<i32>, usual: u32, least: u32| match value {
        // Kubernetes writes 0 where nothing was said.
        None | Some(0) => Ok(usual.max(least)),
        Some(value) => u32::try_from(value).map_err(|_| format!("{field}.{name} is negative")),
    };
    let others = (probe.exec.as_ref(), probe.http_get.as_ref(), probe.tcp_socket.as_ref());
    let action = match (&probe.grpc, others) {
        (Some(grpc), (None, None, None)) => grpc_action(field, grpc)?,
        (Some(_), _) => return Err(format!("{field} must have one of exec, grpc, httpGet and tcpSocket")),
        (None, (exec, http, tcp)) => Action::of(container, field, exec, http, tcp)?,
    };
    let seconds =
        |name: &str, value: Option<i32>, usual: u32, least: u32| number(name, value, usual, least).map(u64::from);
    Ok(Probe {
        action,
        initial_delay_seconds: seconds("initialDelaySeconds", probe.initial_delay_seconds, 0, 0)?,
        period_seconds: seconds("periodSeconds", probe.period_seconds, 10, 1)?,
        timeout_seconds: seconds("timeoutSeconds", probe.timeout_seconds, 1, 1)?,
        success_threshold: number("successThreshold", probe.success_threshold, 1, 1)?,
        failure_threshold: number("failureThreshold", probe.failure_threshold, 3, 1)?,
    })
}

fn grpc_action(field: &str, grpc: &core::GRPCAction) -> Result<Action, String> {
    let port = u16::try_from(grpc.port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("{field}.grpc.port {} is not a port", grpc.port))?;
    let service = grpc.service.clone().unwrap_or_default();
    if service.len() > LONGEST {
        return Err(format!("{field}.grpc.service is too long"));
    }
    Ok(Action::Grpc { host: HERE.into(), port, service })
}

/// `lifecycle.postStart` or `lifecycle.preStop`.
pub(super) fn read_hook(
    container: &core::Container,
    field: &str,
    hook: Option<&core::LifecycleHandler>,
) -> Result<Option<Action>, String> {
    let Some(hook) = hook else { return Ok(None) };
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).map_err(|_| format!("{field}.sleep.seconds is negative"))?;
        return Ok(Some(Action::Sleep { seconds }));
    }
    Action::of(container, field, hook.exec.as_ref(), hook.http_get.as_ref(), hook.tcp_socket.as_ref()).map(Some)
}

impl Action {
    fn of(
        container: &core::Container,
        field: &str,
        exec: Option<&core::ExecAction>,
        http: Option<&core::HTTPGetAction>,
        tcp: Option<&core::TCPSocketAction>,
    ) -> Result<Action, String> {
        match (exec, http, tcp) {
            (Some(exec), None, None) => {
                let argv = exec.command.clone().unwrap_or_default();
                if argv.is_empty() || argv.iter().any(|word| word.contains('\0')) {
                    return Err(format!("{field}.exec.command is empty or contains a NUL"));
                }
                Ok(Action::Exec { argv })
            }
            (None, Some(http), None) => {
                if http.scheme.as_deref().is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http")) {
                    return Err(format!("{field}.httpGet.scheme: only HTTP is known here"));
                }
                let headers = http.http_headers.as_deref().unwrap_or_default();
                let headers = headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
                let path = http.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into());
                let action = Action::Http {
                    host: host(http.host.as_ref()),
                    port: port(container, &http.port).map_err(|why| format!("{field}.httpGet.port {why}"))?,
                    path: if path.starts_with('/') { path } else { format!("/{path}") },
                    headers,
                };
                if action.breaks_lines() {
                    return Err(format!(
                        "{field}.httpGet has a line break or a blank where none may be, or is too long"
                    ));
                }
                Ok(action)
            }
            (None, None, Some(tcp)) => Ok(Action::Tcp {
                host: host(tcp.host.as_ref()),
                port: port(container, &tcp.port).map_err(|why| format!("{field}.tcpSocket.port {why}"))?,
            }),
            _ => Err(format!("{field} must have one of exec, httpGet and tcpSocket")),
        }
    }

    /// Whether what stands in it would be read as something else in an HTTP request.
    fn breaks_lines(&self) -> bool {
        let Action::Http { host, path, headers, .. } = self else { return false };
        let bad = |text: &str, is_bad: fn(char) -> bool| text.len() > LONGEST || text.contains(is_bad);
        bad(path, |c| c.is_control() || c == ' ')
            || bad(host, |c| c.is_control() || c == ' ')
            || headers.iter().any(|(name, value)| {
                name.is_empty() || bad(name, |c| c.is_control() || c == ' ' || c == ':') || bad(value, char::is_control)
            })
    }
}

fn host(host: Option<&String>) -> String {
    host.cloned().filter(|host| !host.is_empty()).unwrap_or_else(|| HERE.into())
}

/// A port by number, or by the name that the container gives it.
fn port(container: &core::Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok()).unwrap_or(0)
        }
    };
    u16::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| "is not a port of the container".into())
}
