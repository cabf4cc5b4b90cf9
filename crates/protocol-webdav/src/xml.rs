//! Just enough XML: a bounded reader into a tree with resolved namespaces, and escaping.
//!
//! Document types are refused, so no entity can grow and nothing outside is ever fetched.

use std::borrow::Cow;

use quick_xml::NsReader;
use quick_xml::escape::{resolve_xml_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;

/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 32;
/// Most elements that are read from a request; answers to clients may hold more.
pub const MAX_REQUEST_ELEMENTS: usize = 1_000;
/// Longest name of a namespace. It is short to use where it is declared, but each property that is named with it repeats it.
const LONGEST_NAMESPACE: usize = 1_024;
/// Most elements that are read from an answer.
pub const MAX_ANSWER_ELEMENTS: usize = 4_000_000;

/// An element's namespace and local name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub namespace: String,
    pub local: String,
}

impl Name {
    pub fn new(namespace: &str, local: &str) -> Name {
        Name { namespace: namespace.to_owned(), local: local.to_owned() }
    }

    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.local == local && self.namespace == namespace
    }
}

/// An element with its text and children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub name: Name,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The first child of that name in the `DAV:` namespace.
    pub fn child(&self, local: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name.is(crate::DAV, local))
    }

    /// All children of that name in the `DAV:` namespace.
    pub fn children_named<'a>(&'a self, local: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name.is(crate::DAV, local))
    }
}

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
pub enum BadXml {
    #[error("not well-formed XML: {0}")]
    Malformed(String),
    #[error("the namespace prefix {0:?} is not declared")]
    Namespace(String),
    #[error("document types are not accepted")]
    DocType,
    #[error("the document is too deep or too large")]
    TooLarge,
    #[error("the document is not what was expected here: {0}")]
    Unexpected(&'static str),
}

/// What the prefix `xmlns` means; no element is in it.
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
/// What the prefix `xml` always means; no other prefix may.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Whether no prefix may be declared for a namespace (Namespaces in XML 1.0, section 3).
pub(crate) fn is_reserved(namespace: &str) -> bool {
    namespace == XMLNS || namespace == XML
}

/// Reads one document into a tree of at most `max_elements`.
pub fn parse(text: &str, max_elements: usize) -> Result<Element, BadXml> {
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut count = 0;
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|e| BadXml::Malformed(e.to_string()))?;
        match event {
            Event::Start(start) => {
                count += 1;
                if open.len() >= MAX_DEPTH || count > max_elements || root.is_some() {
                    return Err(BadXml::TooLarge);
                }
                open.push(element(&namespace, &start)?);
            }
            Event::Empty(start) => {
                count += 1;
                if count > max_elements || root.is_some() {
                    return Err(BadXml::TooLarge);
                }
                let done = element(&namespace, &start)?;
                close(&mut open, &mut root, done);
            }
            Event::End(_) => {
                let done = open.pop().ok_or_else(|| BadXml::Malformed("an end without a start".into()))?;
                close(&mut open, &mut root, done);
            }
            Event::Text(text) => append(&mut open, &text.xml10_content())?,
            Event::CData(text) => append(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => append(&mut open, &resolve(&reference)?)?,
            Event::DocType(_) => return Err(BadXml::DocType),
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    if !open.is_empty() {
        return Err(BadXml::Malformed("the document ends in the middle".into()));
    }
    root.ok_or(BadXml::Malformed("there is no element".into()))
}

/// What `&amp;` or `&#65;` stands for. There are no others without a document type.
pub(crate) fn resolve(reference: &BytesRef<'_>) -> Result<String, BadXml> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) => Ok(character.to_string()),
        Ok(None) => {
            let known = resolve_xml_entity(&reference.xml10_content());
            known.map(str::to_owned).ok_or_else(|| BadXml::Malformed("an unknown entity".into()))
        }
        Err(error) => Err(BadXml::Malformed(error.to_string())),
    }
}

fn element(namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Result<Element, BadXml> {
    check_declarations(start)?;
    let namespace = match namespace {
        // The name is what the attribute means, not how it was written: `a&amp;b` is `a&b`.
        ResolveResult::Bound(namespace) => {
            unescape(namespace.as_ref()).map_err(|e| BadXml::Malformed(e.to_string()))?.into_owned()
        }
        ResolveResult::Unbound => String::new(),
        ResolveResult::Unknown(prefix) => return Err(BadXml::Namespace(prefix.clone())),
    };
    let local = start.local_name().as_ref().to_owned();
    // Names come back in answers: one that is none in XML, or that is reserved, would spoil the answer.
    if !is_name(&local) || is_reserved(&namespace) || !namespace.chars().all(is_character) {
        return Err(BadXml::Malformed(format!("{local:?} is not a name")));
    }
    Ok(Element { name: Name { namespace, local }, text: String::new(), children: Vec::new() })
}

/// Whether a text is an `NCName` (Namespaces in XML 1.0, production 4).
pub(crate) fn is_name(text: &str) -> bool {
    let begins = |c: char| {
        matches!(c, 'A'..='Z' | '_' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
            | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}' | '\u{200d}' | '\u{2070}'..='\u{218f}'
            | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
            | '\u{10000}'..='\u{effff}')
    };
    let goes_on = |c: char| {
        begins(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}' | '\u{2040}')
    };
    text.starts_with(begins) && text.chars().all(goes_on)
}

/// Whether a character may stand in a document at all (XML 1.0, production 2).
pub(crate) fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// A prefix bound to the empty namespace (`xmlns:x=""`) is an error in XML 1.0 namespaces, as is one for a reserved namespace,
/// however that is written.
fn check_declarations(start: &BytesStart<'_>) -> Result<(), BadXml> {
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| BadXml::Malformed(e.to_string()))?;
        let key: &str = attribute.key.as_ref();
        let prefix = match key.strip_prefix("xmlns") {
            Some("") => "",
            Some(rest) if rest.starts_with(':') => &rest[1..],
            _ => continue,
        };
        let value: &str = attribute.value.as_ref();
        let meaning = unescape(value).map_err(|e| BadXml::Malformed(e.to_string()))?;
        if meaning.len() > LONGEST_NAMESPACE {
            return Err(BadXml::TooLarge);
        }
        let is_its_own = prefix == "xml" && meaning == XML;
        if (!prefix.is_empty() && meaning.is_empty()) || (is_reserved(&meaning) && !is_its_own) {
            return Err(BadXml::Namespace(prefix.to_owned()));
        }
    }
    Ok(())
}

