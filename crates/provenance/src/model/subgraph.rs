//! Part of a document: what leads to an element, or follows from it.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::check::{ELEMENTS, RELATIONS};

/// Which way to go. Relations point from effect to cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the origins.
    Up,
    /// To what came of it.
    Down,
    Both,
}

/// The elements within `depth` relations of `id`, and every relation whose two ends are among them. `None` when the
/// document has no such element.
pub fn subgraph(document: &Value, id: &str, direction: Direction, depth: Option<usize>) -> Option<Value> {
    let all = document.as_object()?;
    let is_known = ELEMENTS.iter().any(|keyword| all.get(*keyword).is_some_and(|group| group.get(id).is_some()));
    if !is_known {
        return None;
    }
    let mut next: HashMap<&str, Vec<&str>> = HashMap::new();
    for (from, to) in RELATIONS.iter().flat_map(|(keyword, formal)| ends(all, keyword, formal)) {
        if direction != Direction::Down {
            next.entry(from).or_default().push(to);
        }
        if direction != Direction::Up {
            next.entry(to).or_default().push(from);
        }
    }
    let mut reached: HashSet<&str> = HashSet::from([id]);
    let mut queue = VecDeque::from([(id, 0)]);
    while let Some((at, distance)) = queue.pop_front() {
        if depth.is_some_and(|depth| distance >= depth) {
            continue;
        }
        for to in next.get(at).into_iter().flatten() {
            if reached.insert(to) {
                queue.push_back((to, distance + 1));
            }
        }
    }
    Some(cut(all, &reached))
}

/// The two ends of each relation of a keyword.
fn ends<'a>(all: &'a Map<String, Value>, keyword: &str, formal: &[&str]) -> Vec<(&'a str, &'a str)> {
    records(all, keyword)
        .filter_map(|(_, record)| Some((record.get(formal[0])?.as_str()?, record.get(formal[1])?.as_str()?)))
        .collect()
}

fn records<'a>(all: &'a Map<String, Value>, keyword: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    all.get(keyword).and_then(Value::as_object).into_iter().flatten().flat_map(|(id, records)| match records {
        Value::Array(list) => list.iter().map(|one| (id, one)).collect::<Vec<_>>(),
        one => vec![(id, one)],
    })
}

fn cut(all: &Map<String, Value>, reached: &HashSet<&str>) -> Value {
    let mut part = Map::new();
    if let Some(prefix) = all.get("prefix") {
        part.insert("prefix".into(), prefix.clone());
    }
    for keyword in ELEMENTS {
        let group = all.get(keyword).and_then(Value::as_object).into_iter().flatten();
        let kept: Map<String, Value> = group
            .filter(|(id, _)| reached.contains(id.as_str()))
            .map(|(id, about)| (id.clone(), about.clone()))
            .collect();
        if !kept.is_empty() {
            part.insert(keyword.into(), Value::Object(kept));
        }
    }
    for (keyword, formal) in RELATIONS {
        let inside = |record: &Value| {
            let end = |name: &str| record.get(name).and_then(Value::as_str).is_some_and(|id| reached.contains(id));
            end(formal[0]) && end(formal[1])
        };
        let mut kept = Map::new();
        for (id, record) in records(all, keyword).filter(|(_, record)| inside(record)) {
            match kept.get_mut(id) {
                None => {
                    kept.insert(id.clone(), record.clone());
                }
                Some(Value::Array(list)) => list.push(record.clone()),
                Some(one) => *one = Value::Array(vec![one.clone(), record.clone()]),
            }
        }
        if !kept.is_empty() {
            part.insert(keyword.into(), Value::Object(kept));
        }
    }
    Value::Object(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain() -> Value {
        json!({"prefix": {"ex": "http://e/"},
            "entity": {"ex:a": {}, "ex:b": {}, "ex:c": {}}, "activity": {"ex:r": {}, "ex:s": {}},
            "used": {"_:1": {"prov:activity": "ex:r", "prov:entity": "ex:a"}, "_:2": {"prov:activity": "ex:s", "prov:entity": "ex:b"}},
            "wasGeneratedBy": {"_:3": {"prov:entity": "ex:b", "prov:activity": "ex:r"},
                               "_:4": {"prov:entity": "ex:c", "prov:activity": "ex:s"}}})
    }

    fn ids(id: &str, direction: Direction, depth: Option<usize>) -> Vec<String> {
        let part = subgraph(&chain(), id, direction, depth).expect("known");
        let keys =
            |name: &str| part[name].as_object().map(|m| m.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let mut all = [keys("entity"), keys("activity")].concat();
        all.sort();
        all
    }

    #[test]
    fn directions_and_depths() {
        assert_eq!(ids("ex:b", Direction::Up, None), ["ex:a", "ex:b", "ex:r"]);
        assert_eq!(ids("ex:b", Direction::Down, None), ["ex:b", "ex:c", "ex:s"]);
        assert_eq!(ids("ex:b", Direction::Both, Some(1)), ["ex:b", "ex:r", "ex:s"]);
        assert_eq!(ids("ex:c", Direction::Up, Some(0)), ["ex:c"]);
        assert_eq!(ids("ex:c", Direction::Up, None).len(), 5);
        assert!(subgraph(&chain(), "ex:z", Direction::Up, None).is_none());
    }
}
