//! JSON in which no name comes twice, at any depth: two readers of one token could believe different ones.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::claims::{Item, Listed, Mark, Span, Word};

/// Names in one object up to which each is compared with all others; beyond, they are sorted.
const FEW: usize = 24;
/// Claims for which there is room at once.
const USUAL: usize = 16;

/// An object and nothing else. Depth is bounded by the parser (128).
pub(super) fn object(text: &str) -> Option<Vec<Listed>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let claims = reader.deserialize_map(Outermost(text)).ok()?;
    reader.end().ok()?;
    Some(claims)
}

/// Text as the reader finds it: in its place, or unescaped.
type Found<'de> = Cow<'de, str>;

/// The outermost object of this text: a list is quicker than a map for the dozen names that a token has.
#[derive(Clone, Copy)]
struct Outermost<'de>(&'de str);

impl<'de> Outermost<'de> {
    fn span(self, part: &'de str) -> Span {
        let from = part.as_ptr() as usize - self.0.as_ptr() as usize;
        Span { from, to: from + part.len() }
    }
}

impl<'de> Visitor<'de> for Outermost<'de> {
    type Value = Vec<Listed>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut list: Vec<Listed> = Vec::with_capacity(USUAL);
        while let Some(found) = access.next_key_seed(TextReader)? {
            let mark = Mark::of(&found);
            let is_here = |one: &Listed| one.mark == mark && one.name.read(self.0) == found;
            if list.len() < FEW && list.iter().any(is_here) {
                return Err(A::Error::custom("a name comes twice"));
            }
            let item = access.next_value_seed(PieceReader(self))?;
            let name = match found {
                Found::Borrowed(text) => Word::At(self.span(text)),
                Found::Owned(text) => Word::Own(text),
            };
            list.push(Listed { mark, name, item });
        }
        if list.len() > FEW {
            let mut names: Vec<&str> = list.iter().map(|one| one.name.read(self.0)).collect();
            names.sort_unstable();
            if names.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        Ok(list)
    }
}

struct TextReader;

impl<'de> DeserializeSeed<'de> for TextReader {
    type Value = Found<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(TextReader)
    }
}

impl<'de> Visitor<'de> for TextReader {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Found::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Found::Owned(name.to_owned()))
    }
}

/// A claim's value: text and lists of text without a copy, everything else as it is.
struct PieceReader<'de>(Outermost<'de>);

impl<'de> DeserializeSeed<'de> for PieceReader<'de> {
    type Value = Item;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Item, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PieceReader<'de> {
    type Value = Item;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Item, E> {
        Ok(Item::Text(self.0.span(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
        Strict.visit_str(text).map(Item::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Item, E> {
        Strict.visit_unit().map(Item::Other)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Item, E> {
        Strict.visit_bool(value).map(Item::Other)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Item, E> {
        Strict.visit_i64(value).map(Item::Other)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Item, E> {
        Strict.visit_u64(value).map(Item::Other)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Item, E> {
        Strict.visit_f64(value).map(Item::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Item, A::Error> {
        let text = |span: &Span| &self.0.0[span.from..span.to];
        let mut spans = Vec::new();
        let first_other = loop {
            match access.next_element_seed(PieceReader(self.0))? {
                None => return Ok(Item::Texts(spans)),
                Some(Item::Text(span)) => spans.push(span),
                Some(Item::Texts(inner)) => break inner.iter().map(text).collect(),
                Some(Item::Other(value)) => break value,
            }
        };
        let mut list: Vec<Value> = spans.iter().map(|span| Value::from(text(span))).collect();
        list.push(first_other);
        while let Some(value) = access.next_element_seed(Strict)? {
            list.push(value);
        }
        Ok(Item::Other(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Item, A::Error> {
        Strict.visit_map(access).map(Item::Other)
    }
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is too large"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(Strict)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(Strict)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use crate::model::claims::Claims;
    use proptest::prelude::*;
    use serde_json::Value;

    fn object(text: &[u8]) -> Option<Value> {
        Claims::read(text.to_vec()).ok().map(|claims| Value::Object(claims.into_map()))
    }

    #[test]
    fn names_come_once() {
        assert!(object(br#"{"a":{"b":1},"c":[{"b":1},{"b":null}],"d":-1.5}"#).is_some());
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1} {"#,
            "[]",
            "7",
            "",
        ] {
            assert!(object(bad.as_bytes()).is_none(), "{bad}");
        }
        let many = |last: usize| (0..100).chain([last]).map(|n| format!(r#""n{n}":{n}"#)).collect::<Vec<_>>().join(",");
        assert!(object(format!("{{{}}}", many(100)).as_bytes()).is_some());
        for twice in [0, 23, 24, 99] {
            assert!(object(format!("{{{}}}", many(twice)).as_bytes()).is_none(), "{twice}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        assert!(object(deep.as_bytes()).is_none());
    }

    proptest! {
        /// It reads what serde_json reads, when no name comes twice.
        #[test]
        fn same_as_the_ordinary_reader(a in "\\PC{0,10}", b in -1_000_000i64..1_000_000, c in proptest::num::f64::NORMAL) {
            let value = serde_json::json!({
                "text": a, "list": [b, c, null, true], "inner": {"x": b}, "texts": [a, "b", ""], "mixed": ["x", a, 7, "y", ["z"]],
                "lists": [[], [a], ["b", "c"]], "none": [], "escaped": ["\u{1}", a], (a.clone() + "name"): a,
            });
            let text = value.to_string();
            prop_assert_eq!(object(text.as_bytes()), serde_json::from_str(&text).ok());
        }
    }
}
