//! DID search filters: OR of groups, each an AND of `key[.op]: value`, `op` one of `gte lte lt gt ne`, none is "equals".
//!
//! A text with `*` or `%` is a pattern, allowed with equals and not-equals only. What looks like a number, a truth value
//! or a date is compared as one.

use dte_base::time::Timestamp;
use dte_protocol_rucio::{Class, DidType, Exception, date};
use serde_json::{Map, Value};

/// Most criteria of one filter.
const MAX_CRITERIA: usize = 100;

/// A parsed filter. Without groups everything matches.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    groups: Vec<Vec<Criterion>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Criterion {
    key: String,
    operator: Operator,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What the name must be, where that can narrow the search in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameHint {
    Any,
    Exactly(String),
    Beginning(String),
}

/// Which kinds of DIDs are searched.
pub fn kinds_of(word: &str) -> Result<Vec<DidType>, Exception> {
    Ok(match word {
        "all" => vec![DidType::Container, DidType::Dataset, DidType::File],
        "collection" => vec![DidType::Container, DidType::Dataset],
        "container" => vec![DidType::Container],
        "dataset" => vec![DidType::Dataset],
        "file" => vec![DidType::File],
        other => {
            let message = format!("Valid type are: ['all', 'collection', 'container', 'dataset', 'file'], not {other}");
            return Err(Exception::new(Class::UnsupportedOperation, message));
        }
    })
}

impl Filter {
    /// Reads a list of groups, or one group.
    pub fn parse(groups: &Value) -> Result<Filter, Exception> {
        let groups: Vec<&Map<String, Value>> = match groups {
            Value::Array(list) => {
                list.iter().map(|group| group.as_object().ok_or_else(syntax)).collect::<Result<_, _>>()?
            }
            Value::Object(group) => vec![group],
            _ => return Err(syntax()),
        };
        if groups.iter().map(|group| group.len()).sum::<usize>() > MAX_CRITERIA {
            return Err(syntax());
        }
        let groups = groups.into_iter().map(read_group).collect::<Result<Vec<_>, _>>()?;
        // A group without criteria matches everything, and so does the whole.
        let open = groups.iter().any(Vec::is_empty);
        Ok(Filter { groups: if open { Vec::new() } else { groups } })
    }

    /// Whether a DID with these columns and metadata matches. Times are texts as in [`Timestamp`]'s form.
    pub fn matches(&self, facts: &Map<String, Value>) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|group| group.iter().all(|criterion| criterion.holds(facts)))
    }

    /// The kinds of DIDs that can match: `asked`, unless the criteria have kinds of their own (`type=dataset`).
    pub fn kinds(&self, asked: Vec<DidType>) -> Vec<DidType> {
        let own = self.groups.iter().flatten().any(|criterion| criterion.key == KIND);
        if own { vec![DidType::Container, DidType::Dataset, DidType::File] } else { asked }
    }

    pub fn name_hint(&self) -> NameHint {
        let [group] = self.groups.as_slice() else { return NameHint::Any };
        let name = group.iter().find(|c| c.key == "name" && c.operator == Operator::Equal);
        let Some(Value::String(text)) = name.map(|c| &c.value) else { return NameHint::Any };
        match text.find(['*', '%']) {
            None => NameHint::Exactly(text.clone()),
            Some(0) => NameHint::Any,
            Some(at) => NameHint::Beginning(text[..at].to_owned()),
        }
    }
}

/// A criterion on the kind of a DID, in the words of [`kinds_of`].
const KIND: &str = "type";

fn syntax() -> Exception {
    Exception::new(Class::DIDFilterSyntaxError, "Invalid filter syntax: a list of dictionaries is expected")
}

fn read_group(group: &Map<String, Value>) -> Result<Vec<Criterion>, Exception> {
    let mut criteria: Vec<Criterion> = Vec::with_capacity(group.len());
    for (key, value) in group {
        let (key, operator) = match key.rsplit_once('.') {
            Some((key, "gte")) => (key, Operator::GreaterOrEqual),
            Some((key, "lte")) => (key, Operator::LessOrEqual),
            Some((key, "gt")) => (key, Operator::Greater),
            Some((key, "lt")) => (key, Operator::Less),
            Some((key, "ne")) => (key, Operator::NotEqual),
            _ => match key.as_str() {
                "created_after" => ("created_at", Operator::GreaterOrEqual),
                "created_before" => ("created_at", Operator::LessOrEqual),
                plain => (plain, Operator::Equal),
            },
        };
        let pattern = value.as_str().is_some_and(is_pattern);
        if pattern && !matches!(operator, Operator::Equal | Operator::NotEqual) {
            let message = "Wildcard operators are only supported with equality and inequality";
            return Err(Exception::new(Class::DIDFilterSyntaxError, message));
        }
        if key == KIND {
            kinds_of(&plain(value).to_ascii_lowercase())?;
        }
        if key.ends_with("_at") && time(value).is_none() {
            let message = format!("The value of {key} is not a date: {value}");
            return Err(Exception::new(Class::DIDFilterSyntaxError, message));
        }
        if criteria.iter().any(|known| known.key == key && known.operator == operator) {
            let message = format!("Duplicate criterion in a group of the filter: {key}");
            return Err(Exception::new(Class::DuplicateCriteriaInDIDFilter, message));
        }
        criteria.push(Criterion { key: key.to_owned(), operator, value: value.clone() });
    }
    Ok(criteria)
}

