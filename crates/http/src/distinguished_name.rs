//! Names in certificates, as operators write them: `/DC=org/O=Example/CN=vk` (the grid's way, from the root on) or
//! `CN=vk,O=Example,DC=org` (RFC 4514, the other way round). They are compared part by part, never as text: a value may hold what
//! looks like another part.

use std::fmt;
use std::str::FromStr;

use x509_parser::x509::X509Name;

/// Kinds of parts that have a short name: object identifier and name. Others are written with their identifier.
const KINDS: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];
/// Further names of some kinds.
const ALIASES: &[(&str, &str)] = &[("E", "emailAddress"), ("Email", "emailAddress"), ("S", "ST"), ("USERID", "UID")];

/// A name: kinds and values, from the root on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DistinguishedName(Vec<(String, String)>);

/// A text, or a name in a certificate, that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("{0:?} is not a name such as /DC=org/O=Example/CN=vk or CN=vk,O=Example,DC=org")]
    Text(String),
    #[error("a name with several values in one part (`+`) is not understood")]
    Several,
    #[error("the name has a value that is no text")]
    NoText,
}

impl DistinguishedName {
    /// The name in a certificate.
    pub(crate) fn of(name: &X509Name<'_>) -> Result<Self, BadName> {
        let mut parts = Vec::new();
        for part in name.iter_rdn() {
            let mut values = part.iter();
            let (Some(one), None) = (values.next(), values.next()) else { return Err(BadName::Several) };
            let identifier = one.attr_type().to_id_string();
            let kind = KINDS.iter().find(|(known, _)| *known == identifier).map(|(_, kind)| (*kind).to_owned());
            let value = one.as_str().map_err(|_| BadName::NoText)?;
            parts.push((kind.unwrap_or(identifier), value.to_owned()));
        }
        Ok(DistinguishedName(parts))
    }
}

/// The kind that a short name or an identifier stands for.
fn kind(text: &str) -> Option<String> {
    let named = |(_, name): &&(&str, &str)| name.eq_ignore_ascii_case(text);
    if let Some((_, name)) = KINDS.iter().find(|pair| pair.0 == text).or_else(|| KINDS.iter().find(named)) {
        return Some((*name).to_owned());
    }
    if let Some((_, name)) = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(text)) {
        return Some((*name).to_owned());
    }
    let is_identifier = text.contains('.') && text.split('.').all(|number| number.parse::<u64>().is_ok());
    is_identifier.then(|| text.to_owned())
}

/// `CN=vk`: the kind and what follows the sign.
fn part(text: &str) -> Option<(String, &str)> {
    let (name, value) = text.split_once('=')?;
    Some((kind(name.trim())?, value))
}

/// `/DC=org/CN=host/x.example.org`: a slash begins a part only before a kind that is known.
fn of_slashes(text: &str) -> Option<Vec<(String, String)>> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for piece in text.strip_prefix('/')?.split('/') {
        match (part(piece), parts.last_mut()) {
            (Some((kind, value)), _) => parts.push((kind, value.to_owned())),
            (None, Some((_, value))) => {
                value.push('/');
                value.push_str(piece);
            }
            (None, None) => return None,
        }
    }
    Some(parts)
}

/// RFC 4514, the most specific part first. Values in quotes, as its forerunner had them, are not read.
fn of_commas(text: &str) -> Option<Vec<(String, String)>> {
    let mut parts = Vec::new();
    for piece in pieces(text)? {
        let (kind, value) = part(&piece)?;
        parts.push((kind, unescape(value.trim_start())?));
    }
    parts.reverse();
    Some(parts)
}

/// Cuts at commas that nothing escapes.
fn pieces(text: &str) -> Option<Vec<String>> {
    let (mut all, mut current, mut is_escaped) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '+' | '"' | ';' if !is_escaped => return None,
            ',' if !is_escaped => all.push(std::mem::take(&mut current)),
            _ => current.push(c),
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    all.push(current);
    (!is_escaped).then_some(all)
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(2..)?;
            }
            None => {
                let (escaped, after) = rest.split_first()?;
                bytes.push(*escaped);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

impl FromStr for DistinguishedName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let text = text.trim();
        let parts = if text.starts_with('/') { of_slashes(text) } else { of_commas(text) };
        let parts = parts.filter(|parts| parts.iter().all(|(_, value)| !value.is_empty()));
        parts.map(DistinguishedName).ok_or_else(|| BadName::Text(text.to_owned()))
    }
}

