//! A URL path taken apart once.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The longest name of one component, in bytes, that filesystems take.
pub const MAX_COMPONENT: usize = 255;
/// The longest path, decoded, that is taken from the network.
pub const MAX_PATH: usize = 4096;

/// What is written as itself in a path segment: the unreserved characters of RFC 3986 and the harmless sub-delimiters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'*')
    .remove(b'(')
    .remove(b')')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("the path does not begin with \"/\"")]
    Relative,
    #[error("the path has an empty component (\"//\")")]
    Empty,
    #[error("the path has a component \".\" or \"..\"")]
    Dots,
    #[error("the path holds an encoded \"/\", a backslash or a control character")]
    Forbidden,
    #[error("the path is not UTF-8")]
    NotUtf8,
    #[error("the path has a \"%\" that is not followed by two hexadecimal digits")]
    BadEscape,
    #[error("the path is too long")]
    TooLong,
}

/// Decoded components below some root, none of them dangerous, and whether the path ended in "/".
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourcePath {
    components: Vec<String>,
    collection: bool,
}

impl ResourcePath {
    /// The root itself.
    pub fn root() -> Self {
        ResourcePath { components: Vec::new(), collection: true }
    }

    /// Takes a percent-encoded absolute path apart. Each component is decoded exactly once.
    pub fn parse(raw: &str) -> Result<Self, BadPath> {
        Self::split(raw, |segment| {
            check_escapes(segment)?;
            let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| BadPath::NotUtf8)?;
            Ok(decoded.into_owned())
        })
    }

    /// Takes a path apart that is not percent-encoded.
    pub fn from_plain(plain: &str) -> Result<Self, BadPath> {
        Self::split(plain, |segment| Ok(segment.to_owned()))
    }

    fn split(raw: &str, decode: impl Fn(&str) -> Result<String, BadPath>) -> Result<Self, BadPath> {
        let inner = raw.strip_prefix('/').ok_or(BadPath::Relative)?;
        if inner.len() > MAX_PATH * 3 {
            return Err(BadPath::TooLong);
        }
        if inner.is_empty() {
            return Ok(ResourcePath::root());
        }
        let (inner, collection) = match inner.strip_suffix('/') {
            Some(rest) => (rest, true),
            None => (inner, false),
        };
        let mut components = Vec::with_capacity(8);
        let mut length = 0;
        for segment in inner.split('/') {
            let name = decode(segment)?;
            check_component(&name)?;
            length += name.len() + 1;
            components.push(name);
        }
        if length > MAX_PATH {
            return Err(BadPath::TooLong);
        }
        Ok(ResourcePath { components, collection })
    }

    pub fn components(&self) -> &[String] {
        &self.components
    }

    /// Whether the path was written with a "/" at its end.
    pub fn is_collection(&self) -> bool {
        self.collection
    }

    pub fn is_root(&self) -> bool {
        self.components.is_empty()
    }

    /// The last component.
    pub fn name(&self) -> Option<&str> {
        self.components.last().map(String::as_str)
    }

    /// The folder that holds this; `None` for the root.
    pub fn parent(&self) -> Option<ResourcePath> {
        let (_, above) = self.components.split_last()?;
        Some(ResourcePath { components: above.to_vec(), collection: true })
    }

    /// A member of this folder. The name is checked like one from the network.
    pub fn child(&self, name: &str) -> Result<ResourcePath, BadPath> {
        check_component(name)?;
        let mut components = self.components.clone();
        components.push(name.to_owned());
        Ok(ResourcePath { components, collection: false })
    }

    /// The same path written with or without a "/" at its end.
    pub fn as_collection(mut self, collection: bool) -> ResourcePath {
        self.collection = collection || self.components.is_empty();
        self
    }

    /// The first component, and the rest as a path of its own.
    pub fn split_first(&self) -> Option<(&str, ResourcePath)> {
        let (first, rest) = self.components.split_first()?;
        let collection = self.collection || rest.is_empty();
        Some((first, ResourcePath { components: rest.to_vec(), collection }))
    }

    /// Whether `self` is `other` or lies below it, component by component.
    pub fn is_within(&self, other: &ResourcePath) -> bool {
        self.components.starts_with(&other.components)
    }

    /// `/a/b c`, decoded, without a "/" at its end: what permissions are written in.
    pub fn plain(&self) -> String {
        if self.components.is_empty() {
            return "/".to_owned();
        }
        let mut text = String::with_capacity(self.components.iter().map(|c| c.len() + 1).sum());
        for component in &self.components {
            text.push('/');
            text.push_str(component);
        }
        text
    }

    /// `a/b c`: relative, as the operating system wants it below a folder handle; `.` for the root.
    pub fn relative(&self) -> String {
        if self.components.is_empty() { ".".to_owned() } else { self.components.join("/") }
    }

    /// `/a/b%20c`, with a "/" at its end if it is written as a collection.
    pub fn encoded(&self) -> String {
        let mut text = String::new();
        for component in &self.components {
            text.push('/');
            text.extend(utf8_percent_encode(component, SEGMENT));
        }
        if self.collection || self.components.is_empty() {
            text.push('/');
        }
        text
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain())
    }
}

