//! Storage elements and the protocols that reach them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What can be done through a protocol; for each, a priority from 1 (best); 0 or absent is "not offered".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    Delete,
    ThirdPartyCopyRead,
    ThirdPartyCopyWrite,
}

impl Operation {
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Delete => "delete",
            Operation::ThirdPartyCopyRead => "third_party_copy_read",
            Operation::ThirdPartyCopyWrite => "third_party_copy_write",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "read" => Operation::Read,
            "write" => Operation::Write,
            "delete" => Operation::Delete,
            "third_party_copy_read" => Operation::ThirdPartyCopyRead,
            "third_party_copy_write" => Operation::ThirdPartyCopyWrite,
            _ => return None,
        })
    }
}

/// One way to reach a storage element.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    #[serde(default)]
    pub scheme: String,
    #[serde(default = "localhost")]
    pub hostname: String,
    /// 0 is "the scheme's own": left out of the PFN.
    #[serde(default)]
    pub port: u16,
    #[serde(default)]
    pub prefix: String,
    #[serde(default, rename = "impl")]
    pub implementation: String,
    /// `{lan: {read: 1, …}, wan: {…}}`.
    #[serde(default)]
    pub domains: Map<String, Value>,
    #[serde(default)]
    pub extended_attributes: Option<Value>,
}

fn localhost() -> String {
    "localhost".to_owned()
}

impl Protocol {
    /// The priority of `operation` in `domain` (`lan` or `wan`); `None` when it is not offered.
    pub fn priority(&self, domain: &str, operation: Operation) -> Option<u64> {
        self.domains.get(domain)?.get(operation.name())?.as_u64().filter(|priority| *priority > 0)
    }

    /// The PFN of a path below the prefix.
    pub fn pfn(&self, path: &str) -> String {
        let port = if self.port == 0 { String::new() } else { format!(":{}", self.port) };
        let service = self
            .extended_attributes
            .as_ref()
            .and_then(|extended| extended.get("web_service_path"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        format!(
            "{}://{}{port}{service}{}{}",
            self.scheme,
            self.hostname,
            normal_prefix(&self.prefix),
            path.trim_start_matches('/')
        )
    }

    /// The path below the prefix of a PFN of this protocol; `None` when it is not one.
    pub fn path_of<'a>(&self, pfn: &'a str) -> Option<&'a str> {
        let rest = pfn.strip_prefix(&self.scheme)?.strip_prefix("://")?;
        let slash = rest.find('/')?;
        let (authority, path) = rest.split_at(slash);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse::<u16>().ok()?),
            None => (authority, 0),
        };
        let same_port = port == self.port
            || default_port(&self.scheme)
                .is_some_and(|default| [port, self.port].iter().all(|one| *one == 0 || *one == default));
        if !host.eq_ignore_ascii_case(&self.hostname) || !same_port {
            return None;
        }
        path.strip_prefix(normal_prefix(&self.prefix).as_str())
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "dav" => Some(80),
        "https" | "davs" => Some(443),
        "root" => Some(1094),
        "srm" => Some(8443),
        "scp" | "rsync" | "sftp" => Some(22),
        _ => None,
    }
}

/// A prefix is stored with a slash at both ends.
pub fn normal_prefix(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => "/".to_owned(),
        inner => format!("/{inner}/"),
    }
}

/// `GET /rses/<rse>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RseInfo {
    pub id: String,
    pub rse: String,
    pub rse_type: String,
    pub deterministic: bool,
    pub availability_read: bool,
    pub availability_write: bool,
    pub availability_delete: bool,
    #[serde(default)]
    pub lfn2pfn_algorithm: Option<String>,
    pub protocols: Vec<Protocol>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dav(port: u16) -> Protocol {
        Protocol {
            scheme: "davs".into(),
            hostname: "h.example.org".into(),
            port,
            prefix: "dav".into(),
            implementation: String::new(),
            domains: Map::new(),
            extended_attributes: None,
        }
    }

    #[test]
    fn pfns() {
        assert_eq!(dav(443).pfn("s/ab/cd/n"), "davs://h.example.org:443/dav/s/ab/cd/n");
        assert_eq!(dav(0).pfn("s/n"), "davs://h.example.org/dav/s/n");
        let mut with_service = dav(443);
        with_service.extended_attributes = Some(serde_json::json!({"web_service_path": "/x"}));
        assert_eq!(with_service.pfn("n"), "davs://h.example.org:443/x/dav/n");
    }

    #[test]
    fn paths_of_pfns() {
        assert_eq!(dav(443).path_of("davs://h.example.org/dav/s/n"), Some("s/n"));
        assert_eq!(dav(0).path_of("davs://h.example.org:443/dav/s/n"), Some("s/n"));
        assert_eq!(dav(443).path_of("davs://h.example.org:8443/dav/s/n"), None);
        assert_eq!(dav(443).path_of("davs://evil.example.org/dav/s/n"), None);
        assert_eq!(dav(443).path_of("davs://h.example.org/other/s/n"), None);
    }
}
