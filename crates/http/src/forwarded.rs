//! Where a request came from, when proxies stand between (`[http] trusted_proxies`).
//!
//! Anybody can write `Forwarded` (RFC 7239) and `X-Forwarded-For`, and each proxy appends the address that it saw. So only
//! the end of the list can be believed: from the right, over the proxies that are trusted, to the first that is not. A
//! proxy writes one of the two headers and passes on what a caller wrote into the other, so when both are there and
//! differ, neither counts.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::config::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Headers by which proxies say that they pass something on, besides `X-Forwarded-…`.
const FORWARDING: &[&str] = &["forwarded", "via", "x-real-ip"];
/// No chain of trusted proxies is longer.
const MOST_HOPS: usize = 32;

/// The address that counts as the caller's.
pub(crate) fn origin(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let walk = |name: &HeaderName, read: fn(&str) -> Option<IpAddr>| {
        let values: Option<Vec<&str>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
        let Some(values) = values else { return Some(peer) };
        (!values.is_empty()).then(|| last_untrusted(peer, &values, read, is_trusted))
    };
    match (walk(&FORWARDED, forwarded_for), walk(&X_FORWARDED_FOR, node)) {
        (None, None) => peer,
        (Some(one), None) | (None, Some(one)) => one,
        (Some(a), Some(b)) if a == b => a,
        _ => peer,
    }
}

/// Whether a trusted proxy passes on what somebody else asked: then the certificate of the connection is the proxy's own, and must
/// stand for nobody behind it. A proxy that asks for itself forwards nothing.
pub(crate) fn is_for_another(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> bool {
    let says_so = |name: &HeaderName| FORWARDING.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-");
    trusted.iter().any(|network| network.contains(peer)) && headers.keys().any(says_so)
}

/// From the right: what cannot be read, or was hidden, ends the way at the proxy that wrote it.
fn last_untrusted(
    peer: IpAddr,
    values: &[&str],
    read: fn(&str) -> Option<IpAddr>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut from = peer;
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')).take(MOST_HOPS) {
        let Some(address) = read(hop.trim()) else { return from };
        from = address;
        if !is_trusted(address) {
            return address;
        }
    }
    from
}

/// `for=` of one element: `for=192.0.2.1;proto=https`, `For="[2001:db8::1]:4711"`. A quoted comma or semicolon stands in no
/// address, so what has one is not understood.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for (name, value) in element.split(';').filter_map(|pair| pair.split_once('=')) {
        if name.trim().eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None;
            }
            let value = value.trim();
            let plain = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?;
            found = Some(node(plain)?);
        }
    }
    found
}

/// An address, with or without a port; nothing for `unknown` and `_names`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted: Vec<Network> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().expect("a range")).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        origin(peer.parse().expect("an address"), &map, &trusted).to_string()
    }

    #[test]
    fn the_last_hop_that_is_not_trusted() {
        let xff = |peer: &str, list: &str| from(peer, &[("x-forwarded-for", list)]);
        assert_eq!(xff("10.0.0.1", "192.0.2.7"), "192.0.2.7");
        assert_eq!(xff("10.0.0.1", "198.51.100.1, 192.0.2.7, 10.0.0.2"), "192.0.2.7");
        assert_eq!(xff("::ffff:10.0.0.1", "192.0.2.7:4711"), "192.0.2.7");
        assert_eq!(xff("fd00::1", "[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(xff("10.0.0.1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(xff("10.0.0.1", "10.0.0.3, 10.0.0.2"), "10.0.0.3");
        let twice = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(from("10.0.0.1", &twice), "192.0.2.7");
        let forwarded = |list: &str| from("10.0.0.1", &[("forwarded", list)]);
        assert_eq!(forwarded("for=198.51.100.1, For=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.2"), "2001:db8::1");
        assert_eq!(forwarded("proto=https; for=192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn a_proxy_that_passes_something_on() {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().expect("a range")];
        let is = |peer: &str, header: Option<&'static str>| {
            let named = header.map(|name| (HeaderName::from_static(name), "x".parse().expect("a value")));
            is_for_another(peer.parse().expect("an address"), &named.into_iter().collect(), &trusted)
        };
        for header in ["forwarded", "x-forwarded-for", "x-forwarded-proto", "via", "x-real-ip"] {
            assert!(is("10.0.0.1", Some(header)), "{header}");
            assert!(!is("192.0.2.1", Some(header)), "{header}");
        }
        assert!(!is("10.0.0.1", None) && !is("10.0.0.1", Some("accept")));
    }

    #[test]
    fn what_a_caller_writes_does_not_count() {
        assert_eq!(from("192.0.2.9", &[("x-forwarded-for", "198.51.100.1")]), "192.0.2.9");
        assert_eq!(from("192.0.2.9", &[("forwarded", "for=10.0.0.1")]), "192.0.2.9");
        // The proxy writes one of them; a caller wrote the other.
        let both = [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=198.51.100.1")];
        assert_eq!(from("10.0.0.1", &both), "10.0.0.1");
        let agree = [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7")];
        assert_eq!(from("10.0.0.1", &agree), "192.0.2.7");
    }

    #[test]
    fn what_cannot_be_read_ends_at_the_proxy() {
        for hidden in ["unknown", "_hidden", "198.51.100.1, unknown", "", "192.0.2.7,", "192.0.2.7:http", "[192.0.2.7"]
        {
            assert_eq!(from("10.0.0.1", &[("x-forwarded-for", hidden)]), "10.0.0.1", "{hidden:?}");
        }
        for hidden in ["by=10.0.0.2", "for=unknown", "for=\"192.0.2.7", "for=192.0.2.7;for=192.0.2.8", "192.0.2.7"] {
            assert_eq!(from("10.0.0.1", &[("forwarded", hidden)]), "10.0.0.1", "{hidden:?}");
        }
        assert_eq!(from("10.0.0.1", &[("x-forwarded-for", "198.51.100.1, _x, 10.0.0.2")]), "10.0.0.2");
        let long = vec!["10.0.0.2"; 100].join(", ");
        assert_eq!(from("10.0.0.1", &[("x-forwarded-for", &format!("192.0.2.7, {long}"))]), "10.0.0.2");
    }
}
