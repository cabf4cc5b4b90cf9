//! JSON in which no name comes twice, at any depth: two readers of one token could believe different ones.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::token::{Claims, Name};

/// Names in one object up to which each is compared with all others; beyond, they are sorted.
const FEW: usize = 24;

/// An object and nothing else. Depth is bounded by the parser (128).
pub(super) fn object(text: &[u8]) -> Option<Claims> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let claims = reader.deserialize_map(Outermost).ok()?;
    reader.end().ok()?;
    Some(claims)
}

/// The outermost object: a list is quicker than a map for the dozen names that a token has.
struct Outermost;

impl<'de> Visitor<'de> for Outermost {
    type Value = Claims;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Claims, A::Error> {
        let mut list: Vec<(Name, Value)> = Vec::with_capacity(16);
        while let Some(name) = access.next_key_seed(NameReader)? {
            if list.len() < FEW && list.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom("a name comes twice"));
            }
            list.push((name, access.next_value_seed(Strict)?));
        }
        if list.len() > FEW {
            let mut names: Vec<&str> = list.iter().map(|(name, _)| name.as_ref()).collect();
            names.sort_unstable();
            if names.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        Ok(Claims::of(list))
    }
}

struct NameReader;

impl<'de> DeserializeSeed<'de> for NameReader {
    type Value = Name;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(NameReader)
    }
}

impl Visitor<'_> for NameReader {
    type Value = Name;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        Ok(Claims::name(name))
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
    use super::*;
    use proptest::prelude::*;

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
            let text = serde_json::json!({"text": a, "list": [b, c, null, true], "inner": {"x": b}}).to_string();
            prop_assert_eq!(object(text.as_bytes()).map(|claims| Value::Object(claims.into_map())), serde_json::from_str(&text).ok());
        }
    }
}
