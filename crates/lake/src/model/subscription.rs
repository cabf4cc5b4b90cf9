//! Which new collections a subscription is about.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// Compiled patterns may take this much memory each.
const LARGEST_PATTERN: usize = 1 << 20;

/// A filter that is not one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadFilter(String);

/// A parsed filter: everything it names must fit.
#[derive(Debug)]
pub struct Filter {
    pattern: Option<Regex>,
    excluded: Option<Regex>,
    scopes: Vec<Regex>,
    accounts: Vec<String>,
    kinds: Vec<String>,
    metadata: Vec<(String, Vec<Regex>)>,
    /// One rule for each storage element.
    pub split: bool,
}

/// A pattern that has to fit from the start of a text.
fn pattern(text: &str) -> Result<Regex, BadFilter> {
    RegexBuilder::new(&format!("^(?:{text})"))
        .size_limit(LARGEST_PATTERN)
        .build()
        .map_err(|error| BadFilter(format!("the pattern {text:?} is none: {error}")))
}

fn words(key: &str, value: &Value) -> Result<Vec<String>, BadFilter> {
    let word = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(if *truth { "True" } else { "False" }.to_owned()),
        _ => Err(BadFilter(format!("{key} is a list of texts"))),
    };
    match value {
        Value::Array(list) => list.iter().map(word).collect(),
        other => Ok(vec![word(other)?]),
    }
}

impl Filter {
    pub fn parse(value: &Value) -> Result<Filter, BadFilter> {
        let Value::Object(map) = value else { return Err(BadFilter("a filter is a dictionary".to_owned())) };
        let mut filter = Filter {
            pattern: None,
            excluded: None,
            scopes: Vec::new(),
            accounts: Vec::new(),
            kinds: Vec::new(),
            metadata: Vec::new(),
            split: false,
        };
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "split_rule" => filter.split = value.as_bool().unwrap_or(false),
                "pattern" | "excluded_pattern" => {
                    let text = value.as_str().ok_or_else(|| BadFilter(format!("{key} is a text")))?;
                    let slot = if key == "pattern" { &mut filter.pattern } else { &mut filter.excluded };
                    *slot = Some(pattern(text)?);
                }
                "scope" => {
                    filter.scopes = words(key, value)?.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?
                }
                "account" => filter.accounts = words(key, value)?,
                "did_type" => filter.kinds = words(key, value)?,
                _ => {
                    let values = words(key, value)?.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?;
                    filter.metadata.push((key.clone(), values));
                }
            }
        }
        Ok(filter)
    }

    /// Whether a new collection is meant. Metadata that is not there fits nothing.
    pub fn matches(&self, scope: &str, name: &str, account: &str, kind: &str, metadata: &Map<String, Value>) -> bool {
        let listed = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Bool(truth) => if *truth { "True" } else { "False" }.to_owned(),
            other => other.to_string(),
        };
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
            && !self.excluded.as_ref().is_some_and(|pattern| pattern.is_match(name))
            && (self.scopes.is_empty() || self.scopes.iter().any(|pattern| pattern.is_match(scope)))
            && listed(&self.accounts, account)
            && listed(&self.kinds, kind)
            && self.metadata.iter().all(|(key, patterns)| {
                let value = metadata.get(key).filter(|value| !value.is_null());
                value.is_some_and(|value| patterns.iter().any(|pattern| pattern.is_match(&text(value))))
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(filter: Value, name: &str, metadata: Value) -> bool {
        let metadata = metadata.as_object().cloned().unwrap_or_default();
        Filter::parse(&filter).expect("a filter").matches("data26", name, "alice", "DATASET", &metadata)
    }

    #[test]
    fn everything_must_fit() {
        assert!(fits(json!({}), "n", json!({})));
        assert!(fits(json!({"scope": ["data.*", "mc"], "pattern": "raw"}), "raw.1", json!({})));
        assert!(!fits(json!({"scope": ["mc"]}), "raw.1", json!({})));
        assert!(!fits(json!({"pattern": "aw"}), "raw.1", json!({})), "from the start");
        assert!(!fits(json!({"excluded_pattern": "raw"}), "raw.1", json!({})));
        assert!(!fits(json!({"account": ["alic"]}), "n", json!({})), "accounts are exact");
        assert!(fits(json!({"did_type": ["DATASET"], "project": ["en"]}), "n", json!({"project": "enso"})));
        assert!(!fits(json!({"project": ["en"]}), "n", json!({})), "what is not there does not fit");
        assert!(fits(json!({"run": [7]}), "n", json!({"run": 7})));
        assert!(Filter::parse(&json!({"pattern": "("})).is_err());
        assert!(Filter::parse(&json!([])).is_err());
    }
}
