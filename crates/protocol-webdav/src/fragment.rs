//! What stands inside an element, as XML that can be put into another document: values of properties and owners of locks are
//! kept so (RFC 4918 section 4.3).

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{QName, ResolveResult};

use crate::xml::{BadXml, MAX_DEPTH, Name, escape, is_character, is_name, is_reserved, resolve};

/// Levels that an answer needs around a value.
const ROOM_AROUND: usize = 8;

/// The content of an element. It declares every namespace that it uses, so it means the same wherever it is put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The language of the text (`xml:lang`), as far as the document said it.
    pub lang: Option<String>,
    pub xml: String,
}

/// The content of each element that is `depth` deep (the document's own is 1 deep), in the order of the document. The
/// document has been read with [`crate::xml::parse`] before, which is what limits it.
pub fn contents_at(text: &str, depth: usize) -> Result<Vec<Fragment>, BadXml> {
    let mut reader = NsReader::from_str(text);
    let mut walk = Walk { depth, langs: Vec::new(), scope: Vec::new(), found: Vec::new() };
    loop {
        let event = reader.read_event().map_err(|e| BadXml::Malformed(e.to_string()))?;
        match event {
            Event::Start(start) => walk.open(&reader, &start)?,
            Event::Empty(start) => {
                walk.open(&reader, &start)?;
                walk.close(start.name());
            }
            Event::End(end) => walk.close(end.name()),
            Event::Text(text) => walk.text(&text.xml10_content()),
            Event::CData(text) => walk.text(&text.xml10_content()),
            Event::GeneralRef(reference) => walk.text(&resolve(&reference)?),
            Event::DocType(_) => return Err(BadXml::DocType),
            Event::Eof => return Ok(walk.found),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

struct Walk {
    depth: usize,
    /// One for each open element.
    langs: Vec<Option<String>>,
    /// Prefixes and what they mean, for each element that was written and is open.
    scope: Vec<Vec<(String, String)>>,
    found: Vec<Fragment>,
}

impl Walk {
    fn open(&mut self, reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<(), BadXml> {
        let mut lang = self.langs.last().cloned().flatten();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| BadXml::Malformed(e.to_string()))?;
            if attribute.key.as_ref() == "xml:lang" {
                lang = Some(value(&attribute)?).filter(|lang| !lang.is_empty());
                if lang.as_ref().is_some_and(|lang| !lang.chars().all(is_character)) {
                    return Err(BadXml::Malformed("xml:lang holds what XML cannot say".into()));
                }
            }
        }
        self.langs.push(lang.clone());
        if self.langs.len() + ROOM_AROUND > MAX_DEPTH + self.depth {
            return Err(BadXml::TooLarge);
        }
        if self.langs.len() == self.depth {
            self.found.push(Fragment { lang, xml: String::new() });
            return Ok(());
        }
        if self.langs.len() > self.depth { self.write_start(reader, start) } else { Ok(()) }
    }

    fn close(&mut self, name: QName<'_>) {
        if self.langs.len() > self.depth {
            self.scope.pop();
            let name: &str = name.as_ref();
            self.write(&["</", name, ">"]);
        }
        self.langs.pop();
    }

    fn text(&mut self, text: &str) {
        if self.langs.len() >= self.depth {
            // Readers take a bare carriage return for a line feed.
            self.write(&[&escape(text).replace('\r', "&#13;")]);
        }
    }

    fn write(&mut self, pieces: &[&str]) {
        if let Some(fragment) = self.found.last_mut() {
            fragment.xml.extend(pieces.iter().copied());
        }
    }

    /// The tag as it was written, with the declarations that are not yet in force in what was written.
    fn write_start(&mut self, reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<(), BadXml> {
        self.scope.push(Vec::new());
        let name = start.name();
        let mut tag = format!("<{}", AsRef::<str>::as_ref(&name));
        let namespace = bound(&reader.resolver().resolve_element(name).0)?;
        self.declare(&mut tag, prefix_of(name)?, &namespace)?;
        let mut seen: Vec<Name> = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| BadXml::Malformed(e.to_string()))?;
            let key: &str = attribute.key.as_ref();
            if key == "xmlns" || key.starts_with("xmlns:") {
                continue;
            }
            let prefix = prefix_of(attribute.key)?;
            let local = attribute.key.local_name();
            let local: &str = local.as_ref();
            if !is_name(local) {
                return Err(BadXml::Malformed(format!("{local:?} is not a name")));
            }
            let namespace = bound(&reader.resolver().resolve_attribute(attribute.key).0)?;
            if !prefix.is_empty() {
                self.declare(&mut tag, prefix, &namespace)?;
            }
            let meant = Name::new(&namespace, local);
            if seen.contains(&meant) {
                return Err(BadXml::Malformed(format!("the attribute {local:?} is there twice")));
            }
            seen.push(meant);
            tag.extend([" ", key, "=\"", &escape_attribute(&value(&attribute)?), "\""]);
        }
        self.write(&[&tag, ">"]);
        Ok(())
    }

    fn declare(&mut self, tag: &mut String, prefix: &str, namespace: &str) -> Result<(), BadXml> {
        if prefix == "xml" {
            return Ok(());
        }
        if is_reserved(namespace) || !namespace.chars().all(is_character) {
            return Err(BadXml::Namespace(prefix.to_owned()));
        }
        let known = self.scope.iter().rev().flat_map(|frame| frame.iter().rev()).find(|(known, _)| known == prefix);
        let in_force = known.map(|(_, meaning)| meaning.as_str()).or(prefix.is_empty().then_some(""));
        if in_force == Some(namespace) {
            return Ok(());
        }
        let colon = if prefix.is_empty() { "" } else { ":" };
        tag.extend([" xmlns", colon, prefix, "=\"", &escape_attribute(namespace), "\""]);
        if let Some(frame) = self.scope.last_mut() {
            frame.push((prefix.to_owned(), namespace.to_owned()));
        }
        Ok(())
    }
}

fn prefix_of(name: QName<'_>) -> Result<&str, BadXml> {
    let text: &str = name.into_inner();
    match text.split_once(':') {
        None => Ok(""),
        Some((prefix, _)) if is_name(prefix) && prefix != "xmlns" => Ok(prefix),
        Some((prefix, _)) => Err(BadXml::Namespace(prefix.to_owned())),
    }
}

/// What a name's prefix means, as text.
fn bound(namespace: &ResolveResult<'_>) -> Result<String, BadXml> {
    match namespace {
        ResolveResult::Bound(namespace) => {
            let text = quick_xml::escape::unescape(namespace.as_ref());
            text.map(|text| text.into_owned()).map_err(|e| BadXml::Malformed(e.to_string()))
        }
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Unknown(prefix) => Err(BadXml::Namespace(prefix.clone())),
    }
}

fn value(attribute: &quick_xml::events::attributes::Attribute<'_>) -> Result<String, BadXml> {
    let version = quick_xml::XmlVersion::Implicit1_0;
    attribute.normalized_value(version).map(|text| text.into_owned()).map_err(|e| BadXml::Malformed(e.to_string()))
}

/// Blanks other than spaces are written as references, or a reader would take them for spaces.
pub(crate) fn escape_attribute(text: &str) -> String {
    escape(text).replace('\t', "&#9;").replace('\n', "&#10;").replace('\r', "&#13;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str, depth: usize) -> Vec<String> {
        crate::xml::parse(text, 100).expect("well-formed");
        contents_at(text, depth).expect("reads").into_iter().map(|fragment| fragment.xml).collect()
    }

    #[test]
    fn content_stands_by_itself() {
        let text = "<a xmlns='urn:a' xmlns:b='urn:b&amp;c'><p>x &lt; <![CDATA[<y>]]>&#65;</p><q><b:i b:k=\"v&quot;\" l='1'><j/>\
            <b:m/></b:i></q><r/></a>";
        assert_eq!(
            contents(text, 2),
            [
                "x &lt; &lt;y&gt;A",
                "<b:i xmlns:b=\"urn:b&amp;c\" b:k=\"v&quot;\" l=\"1\"><j xmlns=\"urn:a\"></j><b:m></b:m></b:i>",
                "",
            ]
        );
        assert_eq!(contents("<p><foo xmlns='http://bar'/></p>", 1), ["<foo xmlns=\"http://bar\"></foo>"]);
        assert_eq!(
            contents("<p><a xmlns='u'><b xmlns=''/></a><c/></p>", 1),
            ["<a xmlns=\"u\"><b xmlns=\"\"></b></a><c></c>"]
        );
    }

    #[test]
    fn languages_are_inherited() {
        let text = "<a xml:lang='de'><b xml:lang='fr'/><c/><d xml:lang=''/></a>";
        let langs: Vec<_> = contents_at(text, 2).expect("reads").into_iter().map(|fragment| fragment.lang).collect();
        assert_eq!(langs, [Some("fr".to_owned()), Some("de".to_owned()), None]);
    }

    #[test]
    fn what_would_spoil_an_answer_is_refused() {
        for text in [
            "<a><b x:y='1'/></a>",
            "<a xmlns:p='u' xmlns:q='u'><b p:y='1' q:y='2'/></a>",
            "<a><b c='&unknown;'/></a>",
            "<a><b 1='x'/></a>",
            "<a><b xmlns='&#104;ttp://www.w3.org/2000/xmlns/'/></a>",
            "<a xmlns:p='&#104;ttp://www.w3.org/2000/xmlns/'><b p:c='1'/></a>",
            "<a xmlns:p='&#104;ttp://www.w3.org/XML/1998/namespace'><b><p:c/></b></a>",
            "<a xml:lang='\u{1}'/>",
        ] {
            assert!(contents_at(text, 1).is_err(), "{text}");
        }
        let deep = format!("{}{}", "<a>".repeat(30), "</a>".repeat(30));
        assert!(crate::xml::parse(&deep, 100).is_ok() && contents_at(&deep, 1).is_err());
    }
}
