//! LOCK and UNLOCK: what clients ask for, and how locks are shown to them (RFC 4918 sections 6, 9.10, 9.11, 14, 15.8).

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderMap;

use crate::DAV;
use crate::fragment::{Fragment, contents_at, escape_attribute};
use crate::header::{BadHeader, text};
use crate::if_header::coded_url;
use crate::propfind::{self, document};
use crate::xml::{BadXml, escape};

/// Whether others may hold a lock at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockScope {
    Exclusive,
    Shared,
}

impl LockScope {
    fn element(self) -> &'static str {
        match self {
            LockScope::Exclusive => "exclusive",
            LockScope::Shared => "shared",
        }
    }
}

/// A lock that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    pub scope: LockScope,
    /// Whatever the client says of its owner.
    pub owner: Option<Fragment>,
}

/// Reads the body of a LOCK; `None` when it is empty, which asks for more time.
pub fn parse_lock(body: &[u8]) -> Result<Option<LockRequest>, BadXml> {
    if body.is_empty() {
        return Ok(None);
    }
    let root = document(body, "lockinfo")?;
    let kind = root.child("locktype").ok_or(BadXml::Unexpected("lockinfo has no locktype"))?;
    if kind.child("write").is_none() {
        return Err(BadXml::Unexpected("there are only write locks"));
    }
    let scope = root.child("lockscope").ok_or(BadXml::Unexpected("lockinfo has no lockscope"))?;
    let scope = match (scope.child("exclusive"), scope.child("shared")) {
        (Some(_), None) => LockScope::Exclusive,
        (None, Some(_)) => LockScope::Shared,
        _ => return Err(BadXml::Unexpected("lockscope is neither exclusive nor shared")),
    };
    let contents = contents_at(propfind::text(body)?, 2)?;
    let mut members = root.children.iter().zip(contents);
    let owner = members.find(|(element, _)| element.name.is(DAV, "owner")).map(|(_, content)| content);
    Ok(Some(LockRequest { scope, owner }))
}

/// The time for which a client asks: of the values of `Timeout` the first that is understood. `Duration::MAX` is "for ever".
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, BadHeader> {
    let Some(value) = text(headers, "timeout")? else { return Ok(None) };
    let understood = |word: &str| {
        if word.eq_ignore_ascii_case("infinite") {
            return Some(Duration::MAX);
        }
        let (unit, seconds) = word.split_once('-')?;
        let seconds = seconds.parse().ok().filter(|_| unit.eq_ignore_ascii_case("second"))?;
        Some(Duration::from_secs(seconds))
    };
    Ok(value.split(',').map(str::trim).find_map(understood))
}

/// `Lock-Token`, which UNLOCK must have.
pub fn lock_token(headers: &HeaderMap) -> Result<Option<&str>, BadHeader> {
    match text(headers, "lock-token")? {
        None => Ok(None),
        Some(value) => match coded_url(value) {
            Some((token, "")) => Ok(Some(token)),
            _ => Err(BadHeader("lock-token")),
        },
    }
}

/// A lock as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveLock<'a> {
    pub token: &'a str,
    /// The path of the URL that was locked, encoded.
    pub root: &'a str,
    pub scope: LockScope,
    /// Whether it is for all that is in a folder.
    pub is_deep: bool,
    pub owner: Option<&'a Fragment>,
    pub seconds_left: u64,
}

/// The content of `DAV:supportedlock`, where `D` is the prefix of `DAV:`.
pub const SUPPORTED: &str = "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>\
    <D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>";

/// The content of `DAV:lockdiscovery`, where `D` is the prefix of `DAV:`.
pub fn discovery<'a>(locks: impl IntoIterator<Item = ActiveLock<'a>>) -> String {
    let mut out = String::new();
    for lock in locks {
        let (scope, depth) = (lock.scope.element(), if lock.is_deep { "infinity" } else { "0" });
        let _ = write!(
            out,
            "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope><D:depth>{depth}</D:depth>"
        );
        if let Some(owner) = lock.owner {
            let lang = owner.lang.as_ref().map(|lang| format!(" xml:lang=\"{}\"", escape_attribute(lang)));
            let _ = write!(out, "<D:owner{}>{}</D:owner>", lang.unwrap_or_default(), owner.xml);
        }
        let (token, root) = (escape(lock.token), escape(lock.root));
        let _ = write!(
            out,
            "<D:timeout>Second-{}</D:timeout><D:locktoken><D:href>{token}</D:href></D:locktoken>\
             <D:lockroot><D:href>{root}</D:href></D:lockroot></D:activelock>",
            lock.seconds_left
        );
    }
    out
}

/// The body of a LOCK's answer.
pub fn answer(discovery: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>{discovery}</D:lockdiscovery></D:prop>\n"
    )
}

/// A body that says which condition of the standard was not met, and where.
pub fn unmet(condition: &str, href: &str) -> String {
    let href = escape(href);
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <D:error xmlns:D=\"DAV:\"><D:{condition}><D:href>{href}</D:href></D:{condition}></D:error>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let body = "<?xml version='1.0'?><D:lockinfo xmlns:D='DAV:'><D:lockscope><D:exclusive/></D:lockscope><D:locktype>\
            <D:write/></D:locktype><D:owner>me <D:href>mailto:me@x</D:href></D:owner></D:lockinfo>";
        let read = parse_lock(body.as_bytes()).expect("reads").expect("a request");
        assert_eq!(read.scope, LockScope::Exclusive);
        let owner = read.owner.expect("an owner");
        assert_eq!(owner.xml, "me <D:href xmlns:D=\"DAV:\">mailto:me@x</D:href>");
        assert_eq!(parse_lock(b"").expect("reads"), None);
        for bad in [
            "<D:lockinfo xmlns:D='DAV:'/>",
            "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:shared/></D:lockscope></D:lockinfo>",
            "<D:lockinfo xmlns:D='DAV:'><D:lockscope/><D:locktype><D:write/></D:locktype></D:lockinfo>",
            "<lockinfo/>",
            "x",
        ] {
            assert!(parse_lock(bad.as_bytes()).is_err(), "{bad}");
        }
        let lock = ActiveLock {
            token: "urn:uuid:1",
            root: "/dav/a&b",
            scope: LockScope::Shared,
            is_deep: true,
            owner: Some(&owner),
            seconds_left: 60,
        };
        let text = answer(&discovery([lock]));
        let root = crate::xml::parse(&text, 100).expect("well-formed");
        let shown = root.child("lockdiscovery").and_then(|found| found.child("activelock")).expect("a lock");
        assert_eq!(shown.child("lockroot").and_then(|root| root.child("href")).expect("a root").text, "/dav/a&b");
        assert!(crate::xml::parse(&unmet("lock-token-submitted", "/a<b"), 10).is_ok());
    }

    #[test]
    fn headers() {
        let with = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))])
        };
        assert_eq!(timeout(&with("timeout", "Infinite, Second-4100000000")), Ok(Some(Duration::MAX)));
        assert_eq!(timeout(&with("timeout", "Extend-1, Second-60")), Ok(Some(Duration::from_secs(60))));
        assert_eq!(timeout(&with("timeout", "soon")), Ok(None));
        assert_eq!(lock_token(&with("lock-token", "<urn:uuid:1>")), Ok(Some("urn:uuid:1")));
        assert!(lock_token(&with("lock-token", "urn:uuid:1")).is_err());
        assert_eq!(lock_token(&HeaderMap::new()), Ok(None));
    }
}
