//! The sections `[http]` and `[listen]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use dte_base::units::{Bytes, Span};
use serde::Deserialize;
use url::Url;

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The address under which users know this engine; fixes issuer, audience and links. Default: the first listen
    /// address.
    pub public_url: Option<Url>,
    /// Further names under which requests may come (`Host`), each `name` or `name:port`.
    pub hosts: Vec<String>,
    /// Proxies in front of this engine, `10.1.0.7` or `10.1.0.0/16`: what they say of where a request came from
    /// (`Forwarded`, `X-Forwarded-For`) counts. Each must write one of these headers. None by default.
    pub trusted_proxies: Vec<Network>,
    /// Certificate chain, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Authorities whose certificates clients may show instead of a token: a PEM file, or a folder of them (`*.pem`, `*.crt`,
    /// `*.0`) and of their lists of revoked certificates (`*.r0`, `*.r1`, `*.crl`, `*.crl.pem`). All are read at the start. Nobody has to
    /// show one, and others count as none. Whom a certificate stands for is said in `[[identity.certificates]]`.
    pub client_ca: Option<PathBuf>,
    /// The largest body that a handler takes as a whole; streams (WebDAV PUT) have no limit here.
    pub body_limit: Bytes,
    /// How long a client may take to send a request's head; also how long a connection may idle.
    pub header_timeout: Span,
    /// How long a client may pause within a body.
    pub read_timeout: Span,
    /// Connections at once; more wait.
    pub connections: usize,
    pub outbound: OutboundConfig,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            public_url: None,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            tls_cert: None,
            tls_key: None,
            client_ca: None,
            body_limit: Bytes(16 << 20),
            header_timeout: Span(Duration::from_secs(30)),
            read_timeout: Span(Duration::from_secs(60)),
            connections: 4_096,
            outbound: OutboundConfig::default(),
        }
    }
}

/// `[http.outbound]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// Private addresses that URLs which *arrived* in requests may reach: `10.1.0.0/16`, `192.168.1.7:8443`,
    /// `[fd00::/8]:443`. None by default.
    pub allow: Vec<AllowRule>,
    pub connect_timeout: Span,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        OutboundConfig { allow: Vec::new(), connect_timeout: Span(Duration::from_secs(10)) }
    }
}

/// `[listen]`: the main address under `address`, and addresses of their own for single mounts, by the mount's name
/// (its prefix without the slash, or its service).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct ListenConfig(pub BTreeMap<String, SocketAddr>);

/// The key of the main address in `[listen]`.
pub const MAIN_LISTENER: &str = "address";

impl ListenConfig {
    /// Only the main address.
    pub fn at(address: SocketAddr) -> Self {
        ListenConfig(BTreeMap::from([(MAIN_LISTENER.to_owned(), address)]))
    }

    /// The main address; `127.0.0.1:8990` when it is not set.
    pub fn main(&self) -> SocketAddr {
        self.0.get(MAIN_LISTENER).copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8990)))
    }

    /// The further addresses.
    pub fn others(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.0.iter().filter(|(name, _)| *name != MAIN_LISTENER).map(|(name, address)| (name.as_str(), *address))
    }
}

/// An address, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    network: IpAddr,
    prefix: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
            IpAddr::V6(v6) => (u128::from(v6), false),
        };
        let ((network, is_v4), (other, other_is_v4)) = (bits(self.network), bits(address.to_canonical()));
        let mask = if self.prefix == 0 { 0 } else { u128::MAX << (128 - u32::from(self.prefix)) };
        is_v4 == other_is_v4 && (network ^ other) & mask == 0
    }
}

/// A text that is not `ADDR` or `CIDR`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an address or range such as 10.1.0.7, 10.1.0.0/16 or fd00::/8")]
pub struct BadNetwork(String);

impl FromStr for Network {
    type Err = BadNetwork;
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        parse_network(text.trim()).ok_or_else(|| BadNetwork(text.to_owned()))
    }
}

