//! Claims as they stand in a token. Most are text: that stays where it was decoded, and is not copied claim by claim.

use serde_json::{Map, Value};

use super::reject::Reject;
use super::strict;

/// The claims of a token or of an issuer's answer, each name once.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The JSON text.
    text: String,
    list: Vec<Listed>,
}

/// One claim in the list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) mark: Mark,
    pub(super) name: Word,
    pub(super) item: Item,
}

/// Where a piece of text stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Text in its place, or text that had to be put together.
#[derive(Clone, Debug)]
pub(super) enum Word {
    At(Span),
    Own(String),
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    Text(Span),
    /// A list of nothing but text.
    Texts(Vec<Span>),
    Other(Value),
}

/// One claim.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'a> {
    Text(&'a str),
    Texts(Texts<'a>),
    Other(&'a Value),
}

/// Text that stands in a list.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    text: &'a str,
    spans: &'a [Span],
}

impl<'a> Texts<'a> {
    fn iter(self) -> impl Iterator<Item = &'a str> {
        self.spans.iter().map(move |span| &self.text[span.from..span.to])
    }
}

impl<'a> Claim<'a> {
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Claim::Text(text) => Some(text),
            Claim::Texts(_) => None,
            Claim::Other(value) => value.as_str(),
        }
    }

    /// The text, or the texts of a list in which nothing else stands.
    pub fn texts(self) -> Option<Vec<&'a str>> {
        match self {
            Claim::Text(text) => Some(vec![text]),
            Claim::Texts(texts) => Some(texts.iter().collect()),
            Claim::Other(Value::String(text)) => Some(vec![text]),
            Claim::Other(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
            Claim::Other(_) => None,
        }
    }

    pub fn to_value(self) -> Value {
        match self {
            Claim::Text(text) => Value::from(text),
            Claim::Texts(texts) => texts.iter().collect(),
            Claim::Other(value) => value.clone(),
        }
    }
}

impl From<Map<String, Value>> for Claims {
    fn from(map: Map<String, Value>) -> Self {
        let listed = |(name, value): (String, _)| Listed {
            mark: Mark::of(&name),
            name: Word::Own(name),
            item: Item::Other(value),
        };
        let list = map.into_iter().map(listed).collect();
        Claims { text: String::new(), list }
    }
}

impl Claims {
    /// Reads a JSON object; names that come twice, and what is nested too deeply, are refused.
    pub fn read(text: Vec<u8>) -> Result<Self, Reject> {
        let text = String::from_utf8(text).map_err(|_| Reject::Malformed)?;
        let list = strict::object(&text).ok_or(Reject::Malformed)?;
        Ok(Claims { text, list })
    }

    pub fn into_map(self) -> Map<String, Value> {
        let named = |one: &Listed| (one.name.read(&self.text).to_owned(), self.claim(&one.item).to_value());
        self.list.iter().map(named).collect()
    }

    pub fn get(&self, name: &str) -> Option<Claim<'_>> {
        let mark = Mark::of(name);
        let found = self.list.iter().find(|one| one.mark == mark && one.name.read(&self.text) == name);
        found.map(|one| self.claim(&one.item))
    }

    /// A claim that must be text when it is there.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, Reject> {
        match self.get(name) {
            None => Ok(None),
            Some(claim) => claim.as_str().map(Some).ok_or(Reject::ClaimType(name)),
        }
    }

    /// A time claim: a whole, positive number of seconds, never text or a fraction.
    pub fn seconds(&self, name: &'static str) -> Result<Option<i64>, Reject> {
        match self.get(name) {
            None => Ok(None),
            Some(Claim::Other(Value::Number(number))) => match number.as_i64() {
                Some(seconds) if seconds >= 0 => Ok(Some(seconds)),
                _ => Err(Reject::ClaimType(name)),
            },
            Some(_) => Err(Reject::ClaimType(name)),
        }
    }

    fn claim<'a>(&'a self, item: &'a Item) -> Claim<'a> {
        match item {
            Item::Text(span) => Claim::Text(&self.text[span.from..span.to]),
            Item::Texts(spans) => Claim::Texts(Texts { text: &self.text, spans }),
            Item::Other(value) => Claim::Other(value),
        }
    }
}

impl Word {
    pub(super) fn read<'a>(&'a self, text: &'a str) -> &'a str {
        match self {
            Word::At(span) => &text[span.from..span.to],
            Word::Own(text) => text,
        }
    }
}

/// Length and some letters of a name: most names differ in them, which is seen at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark([u8; 4]);

impl Mark {
    pub(super) fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let letter = |place: usize| bytes.get(place).copied().unwrap_or_default();
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        Mark([length, letter(0), letter(1), letter(bytes.len().saturating_sub(1))])
    }
}
