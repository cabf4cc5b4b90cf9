//! `207 Multi-Status`: rendered by servers, read by clients (RFC 4918 section 13).

use std::borrow::Cow;
use std::fmt::Write as _;

use dte_base::time::Timestamp;
use url::Url;

use crate::etag::ETagList;
use crate::fragment::{Fragment, contents_at, escape_attribute};
use crate::header::parse_http_date;
use crate::path::ResourcePath;
use crate::xml::{self, BadXml, Element, MAX_ANSWER_ELEMENTS, Name, escape};
use crate::{DAV, DCACHE, LCGDM, STORM};

/// The media type of a multistatus body.
pub const CONTENT_TYPE: &str = "application/xml; charset=utf-8";

/// A property's value in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// Well-formed XML that is written as it stands; the prefix `D` is that of `DAV:`.
    Xml(Cow<'static, str>),
    /// What a client left there.
    Kept(Fragment),
    Empty,
}

/// Writes a multistatus document step by step, so that a long listing needs no tree.
pub struct Multistatus {
    text: String,
}

const WELL_KNOWN: [(&str, &str); 4] = [(DAV, "D"), (STORM, "S"), (DCACHE, "C"), (LCGDM, "L")];

impl Default for Multistatus {
    fn default() -> Self {
        Multistatus::new()
    }
}

impl Multistatus {
    pub fn new() -> Self {
        let mut text = String::with_capacity(4096);
        text.push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus");
        for (namespace, prefix) in WELL_KNOWN {
            let _ = write!(text, " xmlns:{prefix}=\"{namespace}\"");
        }
        text.push_str(">\n");
        Multistatus { text }
    }

    /// One resource: properties that were found, and groups of names with another status (`404 Not Found`, …).
    pub fn resource(&mut self, href: &str, found: &[(Name, Value)], others: &[(&str, Vec<Name>)]) {
        let _ = write!(self.text, "<D:response><D:href>{}</D:href>", escape(href));
        if !found.is_empty() || others.iter().all(|(_, names)| names.is_empty()) {
            self.text.push_str("<D:propstat><D:prop>");
            for (name, value) in found {
                self.property(name, value);
            }
            self.text.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
        }
        for (status, names) in others.iter().filter(|(_, names)| !names.is_empty()) {
            self.text.push_str("<D:propstat><D:prop>");
            for name in names {
                self.property(name, &Value::Empty);
            }
            let _ = write!(self.text, "</D:prop><D:status>HTTP/1.1 {status}</D:status></D:propstat>");
        }
        self.text.push_str("</D:response>\n");
    }

    /// One member that could not be handled, as in the answer to a DELETE or COPY of a folder.
    pub fn failure(&mut self, href: &str, status: &str) {
        let href = escape(href);
        let _ = writeln!(
            self.text,
            "<D:response><D:href>{href}</D:href><D:status>HTTP/1.1 {status}</D:status></D:response>"
        );
    }

    fn property(&mut self, name: &Name, value: &Value) {
        let local = &name.local;
        let known = WELL_KNOWN.iter().find(|(namespace, _)| *namespace == name.namespace);
        let (tag, declaration) = match known {
            Some((_, prefix)) => (format!("{prefix}:{local}"), String::new()),
            None if name.namespace.is_empty() => (local.clone(), " xmlns=\"\"".to_owned()),
            None => (format!("X:{local}"), format!(" xmlns:X=\"{}\"", escape_attribute(&name.namespace))),
        };
        let _ = match value {
            Value::Empty => write!(self.text, "<{tag}{declaration}/>"),
            Value::Text(text) => write!(self.text, "<{tag}{declaration}>{}</{tag}>", escape(text)),
            Value::Xml(xml) => write!(self.text, "<{tag}{declaration}>{xml}</{tag}>"),
            Value::Kept(Fragment { lang, xml }) => {
                let lang = lang.as_ref().map(|lang| format!(" xml:lang=\"{}\"", escape_attribute(lang)));
                write!(self.text, "<{tag}{declaration}{}>{xml}</{tag}>", lang.unwrap_or_default())
            }
        };
    }

