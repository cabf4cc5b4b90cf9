//! Uniting documents: what an upload does to a document that is there already.

use serde_json::{Map, Value};

/// Unites `new` into `old`: elements and named relations meet by identifier, their attributes are united, equal names take
/// the new value; anonymous relations (`_:…`) are added under names that are free.
pub fn merge(old: &mut Value, new: &Value) {
    let (Some(old), Some(new)) = (old.as_object_mut(), new.as_object()) else { return };
    for (keyword, group) in new {
        let Some(group) = group.as_object() else { continue };
        let known = old.entry(keyword.clone()).or_insert_with(|| Value::Object(Map::new()));
        for (id, record) in group {
            match keyword.as_str() {
                "bundle" => merge(
                    known
                        .as_object_mut()
                        .map_or(&mut Value::Null, |k| k.entry(id.clone()).or_insert(Value::Object(Map::new()))),
                    record,
                ),
                "prefix" => known[id.as_str()] = record.clone(),
                _ => merge_record(known, id, record),
            }
        }
    }
}

fn merge_record(group: &mut Value, id: &str, record: &Value) {
    let Some(group) = group.as_object_mut() else { return };
    if id.starts_with("_:") {
        if group.values().any(|known| known == record) {
            return;
        }
        let name = free_name(group, id);
        group.insert(name, record.clone());
        return;
    }
    match (group.get_mut(id), record) {
        (Some(Value::Object(known)), Value::Object(new)) => {
            known.extend(new.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        _ => {
            group.insert(id.to_owned(), record.clone());
        }
    }
}

fn free_name(group: &Map<String, Value>, wanted: &str) -> String {
    if !group.contains_key(wanted) {
        return wanted.to_owned();
    }
    let mut number = group.len() + 1;
    while group.contains_key(&format!("_:r{number}")) {
        number += 1;
    }
    format!("_:r{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn attributes_are_united() {
        let mut old = json!({"entity": {"ex:a": {"ex:x": 1, "ex:y": 2}}, "used": {"_:u": {"prov:activity": "ex:r"}}});
        let new = json!({"entity": {"ex:a": {"ex:y": 3}, "ex:b": {}}, "used": {"_:u": {"prov:activity": "ex:s"}},
                         "prefix": {"ex": "http://e/"}});
        merge(&mut old, &new);
        assert_eq!(old["entity"], json!({"ex:a": {"ex:x": 1, "ex:y": 3}, "ex:b": {}}));
        assert_eq!(old["used"].as_object().map(Map::len), Some(2));
        assert_eq!(old["prefix"]["ex"], "http://e/");
        let again = old.clone();
        merge(&mut old, &new);
        assert_eq!(old, again, "the same upload twice is one");
    }
}
