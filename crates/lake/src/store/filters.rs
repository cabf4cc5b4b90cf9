//! Filters of subscriptions, ready to be asked. Each new collection is held against all of them while others wait for their turn,
//! so patterns are compiled once for each subscription and not for each collection.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::Value;

use crate::model::subscription::Filter;

/// Filters that are kept in mind.
const MOST: usize = 1024;

/// What a filter says, and what it means; nothing where it is none.
type Known = (Value, Option<Arc<Filter>>);

static KNOWN: LazyLock<Mutex<HashMap<String, Known>>> = LazyLock::new(Mutex::default);

/// The filter of a subscription; nothing where it is none. One that says something else than the last time is read anew.
pub(crate) fn of(subscription: &str, filter: &Value) -> Option<Arc<Filter>> {
    let known = |all: &HashMap<String, Known>| {
        all.get(subscription).filter(|(text, _)| text == filter).map(|(_, parsed)| parsed.clone())
    };
    if let Some(parsed) = known(&KNOWN.lock().unwrap_or_else(PoisonError::into_inner)) {
        return parsed;
    }
    let parsed = Filter::parse(filter).ok().map(Arc::new);
    let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= MOST && !all.contains_key(subscription) {
        // Any other: the order in which they are asked is the same each time, so the oldest would be the next.
        let other = all.keys().next().cloned();
        other.map(|other| all.remove(&other));
    }
    all.insert(subscription.to_owned(), (filter.clone(), parsed.clone()));
    parsed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_read_once_until_it_changes() {
        let (raw, other) = (json!({"pattern": "raw"}), json!({"pattern": "cooked"}));
        let first = of("one", &raw).expect("a filter");
        assert!(Arc::ptr_eq(&first, &of("one", &raw).expect("a filter")));
        let changed = of("one", &other).expect("a filter");
        assert!(!Arc::ptr_eq(&first, &changed));
        assert!(changed.matches("s", "cooked.1", "a", "DATASET", &serde_json::Map::new()));
        assert!(of("two", &json!({"pattern": "("})).is_none());
        for number in 0..2 * MOST {
            of(&format!("many-{number}"), &raw);
        }
        assert!(KNOWN.lock().expect("lock").len() <= MOST);
    }
}