fn close(open: &mut [Element], root: &mut Option<Element>, done: Element) {
    match open.last_mut() {
        Some(parent) => parent.children.push(done),
        None => *root = Some(done),
    }
}

fn append(open: &mut [Element], text: &str) -> Result<(), BadXml> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(BadXml::Malformed("text outside of the document".into())),
    }
    Ok(())
}

/// Escapes text for an element's content. What XML cannot say at all becomes the replacement character.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_character) {
        return quick_xml::escape::escape(text);
    }
    let sayable: String = text.chars().map(|c| if is_character(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    Cow::Owned(quick_xml::escape::escape(sayable.as_str()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees() {
        let text = r#"<?xml version="1.0"?><D:a xmlns:D="DAV:"><D:b>x &amp; y &#65;<![CDATA[<]]></D:b><c xmlns="urn:c"/></D:a>"#;
        let root = parse(text, 10).expect("parses");
        assert!(root.name.is("DAV:", "a"));
        assert_eq!(root.child("b").expect("child").text, "x & y A<");
        assert!(root.children[1].name.is("urn:c", "c"));
    }

    #[test]
    fn namespaces_mean_what_their_attributes_mean() {
        let root = parse(r#"<a xmlns="http://x/?a=1&amp;b=2" xmlns:D="&#68;AV:"><D:b/></a>"#, 10).expect("parses");
        assert!(root.name.is("http://x/?a=1&b=2", "a"), "{root:?}");
        assert!(root.child("b").is_some());
        assert!(parse(r#"<a xmlns="&unknown;"/>"#, 10).is_err());
    }

    #[test]
    fn what_xml_cannot_say_is_replaced() {
        assert_eq!(escape("a<\u{1a}\tö"), "a&lt;\u{fffd}\tö");
        assert!(parse("<größe-1.b/>", 1).is_ok());
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "<a>",
            "<a></b>",
            "<x:a/>",
            "<a xmlns:x=\"\"/>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            "<a>&x;</a>",
            "<a/><b/>",
            "<a=x/>",
            "<a\u{1a}b/>",
            "<1/>",
            "<a xmlns=\"u\u{1}\"/>",
            "<xmlns:x/>",
            "<xml:a/>",
            "<a xmlns=\"http://www.w3.org/XML/1998/namespace\"/>",
            "<a xmlns=\"&#104;ttp://www.w3.org/XML/1998/namespace\"/>",
            "<p:a xmlns:p=\"&#104;ttp://www.w3.org/2000/xmlns/\"/>",
            "<a xmlns:p=\"&#104;ttp://www.w3.org/2000/xmlns/\" p:b=\"1\"/>",
            "<a xmlns:p=\"http://www.w3.org/XML/1998/namespac&#101;\"/>",
            "<xmlns:x=x xmlns=\"urn:y\"/>",
            "text",
        ] {
            assert!(parse(text, 10).is_err(), "{text}");
        }
        for name in ["xmlns", "xmlns:p"] {
            let declared = |length| parse(&format!("<a {name}='{}'/>", "n".repeat(length)), 10);
            assert!(declared(LONGEST_NAMESPACE).is_ok());
            assert!(matches!(declared(LONGEST_NAMESPACE + 1), Err(BadXml::TooLarge)));
        }
        assert!(matches!(parse(&"<a>".repeat(100), 1_000), Err(BadXml::TooLarge)));
        assert!(matches!(parse(&format!("<a>{}</a>", "<b/>".repeat(11)), 10), Err(BadXml::TooLarge)));
    }
}
