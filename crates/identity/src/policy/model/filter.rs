//! SCIM filters (RFC 7644 section 3.4.2.2): read once into a tree, then asked about each resource.
//!
//! `userName eq "alice" and (active eq true or emails[type eq "work" and value co "@example.org"])`

use std::cmp::Ordering;

use serde_json::Value;

/// The longest filter, in bytes.
pub(crate) const LONGEST: usize = 4_096;
/// How deep parentheses, `not` and value paths may nest.
const DEEPEST: usize = 16;
/// Attributes whose texts differ by case.
const CASE_EXACT: &[&str] = &["id", "value", "$ref"];

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter cannot be read at byte {at}: {why}")]
pub(crate) struct BadFilter {
    pub(crate) at: usize,
    pub(crate) why: &'static str,
}

/// `name`, `name.familyName`, `urn:…:User:userName`; the schema in front is cut off.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttributePath {
    pub(crate) attribute: String,
    pub(crate) sub: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    Compare(AttributePath, Operator, Value),
    Present(AttributePath),
    /// `emails[…]`: one value of the attribute satisfies all of it.
    Some(AttributePath, Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
}

/// `members[value eq "x"].display`: what a patch operation means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PatchPath {
    pub(crate) path: AttributePath,
    pub(crate) which: Option<Filter>,
}

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Filter, BadFilter> {
        let mut reader = Reader::new(text)?;
        let filter = reader.or(0)?;
        reader.end()?;
        Ok(filter)
    }

    /// Whether a resource satisfies the filter.
    pub(crate) fn fits(&self, resource: &Value) -> bool {
        match self {
            Filter::Compare(path, operator, wanted) => {
                let exact = CASE_EXACT.iter().any(|name| name.eq_ignore_ascii_case(path.last()));
                let found = path.values(resource);
                if found.is_empty() {
                    return *operator == Operator::Ne || (*operator == Operator::Eq && wanted.is_null());
                }
                found.iter().any(|value| operator.holds(value, wanted, exact))
            }
            Filter::Present(path) => path.values(resource).iter().any(|value| match value {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(list) => !list.is_empty(),
                _ => true,
            }),
            Filter::Some(path, inner) => path.values(resource).iter().any(|value| inner.fits(value)),
            Filter::And(a, b) => a.fits(resource) && b.fits(resource),
            Filter::Or(a, b) => a.fits(resource) || b.fits(resource),
            Filter::Not(inner) => !inner.fits(resource),
        }
    }

    /// Whether the filter asks about this attribute.
    pub(crate) fn mentions(&self, attribute: &str) -> bool {
        match self {
            Filter::Compare(path, ..) | Filter::Present(path) | Filter::Some(path, _) => {
                path.attribute.eq_ignore_ascii_case(attribute)
            }
            Filter::And(a, b) | Filter::Or(a, b) => a.mentions(attribute) || b.mentions(attribute),
            Filter::Not(inner) => inner.mentions(attribute),
        }
    }

    /// The text that `attribute` must be equal to, when that alone is the filter: it can be looked up.
    pub(crate) fn exactly(&self, attribute: &str) -> Option<&str> {
        match self {
            Filter::Compare(path, Operator::Eq, Value::String(text))
                if path.sub.is_none() && path.attribute.eq_ignore_ascii_case(attribute) =>
            {
                Some(text)
            }
            _ => None,
        }
    }
}

impl PatchPath {
    pub(crate) fn parse(text: &str) -> Result<PatchPath, BadFilter> {
        let mut reader = Reader::new(text)?;
        let mut path = reader.path()?;
        let mut which = None;
        if reader.eats('[') {
            which = Some(reader.or(1)?);
            reader.expect(']')?;
            if reader.eats('.') {
                path.sub = Some(reader.name()?);
            }
        }
        reader.end()?;
        Ok(PatchPath { path, which })
    }
}

impl AttributePath {
    fn last(&self) -> &str {
        self.sub.as_deref().unwrap_or(&self.attribute)
    }

    /// The values that the path means; those of all elements where it goes through a list.
    fn values<'v>(&self, resource: &'v Value) -> Vec<&'v Value> {
        let mut found = members(resource, &self.attribute);
        if let Some(sub) = &self.sub {
            found = found.into_iter().flat_map(|value| members(value, sub)).collect();
        }
        found
    }
}

/// The values of a member of an object, whatever the case of its name; each element of a list.
fn members<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
    let Value::Object(map) = value else { return Vec::new() };
    match map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
        Some((_, Value::Array(list))) => list.iter().collect(),
        Some((_, Value::Null)) | None => Vec::new(),
        Some((_, value)) => vec![value],
    }
}

