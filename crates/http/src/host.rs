//! The `Host` check: a page in any browser tab can reach a loopback address under a name of its own (DNS rebinding), so a
//! request is served only under a name that is ours, on every listener.

use std::net::{IpAddr, SocketAddr};

use http::Request;
use http::header::HOST;
use url::Url;

/// The names under which one listener serves.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<String>);

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRefusal {
    /// Neither `Host` nor `:authority`, or several.
    Missing,
    /// A name that is not ours.
    Foreign,
}

impl Hosts {
    /// Names of the listener at `bound`: its address, the loopback names with its port, the public URL's host, and what the
    /// operator adds (each `name` for the default ports and this port, or `name:port`).
    pub fn new(bound: SocketAddr, public_url: &Url, extra: &[String]) -> Self {
        let mut names = Vec::new();
        let port = bound.port();
        if let Some(host) = public_url.host_str() {
            match public_url.port() {
                Some(port) => names.push(format!("{host}:{port}")),
                None => {
                    names.push(host.to_owned());
                    names.extend(public_url.port_or_known_default().map(|port| format!("{host}:{port}")));
                }
            }
        }
        let mut with_port = |host: &str| {
            names.push(format!("{host}:{port}"));
            if matches!(port, 80 | 443) {
                names.push(host.to_owned());
            }
        };
        if !bound.ip().is_unspecified() {
            with_port(&bracketed(bound.ip()));
        }
        for loopback in ["localhost", "127.0.0.1", "[::1]"] {
            with_port(loopback);
        }
        for host in extra {
            names.push(host.to_lowercase());
            if !host.rsplit(']').next().unwrap_or(host).contains(':') {
                names.push(format!("{}:{port}", host.to_lowercase()));
            }
        }
        names.sort_unstable();
        names.dedup();
        Hosts(names)
    }

    /// Whether the request comes under a name of ours.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), HostRefusal> {
        let mut given = request.headers().get_all(HOST).iter();
        let header = given.next();
        if given.next().is_some() {
            return Err(HostRefusal::Missing);
        }
        let name = match (header, request.uri().authority()) {
            (Some(value), authority) => {
                let name = value.to_str().map_err(|_| HostRefusal::Foreign)?;
                if authority.is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(name)) {
                    return Err(HostRefusal::Foreign);
                }
                name
            }
            (None, Some(authority)) => authority.as_str(),
            (None, None) => return Err(HostRefusal::Missing),
        };
        if self.0.iter().any(|ours| ours.eq_ignore_ascii_case(name)) { Ok(()) } else { Err(HostRefusal::Foreign) }
    }
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(hosts: &Hosts, host: Option<&str>) -> Result<(), HostRefusal> {
        let mut request = Request::builder().uri("/x");
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        hosts.check(&request.body(()).expect("a request"))
    }

    #[test]
    fn only_our_names() {
        let public = Url::parse("https://twin.example").expect("a URL");
        let hosts = Hosts::new("127.0.0.1:8990".parse().expect("an address"), &public, &["alias.example".to_owned()]);
        for good in [
            "127.0.0.1:8990",
            "localhost:8990",
            "LOCALHOST:8990",
            "[::1]:8990",
            "twin.example",
            "twin.example:443",
            "alias.example",
            "alias.example:8990",
        ] {
            assert_eq!(outcome(&hosts, Some(good)), Ok(()), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "localhost:8991",
            "evil.example",
            "evil.example:8990",
            "twin.example.evil",
            "127.0.0.1:8990@evil",
            "",
        ] {
            assert_eq!(outcome(&hosts, Some(bad)), Err(HostRefusal::Foreign), "{bad}");
        }
        assert_eq!(outcome(&hosts, None), Err(HostRefusal::Missing));
    }

    #[test]
    fn two_names_are_none() {
        let public = Url::parse("http://127.0.0.1:1").expect("a URL");
        let hosts = Hosts::new("127.0.0.1:1".parse().expect("an address"), &public, &[]);
        let request =
            Request::builder().header(HOST, "127.0.0.1:1").header(HOST, "127.0.0.1:1").body(()).expect("a request");
        assert_eq!(hosts.check(&request), Err(HostRefusal::Missing));
        let request =
            Request::builder().uri("http://evil.example/").header(HOST, "127.0.0.1:1").body(()).expect("a request");
        assert_eq!(hosts.check(&request), Err(HostRefusal::Foreign));
    }
}
