//! Which events a subscription wants: types, a source, and the mandatory filter dialects of CloudEvents Subscriptions 0.1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cloudevent::Envelope;

/// Filters within filters, at most.
pub const MAX_DEPTH: usize = 8;
/// Filters of one subscription, counted at every depth.
pub const MAX_FILTERS: usize = 100;

/// One filter expression: an object with exactly one dialect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Each named attribute has exactly this value.
    Exact(BTreeMap<String, String>),
    /// Each named attribute begins so.
    Prefix(BTreeMap<String, String>),
    /// Each named attribute ends so.
    Suffix(BTreeMap<String, String>),
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
}

/// A filter that cannot be accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadFilter {
    #[error("a filter must name at least one attribute, with a value that is not empty")]
    Empty,
    #[error("filters may be nested at most {MAX_DEPTH} deep")]
    TooDeep,
    #[error("a subscription may have at most {MAX_FILTERS} filters")]
    TooMany,
}

impl Filter {
    pub fn matches(&self, event: &Envelope) -> bool {
        let each = |wanted: &BTreeMap<String, String>, test: fn(&str, &str) -> bool| {
            wanted.iter().all(|(name, value)| event.attribute(name).is_some_and(|own| test(&own, value)))
        };
        match self {
            Filter::Exact(wanted) => each(wanted, |own, value| own == value),
            Filter::Prefix(wanted) => each(wanted, |own, value| own.starts_with(value)),
            Filter::Suffix(wanted) => each(wanted, |own, value| own.ends_with(value)),
            Filter::All(parts) => parts.iter().all(|part| part.matches(event)),
            Filter::Any(parts) => parts.iter().any(|part| part.matches(event)),
            Filter::Not(part) => !part.matches(event),
        }
    }

    fn check(&self, depth: usize, count: &mut usize) -> Result<(), BadFilter> {
        *count += 1;
        if *count > MAX_FILTERS {
            return Err(BadFilter::TooMany);
        }
        if depth > MAX_DEPTH {
            return Err(BadFilter::TooDeep);
        }
        match self {
            Filter::Exact(wanted) | Filter::Prefix(wanted) | Filter::Suffix(wanted) => {
                let empty = wanted.is_empty() || wanted.iter().any(|(name, value)| name.is_empty() || value.is_empty());
                if empty { Err(BadFilter::Empty) } else { Ok(()) }
            }
            Filter::All(parts) | Filter::Any(parts) => {
                if parts.is_empty() {
                    return Err(BadFilter::Empty);
                }
                parts.iter().try_for_each(|part| part.check(depth + 1, count))
            }
            Filter::Not(part) => part.check(depth + 1, count),
        }
    }
}

/// Checks the filters of a subscription.
pub fn check_all(filters: &[Filter]) -> Result<(), BadFilter> {
    let mut count = 0;
    filters.iter().try_for_each(|filter| filter.check(1, &mut count))
}

/// Whether `kind` is one of `wanted`: equal to it, or beneath it (`org.dte.lake` has `org.dte.lake.rule.ok` beneath it, and
/// may also be written `org.dte.lake.` or `org.dte.lake.*`). An empty list wants every type.
pub fn is_wanted_type(wanted: &[String], kind: &str) -> bool {
    let fits = |name: &String| {
        let stem = name.trim_end_matches('*').trim_end_matches('.');
        kind.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || stem.is_empty())
    };
    wanted.is_empty() || wanted.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dte_store::Event;
    use serde_json::json;

    fn filter(value: serde_json::Value) -> Filter {
        serde_json::from_value(value).expect("reads")
    }

    fn event() -> Envelope {
        Envelope::own(Event::new("org.dte.lake.rule.ok", "/rucio", "enso:OBS.1980-01", json!({})))
    }

    #[test]
    fn dialects() {
        let yes = [
            json!({"exact": {"type": "org.dte.lake.rule.ok"}}),
            json!({"prefix": {"subject": "enso:", "source": "/ru"}}),
            json!({"suffix": {"subject": "1980-01"}}),
            json!({"any": [{"exact": {"type": "x"}}, {"prefix": {"type": "org."}}]}),
            json!({"not": {"exact": {"type": "x"}}}),
        ];
        for text in yes {
            assert!(filter(text.clone()).matches(&event()), "{text}");
        }
        assert!(!filter(json!({"all": [{"prefix": {"type": "org."}}, {"exact": {"missing": "x"}}]})).matches(&event()));
    }

    #[test]
    fn refused() {
        assert!(serde_json::from_value::<Filter>(json!({"sql": "type = 'a'"})).is_err());
        assert!(serde_json::from_value::<Filter>(json!({"exact": {}, "prefix": {}})).is_err());
        assert_eq!(check_all(&[filter(json!({"exact": {}}))]), Err(BadFilter::Empty));
        let mut deep = filter(json!({"exact": {"type": "x"}}));
        for _ in 0..10 {
            deep = Filter::Not(Box::new(deep));
        }
        assert_eq!(check_all(&[deep]), Err(BadFilter::TooDeep));
    }

    #[test]
    fn types() {
        let lake = |text: &str| is_wanted_type(&[text.to_owned()], "org.dte.lake.rule.ok");
        assert!(
            lake("org.dte.lake") && lake("org.dte.lake.") && lake("org.dte.lake.*") && lake("org.dte.lake.rule.ok")
        );
        assert!(!lake("org.dte.la") && !lake("org.dte.lake.rule.okay") && !lake("x"));
        assert!(lake("*") && is_wanted_type(&[], "anything"));
    }
}