impl Operator {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "eq" => Operator::Eq,
            "ne" => Operator::Ne,
            "co" => Operator::Co,
            "sw" => Operator::Sw,
            "ew" => Operator::Ew,
            "gt" => Operator::Gt,
            "ge" => Operator::Ge,
            "lt" => Operator::Lt,
            "le" => Operator::Le,
            _ => return None,
        })
    }

    fn holds(self, found: &Value, wanted: &Value, exact: bool) -> bool {
        // A value of a multi-valued attribute stands for its `value`.
        let found = match found {
            Value::Object(map) => map.get("value").unwrap_or(found),
            _ => found,
        };
        let order = match (found, wanted) {
            (Value::String(a), Value::String(b)) => {
                let fold = |text: &str| if exact { text.to_owned() } else { text.to_lowercase() };
                let (a, b) = (fold(a), fold(b));
                match self {
                    Operator::Co => return a.contains(&b),
                    Operator::Sw => return a.starts_with(&b),
                    Operator::Ew => return a.ends_with(&b),
                    _ => Some(a.cmp(&b)),
                }
            }
            (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.partial_cmp(&b),
                _ => None,
            },
            (a, b) if a == b => Some(Ordering::Equal),
            _ => None,
        };
        let ordered = found.is_string() || found.is_number();
        match (self, order) {
            (Operator::Eq, order) => order == Some(Ordering::Equal),
            (Operator::Ne, order) => order != Some(Ordering::Equal),
            (Operator::Gt, Some(Ordering::Greater)) | (Operator::Lt, Some(Ordering::Less)) => ordered,
            (Operator::Ge, Some(Ordering::Greater | Ordering::Equal))
            | (Operator::Le, Some(Ordering::Less | Ordering::Equal)) => ordered,
            _ => false,
        }
    }
}