    /// Bytes that were written so far.
    pub fn written(&self) -> usize {
        self.text.len()
    }

    /// The finished document.
    pub fn finish(mut self) -> String {
        self.text.push_str("</D:multistatus>\n");
        self.text
    }
}

/// How deep a property's content is in an answer: `multistatus`, `response`, `propstat`, `prop`, and the property itself.
const PROPERTY_DEPTH: usize = 5;
/// Elements of an answer with one property, besides those in the property: no more than these.
const ELEMENTS_AROUND: usize = 8;

/// Whether a property that was kept somewhere can stand in an answer and says there what it says. What did not come through
/// [`crate::propfind::parse_proppatch`] may be anything.
pub fn is_sound(name: &Name, value: &Fragment) -> bool {
    let mut out = Multistatus::new();
    out.resource("/", &[(name.clone(), Value::Kept(value.clone()))], &[]);
    let text = out.finish();
    let Ok(root) = xml::parse(&text, xml::MAX_REQUEST_ELEMENTS + ELEMENTS_AROUND) else { return false };
    let prop = root.child("response").and_then(|one| one.child("propstat")).and_then(|stat| stat.child("prop"));
    let read = prop.and_then(|prop| prop.children.first()).is_some_and(|element| element.name == *name);
    read && contents_at(&text, PROPERTY_DEPTH).is_ok_and(|contents| contents == std::slice::from_ref(value))
}

/// A resource as a client reads it from a multistatus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The path on the server, decoded.
    pub path: ResourcePath,
    pub is_collection: bool,
    pub size: Option<u64>,
    pub modified: Option<Timestamp>,
    pub etag: Option<String>,
    pub quota_used: Option<u64>,
    pub quota_available: Option<u64>,
}

/// What a multistatus tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub resources: Vec<Resource>,
    /// The hrefs, as they stand there, of resources that are no clean path or whose own status is an error other than 404.
    pub unreadable: Vec<String>,
}

/// Reads a multistatus. Resources whose own status is an error, and hrefs that are no clean path, are passed over.
pub fn parse(text: &str) -> Result<Vec<Resource>, BadXml> {
    parse_listing(text).map(|listing| listing.resources)
}

/// Reads a multistatus, and tells what was passed over.
pub fn parse_listing(text: &str) -> Result<Listing, BadXml> {
    let root = xml::parse(text, MAX_ANSWER_ELEMENTS)?;
    if !root.name.is(DAV, "multistatus") {
        return Err(BadXml::Unexpected("multistatus"));
    }
    let mut listing = Listing::default();
    for response in root.children_named("response") {
        let is_gone = response.child("status").is_some_and(|status| status.text.split(' ').nth(1) == Some("404"));
        match resource(response) {
            Some(resource) => listing.resources.push(resource),
            None if is_gone => {}
            None => listing.unreadable.push(response.child("href").map_or("", |href| href.text.trim()).to_owned()),
        }
    }
    Ok(listing)
}

