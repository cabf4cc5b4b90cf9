//! What a PROPFIND or PROPPATCH asks for (RFC 4918 sections 9.1, 9.2).

use std::collections::HashSet;

use crate::DAV;
use crate::fragment::{Fragment, contents_at};
use crate::xml::{self, BadXml, Element, MAX_REQUEST_ELEMENTS, Name};

/// Largest body of a PROPFIND or PROPPATCH.
pub const MAX_BODY: usize = 64 * 1024;

/// Which properties are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All that are known, and those named besides.
    All(Vec<Name>),
    /// Only which there are.
    Names,
    /// These.
    Named(Vec<Name>),
}

/// Reads the body of a PROPFIND; an empty one asks for all.
pub fn parse_propfind(body: &[u8]) -> Result<Wanted, BadXml> {
    if body.is_empty() {
        return Ok(Wanted::All(Vec::new()));
    }
    let root = document(body, "propfind")?;
    if let Some(prop) = root.child("prop") {
        return Ok(Wanted::Named(names(prop)));
    }
    if root.child("propname").is_some() {
        return Ok(Wanted::Names);
    }
    if root.child("allprop").is_some() {
        return Ok(Wanted::All(root.child("include").map(names).unwrap_or_default()));
    }
    Err(BadXml::Unexpected("propfind holds none of prop, allprop, propname"))
}

/// The names of an element's children, each once: a name that is there a thousand times asks for no more than one.
fn names(element: &Element) -> Vec<Name> {
    let mut seen = HashSet::new();
    element.children.iter().map(|child| &child.name).filter(|name| seen.insert(*name)).cloned().collect()
}

/// One change that a PROPPATCH asks for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(Name, Fragment),
    Remove(Name),
}

impl Change {
    pub fn name(&self) -> &Name {
        match self {
            Change::Set(name, _) | Change::Remove(name) => name,
        }
    }
}

/// How deep the properties are in a PROPPATCH: `propertyupdate`, `set`, `prop`, and then they.
const PROPERTY_DEPTH: usize = 4;

/// Reads the body of a PROPPATCH: the changes in the order in which they are to be made.
pub fn parse_proppatch(body: &[u8]) -> Result<Vec<Change>, BadXml> {
    let root = document(body, "propertyupdate")?;
    let mut contents = contents_at(text(body)?, PROPERTY_DEPTH)?.into_iter();
    let mut changes = Vec::new();
    for step in &root.children {
        for prop in &step.children {
            for property in &prop.children {
                let content = contents.next().unwrap_or_default();
                if !prop.name.is(DAV, "prop") {
                    continue;
                }
                if step.name.is(DAV, "set") {
                    changes.push(Change::Set(property.name.clone(), content));
                } else if step.name.is(DAV, "remove") {
                    changes.push(Change::Remove(property.name.clone()));
                }
            }
        }
    }
    if changes.is_empty() { Err(BadXml::Unexpected("propertyupdate changes nothing")) } else { Ok(changes) }
}

pub(crate) fn text(body: &[u8]) -> Result<&str, BadXml> {
    let text = std::str::from_utf8(body).map_err(|_| BadXml::Malformed("not UTF-8".into()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

pub(crate) fn document(body: &[u8], root: &'static str) -> Result<Element, BadXml> {
    let element = xml::parse(text(body)?, MAX_REQUEST_ELEMENTS)?;
    if element.name.is(DAV, root) { Ok(element) } else { Err(BadXml::Unexpected(root)) }
}

/// The body of a PROPFIND that asks for the properties which [`crate::multistatus::Resource`] holds.
pub const STAT_BODY: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>"#,
    "<D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:getetag/>",
    "<D:quota-used-bytes/><D:quota-available-bytes/></D:prop></D:propfind>"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(parse_propfind(b"").expect("reads"), Wanted::All(vec![]));
        assert_eq!(
            parse_propfind(b"<propfind xmlns='DAV:'><prop><getetag/><x xmlns='urn:y'/></prop></propfind>")
                .expect("reads"),
            Wanted::Named(vec![Name::new("DAV:", "getetag"), Name::new("urn:y", "x")])
        );
        assert_eq!(
            parse_propfind(b"<D:propfind xmlns:D='DAV:'><D:propname/></D:propfind>").expect("reads"),
            Wanted::Names
        );
        for (kind, end) in [("prop", "</D:prop>"), ("allprop/><D:include", "</D:include>")] {
            let body = format!(
                "<D:propfind xmlns:D='DAV:'><D:{kind}>{}<D:b/>{}{end}</D:propfind>",
                "<D:a/>".repeat(300),
                "<D:a/><a xmlns='urn:a'/>".repeat(200)
            );
            let once = vec![Name::new("DAV:", "a"), Name::new("DAV:", "b"), Name::new("urn:a", "a")];
            let (Wanted::All(read) | Wanted::Named(read)) = parse_propfind(body.as_bytes()).expect("reads") else {
                panic!("names")
            };
            assert_eq!(read, once);
        }
        assert!(parse_propfind(STAT_BODY.as_bytes()).is_ok());
        for bad in ["<propfind xmlns='DAV:'/>", "<a/>", "<D:propfind xmlns:D='DAV:'><D:prop>", "nonsense"] {
            assert!(parse_propfind(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn updates() {
        let body = b"<D:propertyupdate xmlns:D='DAV:' xmlns:x='urn:x'><D:set><D:prop><x:a>1</x:a></D:prop></D:set>\
            <D:remove><D:prop><x:b/></D:prop></D:remove></D:propertyupdate>";
        let one = Fragment { lang: None, xml: "1".into() };
        assert_eq!(
            parse_proppatch(body).expect("reads"),
            [Change::Set(Name::new("urn:x", "a"), one), Change::Remove(Name::new("urn:x", "b"))]
        );
        let body = b"<propertyupdate xmlns='DAV:'><x><y><z>no</z></y></x><set><prop xml:lang='en'><v xmlns='urn:v'><foo xmlns=\
            'http://bar'/></v></prop></set></propertyupdate>";
        let value = Fragment { lang: Some("en".into()), xml: "<foo xmlns=\"http://bar\"></foo>".into() };
        assert_eq!(parse_proppatch(body).expect("reads"), [Change::Set(Name::new("urn:v", "v"), value)]);
        assert!(parse_proppatch(b"<D:propertyupdate xmlns:D='DAV:'/>").is_err());
    }
}