/// Encodes one component for use in a URL path.
pub fn encode_component(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Whether `name` may be one component of a path.
pub fn check_component(name: &str) -> Result<(), BadPath> {
    match name {
        "" => Err(BadPath::Empty),
        "." | ".." => Err(BadPath::Dots),
        _ if name.len() > MAX_COMPONENT => Err(BadPath::TooLong),
        _ if name.bytes().any(|b| b == b'/' || b == b'\\' || b < 0x20 || b == 0x7f) => Err(BadPath::Forbidden),
        _ => Ok(()),
    }
}

fn check_escapes(segment: &str) -> Result<(), BadPath> {
    let bytes = segment.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|b| *b == b'%') {
        let digits = bytes.get(at + found + 1..at + found + 3).ok_or(BadPath::BadEscape)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadPath::BadEscape);
        }
        at += found + 3;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths() {
        let path = ResourcePath::parse("/local/a%20b/%C3%A9%25.csv").expect("parses");
        assert_eq!(path.components(), ["local", "a b", "é%.csv"]);
        assert_eq!(path.encoded(), "/local/a%20b/%C3%A9%25.csv");
        assert_eq!(path.plain(), "/local/a b/é%.csv");
        assert!(!path.is_collection());
        assert!(ResourcePath::parse("/a/").expect("parses").is_collection());
        assert!(ResourcePath::parse("/").expect("parses").is_root());
        let (area, rest) = path.split_first().expect("has one");
        assert_eq!((area, rest.relative().as_str()), ("local", "a b/é%.csv"));
        assert_eq!(ResourcePath::parse(&path.encoded()).expect("parses"), path);
        assert_eq!(ResourcePath::parse("/a+b;c").expect("parses").name(), Some("a+b;c"));
    }

    #[test]
    fn ways_out_are_refused() {
        for (raw, reason) in [
            ("/a/../b", BadPath::Dots),
            ("/a/%2e%2E/b", BadPath::Dots),
            ("/a/./b", BadPath::Dots),
            ("/a%2Fb", BadPath::Forbidden),
            ("/a%5cb", BadPath::Forbidden),
            ("/a%00", BadPath::Forbidden),
            ("/a\\b", BadPath::Forbidden),
            ("/a//b", BadPath::Empty),
            ("//", BadPath::Empty),
            ("a/b", BadPath::Relative),
            ("/a%ff", BadPath::NotUtf8),
            ("/a%2", BadPath::BadEscape),
            ("/a%zz", BadPath::BadEscape),
        ] {
            assert_eq!(ResourcePath::parse(raw), Err(reason), "{raw}");
        }
        assert_eq!(ResourcePath::parse("/%252e%252e").expect("decoded once").name(), Some("%2e%2e"));
        assert_eq!(ResourcePath::parse(&format!("/{}", "x".repeat(256))), Err(BadPath::TooLong));
    }
}