impl Criterion {
    fn holds(&self, facts: &Map<String, Value>) -> bool {
        if self.key == KIND {
            let kind = facts.get("did_type").and_then(Value::as_str).and_then(DidType::parse);
            let wanted = kinds_of(&plain(&self.value).to_ascii_lowercase()).unwrap_or_default();
            return kind.is_some_and(|kind| wanted.contains(&kind));
        }
        let Some(have) = facts.get(&self.key).filter(|have| !have.is_null()) else {
            return self.value.is_null() && self.operator == Operator::Equal;
        };
        if let (Some(pattern), Some(text)) = (self.value.as_str().filter(|text| is_pattern(text)), have.as_str()) {
            return like(text, pattern) == (self.operator == Operator::Equal);
        }
        let order = if self.key.ends_with("_at") {
            time(have).zip(time(&self.value)).map(|(have, than)| have.cmp(&than))
        } else {
            match (number(have), number(&self.value)) {
                (Some(have), Some(than)) => have.partial_cmp(&than),
                _ => Some(plain(have).cmp(&plain(&self.value))),
            }
        };
        let Some(order) = order else { return false };
        match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        }
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '%'])
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    let text = value.as_str()?;
    text.parse().ok().or_else(|| date::parse(text))
}

/// The text that is compared: truth values in Python's spelling and ours are the same.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => match text.as_str() {
            "True" | "TRUE" => "true".to_owned(),
            "False" | "FALSE" => "false".to_owned(),
            _ => text.clone(),
        },
        Value::Bool(true) => "true".to_owned(),
        Value::Bool(false) => "false".to_owned(),
        other => other.to_string(),
    }
}

/// Whether `text` matches `pattern`, in which `*` and `%` stand for any text.
pub fn like(text: &str, pattern: &str) -> bool {
    let parts: Vec<&str> = pattern.split(['*', '%']).collect();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    if parts.len() == 1 {
        return text == pattern;
    }
    if text.len() < first.len() + last.len() || !text.starts_with(first) || !text.ends_with(last) {
        return false;
    }
    let mut rest = &text[first.len()..text.len() - last.len()];
    for part in &parts[1..parts.len() - 1] {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(filter: Value) -> bool {
        let facts = json!({"name": "OBS.1980-01", "did_type": "DATASET", "length": 3, "campaign": "x", "hidden": true,
            "created_at": "2026-11-21T00:00:00.000000Z", "bytes": null});
        Filter::parse(&filter).expect("filter").matches(facts.as_object().expect("object"))
    }

    #[test]
    fn criteria() {
        assert!(matches(json!([{}])));
        assert!(matches(json!([{"name": "OBS.*"}])));
        assert!(matches(json!([{"name": "*1980*"}])));
        assert!(!matches(json!([{"name": "OBS.*", "length.gt": 3}])));
        assert!(matches(json!([{"name": "nope"}, {"length": "3"}])));
        assert!(matches(json!([{"hidden": "True", "campaign.ne": "y"}])));
        assert!(matches(json!([{"created_after": "2026-11-20 00:00:00"}])));
        assert!(!matches(json!([{"created_before": "Fri, 20 Nov 2026 00:00:00 UTC"}])));
        assert!(!matches(json!([{"no.such.key": "1"}])));
        assert!(matches(json!([{"bytes": null}])));
        assert!(matches(json!([{"type": "collection"}])) && !matches(json!([{"type": "file"}])));
    }

    #[test]
    fn refusals() {
        for bad in [
            json!("x"),
            json!([1]),
            json!([{"type": "moon"}]),
            json!([{"length.gt": "1*"}]),
            json!([{"created_at.gt": "soon"}]),
        ] {
            assert!(Filter::parse(&bad).is_err(), "{bad}");
        }
        assert!(Filter::parse(&json!([{"created_after": "2026-01-01", "created_at.gte": "2026-01-01"}])).is_err());
    }

    #[test]
    fn hints() {
        let hint = |value: Value| Filter::parse(&value).expect("filter").name_hint();
        assert_eq!(hint(json!([{"name": "a"}])), NameHint::Exactly("a".into()));
        assert_eq!(hint(json!([{"name": "ab*"}])), NameHint::Beginning("ab".into()));
        assert_eq!(hint(json!([{"name": "a"}, {"name": "b"}])), NameHint::Any);
    }

    #[test]
    fn patterns() {
        assert!(like("abc", "a*c") && like("abc", "%") && like("abc", "*b*") && like("ac", "a*c"));
        assert!(!like("a", "a*a") && !like("abc", "b*") && !like("abc", "*b") && like("aXbYc", "a*b*c"));
        assert!(!like("aXc", "a*b*c"));
    }
}
