//! Which addresses a URL that arrived from outside may reach: public ones. A name is resolved once, the answers are
//! checked, and the connection goes to a checked answer, so that a second DNS answer cannot lead elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::AllowRule;

/// An address that a URL from outside may not reach.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{host} is {address}, which is not a public address; [http.outbound] allow may permit it")]
pub struct RefusedAddress {
    pub host: String,
    pub address: SocketAddr,
}

/// The rule, with the operator's exceptions.
#[derive(Clone, Debug, Default)]
pub struct Guard(Vec<AllowRule>);

impl Guard {
    pub fn new(allow: Vec<AllowRule>) -> Self {
        Guard(allow)
    }

    pub fn permits(&self, address: SocketAddr) -> bool {
        is_public(address.ip()) || self.0.iter().any(|rule| rule.covers(address))
    }

    /// The addresses of `host` that may be reached; an error when there are some but none may.
    pub fn permitted(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, RefusedAddress> {
        let refused = found.iter().copied().find(|address| !self.permits(*address));
        let permitted: Vec<SocketAddr> = found.into_iter().filter(|address| self.permits(*address)).collect();
        match refused {
            Some(address) if permitted.is_empty() => Err(RefusedAddress { host: host.to_owned(), address }),
            _ => Ok(permitted),
        }
    }
}

/// Whether an address belongs to the open internet. What is reserved, private, local, or carries such an address inside
/// (IPv4-mapped, NAT64, 6to4) is not.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = a == 192 && b == 0 && c == 0;
    let relay = a == 192 && b == 88 && c == 99;
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(a == 0
        || a >= 240
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || shared
        || protocol
        || relay
        || benchmark)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(inner(s[6], s[7]));
    }
    if s[0] == 0x2002 {
        return is_public_v4(inner(s[1], s[2]));
    }
    // Global unicast is 2000::/3; in it 2001::/23 is protocol assignments (Teredo among them), and 2001:db8::/32 and
    // 3fff::/20 are documentation.
    let global = s[0] & 0xe000 == 0x2000;
    let special = match s[0] {
        0x2001 => s[1] < 0x0200 || s[1] == 0x0db8,
        0x3fff => s[1] < 0x1000,
        _ => false,
    };
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public() {
        for public in ["8.8.8.8", "192.88.98.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        let private = [
            "0.0.0.0",
            "127.0.0.1",
            "127.255.0.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "::",
            "::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "64:ff9b:1::1",
            "100::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn a_name_with_one_public_address_uses_only_that() {
        let guard = Guard::new(vec!["10.0.0.7:443".parse().expect("a rule")]);
        let found = |list: &[&str]| list.iter().map(|a| a.parse().expect("an address")).collect::<Vec<SocketAddr>>();
        assert_eq!(guard.permitted("h", found(&["127.0.0.1:443", "8.8.8.8:443"])), Ok(found(&["8.8.8.8:443"])));
        assert_eq!(guard.permitted("h", found(&["10.0.0.7:443"])), Ok(found(&["10.0.0.7:443"])));
        assert!(guard.permitted("h", found(&["10.0.0.7:80"])).is_err());
    }
}