fn resource(response: &Element) -> Option<Resource> {
    let href = response.child("href")?.text.trim();
    // An href is a path or an absolute URL; servers behind proxies give either, and some do not encode.
    let path = match Url::parse(href) {
        Ok(url) => url.path().to_owned(),
        Err(_) => href.to_owned(),
    };
    let path = ResourcePath::parse(&path).or_else(|_| ResourcePath::from_plain(&path)).ok()?;
    let mut found = Resource {
        is_collection: path.is_collection(),
        path,
        size: None,
        modified: None,
        etag: None,
        quota_used: None,
        quota_available: None,
    };
    let mut any = false;
    for propstat in response.children_named("propstat") {
        let fine = propstat.child("status").is_none_or(|status| status.text.split(' ').nth(1) == Some("200"));
        let Some(prop) = propstat.child("prop").filter(|_| fine) else { continue };
        any = true;
        for property in prop.children.iter().filter(|property| property.name.namespace == DAV) {
            let text = property.text.trim();
            match property.name.local.as_str() {
                "resourcetype" => found.is_collection = property.child("collection").is_some(),
                "getcontentlength" => found.size = text.parse().ok(),
                "getlastmodified" => found.modified = parse_http_date(text),
                "getetag" if ETagList::parse(text).is_some() => found.etag = Some(text.to_owned()),
                "quota-used-bytes" => found.quota_used = text.parse().ok(),
                "quota-available-bytes" => found.quota_available = text.parse().ok(),
                _ => {}
            }
        }
    }
    any.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered_and_read_again() {
        let mut out = Multistatus::new();
        let dav = |local: &str| Name::new(DAV, local);
        out.resource("/dav/a%20b/", &[(dav("resourcetype"), Value::Xml("<D:collection/>".into()))], &[]);
        out.resource(
            "/dav/a%20b/c&d",
            &[
                (dav("resourcetype"), Value::Empty),
                (dav("getcontentlength"), Value::Text("5000000000".into())),
                (dav("getlastmodified"), Value::Text("Sun, 06 Nov 1994 08:49:37 GMT".into())),
                (dav("getetag"), Value::Text("\"1-2\"".into())),
                (Name::new("urn:other", "x"), Value::Text("<&>".into())),
            ],
            &[("404 Not Found", vec![dav("nothing"), Name::new("", "bare")])],
        );
        out.failure("/dav/x", "403 Forbidden");
        let text = out.finish();
        let read = parse(&text).expect("reads");
        assert_eq!(read.len(), 2, "{text}");
        assert!(read[0].is_collection);
        assert_eq!(read[0].path.plain(), "/dav/a b");
        assert_eq!(read[1].path.plain(), "/dav/a b/c&d");
        assert_eq!(read[1].size, Some(5_000_000_000));
        assert_eq!(read[1].modified, Some(Timestamp::from_seconds(784_111_777)));
        assert_eq!(read[1].etag.as_deref(), Some("\"1-2\""));
    }

    #[test]
    fn what_would_break_out_of_an_answer() {
        let name = Name::new("urn:x", "a");
        let value = |xml: &str| Fragment { lang: None, xml: xml.into() };
        assert!(is_sound(&name, &value("a &lt; <y:b xmlns:y=\"urn:y\" c=\"1\"></y:b>")));
        assert!(
            is_sound(&name, &value(&"<b></b>".repeat(xml::MAX_REQUEST_ELEMENTS - 4))),
            "as much as a request takes"
        );
        for reserved in ["http://www.w3.org/2000/xmlns/", "http://www.w3.org/XML/1998/namespace"] {
            assert!(!is_sound(&Name::new(reserved, "a"), &value("")));
            assert!(!is_sound(&name, &value(&format!("<y:b xmlns:y=\"{}\"></y:b>", reserved.replace('h', "&#104;")))));
        }
        assert!(is_sound(&name, &Fragment { lang: Some("de".into()), xml: String::new() }));
        for bad in ["<b>", "</X:a><X:a>", "</X:a></D:prop></D:propstat>", "<y:b></y:b>", "&x;", "\u{1}", "<!-- x -->"] {
            assert!(!is_sound(&name, &value(bad)), "{bad}");
        }
        for local in ["a b", "", "a/><evil", "1"] {
            assert!(!is_sound(&Name::new("urn:x", local), &value("")), "{local}");
        }
    }

    #[test]
    fn foreign_dialects() {
        let text = r#"<?xml version="1.0"?><multistatus xmlns="DAV:"><response>
            <href>https://se.example.org:1094/data/f%201</href><propstat><prop><resourcetype/>
            <getcontentlength>3</getcontentlength></prop><status>HTTP/1.1 200 OK</status></propstat></response>
            <response><href>/data/../x</href></response></multistatus>"#;
        let read = parse(text).expect("reads");
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].path.plain(), "/data/f 1");
        assert_eq!(read[0].size, Some(3));
        assert_eq!(parse_listing(text).expect("reads").unreadable, ["/data/../x"]);
        let gone = text.replace("</href></response>", "</href><status>HTTP/1.1 404 Not Found</status></response>");
        assert_eq!(parse_listing(&gone).expect("reads").unreadable, Vec::<String>::new());
        assert!(parse("<html/>").is_err());
    }
}