/// Reads from left to right, without going back.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Result<Self, BadFilter> {
        if text.len() > LONGEST {
            return Err(BadFilter { at: LONGEST, why: "it is too long" });
        }
        Ok(Reader { text, at: 0 })
    }

    fn bad<T>(&self, why: &'static str) -> Result<T, BadFilter> {
        Err(BadFilter { at: self.at, why })
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(' ').len();
    }

    fn eats(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), BadFilter> {
        self.space();
        if self.eats(wanted) { Ok(()) } else { self.bad("a bracket is not closed") }
    }

    fn end(&mut self) -> Result<(), BadFilter> {
        self.space();
        if self.rest().is_empty() { Ok(()) } else { self.bad("more follows than one filter") }
    }

    /// A word of letters, if one of these is next and ends there.
    fn eats_word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let found = rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && rest[word.len()..].chars().next().is_none_or(|next| matches!(next, ' ' | '(' | ')' | ']'));
        if found {
            self.at += word.len();
        }
        found
    }

    fn or(&mut self, depth: usize) -> Result<Filter, BadFilter> {
        let mut left = self.and(depth)?;
        loop {
            self.space();
            if !self.eats_word("or") {
                return Ok(left);
            }
            left = Filter::Or(Box::new(left), Box::new(self.and(depth)?));
        }
    }

    fn and(&mut self, depth: usize) -> Result<Filter, BadFilter> {
        let mut left = self.one(depth)?;
        loop {
            self.space();
            if !self.eats_word("and") {
                return Ok(left);
            }
            left = Filter::And(Box::new(left), Box::new(self.one(depth)?));
        }
    }

    fn one(&mut self, depth: usize) -> Result<Filter, BadFilter> {
        if depth > DEEPEST {
            return self.bad("it nests too deep");
        }
        self.space();
        if self.eats('(') {
            let inner = self.or(depth + 1)?;
            self.expect(')')?;
            return Ok(inner);
        }
        let before = self.at;
        if self.eats_word("not") {
            self.space();
            if self.eats('(') {
                let inner = self.or(depth + 1)?;
                self.expect(')')?;
                return Ok(Filter::Not(Box::new(inner)));
            }
            self.at = before;
        }
        let path = self.path()?;
        if self.eats('[') {
            let inner = self.or(depth + 1)?;
            self.expect(']')?;
            return Ok(Filter::Some(path, Box::new(inner)));
        }
        self.space();
        if self.eats_word("pr") {
            return Ok(Filter::Present(path));
        }
        let word = self.rest().split(' ').next().unwrap_or_default();
        let Some(operator) = Operator::named(word) else { return self.bad("an operator is expected") };
        self.at += word.len();
        self.space();
        Ok(Filter::Compare(path, operator, self.value()?))
    }

    fn path(&mut self) -> Result<AttributePath, BadFilter> {
        let rest = self.rest();
        if rest.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:")) {
            let end = rest.find([' ', '[', ']', '(', ')', '"']).unwrap_or(rest.len());
            let colon = rest[..end].rfind(':').unwrap_or_default();
            self.at += colon + 1;
        }
        let attribute = self.name()?;
        let sub = if self.eats('.') { Some(self.name()?) } else { None };
        Ok(AttributePath { attribute, sub })
    }

    fn name(&mut self) -> Result<String, BadFilter> {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'))).unwrap_or(rest.len());
        let name = &rest[..end];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$') {
            return self.bad("the name of an attribute is expected");
        }
        self.at += end;
        Ok(name.to_owned())
    }

    /// A JSON text, number, `true`, `false` or `null`.
    fn value(&mut self) -> Result<Value, BadFilter> {
        let rest = self.rest();
        let end = if rest.starts_with('"') {
            let mut escaped = false;
            let closing = rest.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            closing.map_or(rest.len(), |(at, _)| at + 1)
        } else {
            rest.find([' ', ')', ']']).unwrap_or(rest.len())
        };
        match serde_json::from_str(&rest[..end]) {
            Ok(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null)) => {
                self.at += end;
                Ok(value)
            }
            _ => self.bad("a JSON text, number, true, false or null is expected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::parsers::written;

    fn alice() -> Value {
        json!({
            "id": "alice", "userName": "alice", "active": true, "displayName": "Alice A.",
            "name": {"givenName": "Alice", "familyName": "Ångström"},
            "emails": [{"type": "work", "value": "alice@example.org", "primary": true}, {"type": "home", "value": "a@b.c"}],
            "meta": {"created": "2026-01-02T00:00:00Z"}, "n": 5,
        })
    }

    #[test]
    fn what_fits() {
        for fits in [
            "userName eq \"alice\"",
            "USERNAME EQ \"Alice\"",
            "urn:ietf:params:scim:schemas:core:2.0:User:userName eq \"alice\"",
            "active eq true",
            "not (active eq false)",
            "name.familyName co \"strö\"",
            "emails.value ew \"example.org\"",
            "emails eq \"a@b.c\"",
            "emails[type eq \"work\" and value sw \"alice\"]",
            "displayName pr and not (title pr)",
            "title ne \"x\"",
            "meta.created gt \"2026-01-01T00:00:00Z\"",
            "n ge 5 and n lt 5.5",
            "userName eq \"bob\" or userName eq \"alice\" and active eq true",
            "(userName eq \"bob\" or userName eq \"alice\") and active eq true",
        ] {
            assert!(Filter::parse(fits).unwrap_or_else(|bad| panic!("{fits}: {bad}")).fits(&alice()), "{fits}");
        }
        for not in [
            "id eq \"Alice\"",
            "emails[type eq \"home\" and value sw \"alice\"]",
            "active eq \"true\"",
            "title pr",
            "active gt false",
            "userName eq \"alice\" and not (active eq true)",
        ] {
            assert!(!Filter::parse(not).unwrap_or_else(|bad| panic!("{not}: {bad}")).fits(&alice()), "{not}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        let deep = format!("{}a pr{}", "(".repeat(40), ")".repeat(40));
        let long = format!("userName eq \"{}\"", "x".repeat(LONGEST));
        for bad in [
            "",
            " ",
            "userName",
            "userName eq",
            "userName eq alice",
            "userName eq \"alice",
            "userName == \"a\"",
            "eq \"a\"",
            "(a pr",
            "a pr)",
            "a pr and",
            "a pr b pr",
            "a[b pr",
            "a eq {}",
            "a eq [1]",
            "1a pr",
            "a..b pr",
            "\u{0}",
            "ü pr",
            &deep,
            &long,
        ] {
            assert!(Filter::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patch_paths() {
        let path = PatchPath::parse("members[value eq \"alice\"]").expect("a path");
        assert_eq!((path.path.attribute.as_str(), path.path.sub), ("members", None));
        assert_eq!(path.which.as_ref().and_then(|which| which.exactly("value")), Some("alice"));
        let path = PatchPath::parse("emails[type eq \"work\"].value").expect("a path");
        assert_eq!(path.path.sub.as_deref(), Some("value"));
        for bad in ["", "members[", "members[value eq \"x\"", "members[value eq \"x\"].", "a b"] {
            assert!(PatchPath::parse(bad).is_err(), "{bad}");
        }
    }

    fn some_filter() -> impl Strategy<Value = Filter> {
        let path = ("[a-z][a-zA-Z0-9]{0,8}", proptest::option::of("[a-z$][a-zA-Z]{0,5}"))
            .prop_map(|(attribute, sub)| AttributePath { attribute, sub });
        let value = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from)
        ];
        let operator = proptest::sample::select(vec![
            Operator::Eq,
            Operator::Ne,
            Operator::Co,
            Operator::Sw,
            Operator::Ew,
            Operator::Gt,
            Operator::Ge,
            Operator::Lt,
            Operator::Le,
        ]);
        let leaf = prop_oneof![
            (path.clone(), operator, value).prop_map(|(path, operator, value)| Filter::Compare(path, operator, value)),
            path.clone().prop_map(Filter::Present),
        ];
        leaf.prop_recursive(4, 16, 2, move |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::And(Box::new(a), Box::new(b))),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::Or(Box::new(a), Box::new(b))),
                inner.clone().prop_map(|inner| Filter::Not(Box::new(inner))),
                (path.clone(), inner)
                    .prop_map(|(path, inner)| Filter::Some(AttributePath { sub: None, ..path }, Box::new(inner))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(filter in some_filter()) {
            let text = written(&filter);
            if text.len() <= LONGEST {
                prop_assert_eq!(Filter::parse(&text), Ok(filter), "{}", text);
            }
        }

        #[test]
        fn nothing_breaks_the_reader(text in "\\PC{0,200}", more in "[a-z \"()\\[\\].]{0,80}") {
            for text in [text, more] {
                if let Ok(filter) = Filter::parse(&text) {
                    filter.fits(&alice());
                }
                drop(PatchPath::parse(&text));
            }
        }
    }
}