/// Writes it the grid's way where that can mean nothing else, and otherwise as RFC 4514 has it, so that what is read from it is
/// always this name again. No line break or other sign of control comes through.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slashes: String = self.0.iter().map(|(kind, value)| format!("/{kind}={value}")).collect();
        if slashes.chars().all(is_plain) && slashes.parse().as_ref() == Ok(self) {
            return f.write_str(&slashes);
        }
        for (index, (kind, value)) in self.0.iter().rev().enumerate() {
            write!(f, "{}{kind}=", if index == 0 { "" } else { "," })?;
            write_escaped(f, value)?;
        }
        Ok(())
    }
}

/// Whether a sign can be shown as it is.
fn is_plain(c: char) -> bool {
    matches!(c, '"' | '\\' | '\'') || c.escape_debug().len() == 1
}

fn write_escaped(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let is_edge = (index == 0 && matches!(c, ' ' | '#')) || (index == last && c == ' ');
        if is_edge || !is_plain(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                write!(f, "\\{byte:02X}")?;
            }
        } else {
            let is_special = matches!(c, ',' | '+' | '"' | ';' | '\\' | '<' | '>');
            write!(f, "{}{c}", if is_special { "\\" } else { "" })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DistinguishedName {
        text.parse().expect("a name")
    }

    #[test]
    fn both_ways_of_writing_mean_the_same() {
        assert_eq!(name("/DC=org/O=Example/CN=vk"), name("CN=vk, O=Example,dc=org"));
        assert_eq!(name("/C=NL/CN=host/x.example.org"), name("CN=host/x.example.org,C=NL"));
        assert_eq!(name("/CN=a/emailAddress=a@b"), name("E=a@b,CN=a"));
        assert_eq!(name(r"CN=a\, b\2Cc,O=x\\y").to_string(), r"/O=x\y/CN=a, b,c");
        assert_eq!(name("1.2.3.4=x,CN=y").to_string(), "/CN=y/1.2.3.4=x");
    }

    #[test]
    fn a_value_is_never_two_parts() {
        assert_ne!(name("CN=x/O=y"), name("/CN=x/O=y"));
        assert_ne!(name("/CN=x/CN=y"), name("/CN=y/CN=x"));
        assert_ne!(name("/CN=Vk"), name("/CN=vk"));
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        let made = |parts: &[(&str, &str)]| {
            DistinguishedName(parts.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(made(&[("C", "NL"), ("CN", "host/x.example.org")]).to_string(), "/C=NL/CN=host/x.example.org");
        assert_eq!(made(&[("C", "NL"), ("CN", "x/O=y")]).to_string(), "CN=x/O=y,C=NL");
        assert_eq!(made(&[("CN", "x\nINFO forged")]).to_string(), r"CN=x\0AINFO forged");
        for value in
            ["x/O=y", "a\n", " a ", "a, b+c;\"d\"<e>", "#04", r"back\slash", "\u{202e}x", "é/CN=", "+1", "a\\0A", "\0"]
        {
            for parts in [&[("CN", value)][..], &[("O", "x"), ("CN", value)], &[("CN", value), ("1.2.3.4", value)]] {
                let shown = made(parts).to_string();
                assert_eq!(name(&shown), made(parts), "{shown}");
                assert!(!shown.contains(char::is_control) && !shown.contains('\u{202e}'), "{shown:?}");
            }
        }
        assert_eq!(name(r"CN=C\+1"), made(&[("CN", "C+1")]));
        assert_eq!(name(r"CN=C\2b1\C3\a9"), made(&[("CN", "C+1é")]));
    }

    #[test]
    fn what_is_no_name() {
        for bad in ["", "/", "vk", "/vk", "CN=", "/CN=", "CN=a+O=b", "CN=\"a\"", "CN=a\\", "XY=z", "CN=a;O=b"] {
            assert!(bad.parse::<DistinguishedName>().is_err(), "{bad:?}");
        }
    }
}