fn parse_network(text: &str) -> Option<Network> {
    let (addr, length) = match text.split_once('/') {
        Some((addr, length)) => (addr, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let network: IpAddr = addr.parse().ok()?;
    let longest = if network.is_ipv4() { 32 } else { 128 };
    let prefix = length.unwrap_or(longest);
    (prefix <= longest).then_some(Network { network, prefix })
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A private address, or a range of them, that may be reached all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowRule {
    network: Network,
    port: Option<u16>,
}

impl AllowRule {
    pub fn covers(&self, address: SocketAddr) -> bool {
        self.network.contains(address.ip()) && self.port.is_none_or(|port| port == address.port())
    }
}

/// A text that is not `ADDR`, `CIDR`, `ADDR:PORT` or `CIDR:PORT`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an address or range such as 10.0.0.0/8, 192.168.1.7:8443 or [fd00::/8]:443")]
pub struct BadAllowRule(String);

impl FromStr for AllowRule {
    type Err = BadAllowRule;
    fn from_str(text: &str) -> Result<Self, BadAllowRule> {
        parse_rule(text.trim()).ok_or_else(|| BadAllowRule(text.to_owned()))
    }
}

fn parse_rule(text: &str) -> Option<AllowRule> {
    let (range, port) = if let Some(inner) = text.strip_prefix('[') {
        // `[addr]`, `[addr/len]`, `[addr]/len`, each with or without `:port`.
        let (addr, rest) = inner.split_once(']')?;
        match rest.split_once(':') {
            Some((length, port)) => (format!("{addr}{length}"), Some(port.parse().ok()?)),
            None => (format!("{addr}{rest}"), None),
        }
    } else if text.matches(':').count() == 1 {
        let (range, port) = text.split_once(':')?;
        (range.to_owned(), Some(port.parse().ok()?))
    } else {
        (text.to_owned(), None)
    };
    Some(AllowRule { network: parse_network(&range)?, port })
}

impl<'de> Deserialize<'de> for AllowRule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(rule: &str, address: &str) -> bool {
        let rule: AllowRule = rule.parse().expect("a rule");
        rule.covers(address.parse().expect("an address"))
    }

    #[test]
    fn rules() {
        assert!(covers("10.0.0.0/8", "10.255.0.1:443"));
        assert!(!covers("10.0.0.0/8", "11.0.0.1:443"));
        assert!(covers("127.0.0.1:9000", "127.0.0.1:9000"));
        assert!(!covers("127.0.0.1:9000", "127.0.0.1:9001"));
        assert!(covers("[fd00::/8]:443", "[fd12::1]:443"));
        assert!(covers("[fd00::]/8:443", "[fd12::1]:443"));
        assert!(!covers("[fd00::/8]:443", "[fd12::1]:80"));
        assert!(covers("::1", "[::1]:80"));
        assert!(covers("127.0.0.0/8", "[::ffff:127.0.0.1]:80"));
        assert!(!covers("0.0.0.0/0", "[::1]:80"));
        for bad in ["", "localhost", "10.0.0.0/33", "10.0.0.1:http", "[::1", "1.2.3.4/8:99999"] {
            assert!(bad.parse::<AllowRule>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sections_read() {
        let text = "[http]\nhosts = ['twin.example']\nbody_limit = '1MiB'\n[http.outbound]\nallow = ['10.0.0.0/8:443']\n\
                    [listen]\ninterlink = '127.0.0.1:3000'\n";
        let document = dte_base::config::Document::parse(text, None).expect("parses");
        let http: HttpConfig = document.section("http").expect("valid");
        assert_eq!(http.outbound.allow.len(), 1);
        let listen: ListenConfig = document.section("listen").expect("valid");
        assert_eq!(listen.main().port(), 8990);
        assert_eq!(listen.others().count(), 1);
        assert!(document.check(crate::SECTIONS, true).is_empty());
    }
}
