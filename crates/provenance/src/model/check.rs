//! Whether a JSON value is PROV-JSON, by the rules that the reference library keeps.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// Keywords of elements.
pub const ELEMENTS: [&str; 3] = ["entity", "activity", "agent"];

/// Keywords of relations with their formal attributes; the first two are the ends, from effect to cause.
pub const RELATIONS: [(&str, &[&str]); 15] = [
    ("wasGeneratedBy", &["prov:entity", "prov:activity", "prov:time"]),
    ("used", &["prov:activity", "prov:entity", "prov:time"]),
    ("wasInformedBy", &["prov:informed", "prov:informant"]),
    ("wasStartedBy", &["prov:activity", "prov:trigger", "prov:starter", "prov:time"]),
    ("wasEndedBy", &["prov:activity", "prov:trigger", "prov:ender", "prov:time"]),
    ("wasInvalidatedBy", &["prov:entity", "prov:activity", "prov:time"]),
    ("wasDerivedFrom", &["prov:generatedEntity", "prov:usedEntity", "prov:activity", "prov:generation", "prov:usage"]),
    ("wasAttributedTo", &["prov:entity", "prov:agent"]),
    ("wasAssociatedWith", &["prov:activity", "prov:agent", "prov:plan"]),
    ("actedOnBehalfOf", &["prov:delegate", "prov:responsible", "prov:activity"]),
    ("wasInfluencedBy", &["prov:influencee", "prov:influencer"]),
    ("specializationOf", &["prov:specificEntity", "prov:generalEntity"]),
    ("alternateOf", &["prov:alternate1", "prov:alternate2"]),
    ("hadMember", &["prov:collection", "prov:entity"]),
    ("mentionOf", &["prov:specificEntity", "prov:generalEntity", "prov:bundle"]),
];

/// The formal attributes of a keyword; `None` when there is no such keyword.
pub fn formal(keyword: &str) -> Option<&'static [&'static str]> {
    match keyword {
        "entity" | "agent" => Some(&[]),
        "activity" => Some(&["prov:startTime", "prov:endTime"]),
        _ => RELATIONS.iter().find(|(name, _)| *name == keyword).map(|(_, formal)| *formal),
    }
}

/// Why a document is not PROV-JSON.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadDocument {
    #[error("{0} must be a JSON object")]
    NotAnObject(String),
    #[error("{0:?} is no kind of PROV record")]
    Keyword(String),
    #[error("{0}: a typed value needs \"$\"")]
    TypedValue(String),
    #[error("{id}: {attribute} may have one value only")]
    ManyValues { id: String, attribute: String },
    #[error("{0} has a prefix that is not declared")]
    Prefix(String),
    #[error("a bundle cannot hold bundles")]
    NestedBundle,
}

/// Checks a document, with its bundles.
pub fn check(document: &Value) -> Result<(), BadDocument> {
    check_level(document, &HashSet::from(["prov".to_owned(), "xsd".to_owned(), "xsi".to_owned()]), true)
}

fn check_level(document: &Value, inherited: &HashSet<String>, top: bool) -> Result<(), BadDocument> {
    let all = object(document, "a document")?;
    let mut prefixes = inherited.clone();
    if let Some(declared) = all.get("prefix") {
        prefixes.extend(object(declared, "prefix")?.keys().cloned());
    }
    for (keyword, group) in all {
        match keyword.as_str() {
            "prefix" => {}
            "bundle" if !top => return Err(BadDocument::NestedBundle),
            "bundle" => {
                for (id, bundle) in object(group, "bundle")? {
                    check_id(id, &prefixes)?;
                    check_level(bundle, &prefixes, false)?;
                }
            }
            _ => check_group(keyword, group, &prefixes)?,
        }
    }
    Ok(())
}

fn check_group(keyword: &str, group: &Value, prefixes: &HashSet<String>) -> Result<(), BadDocument> {
    let formal = formal(keyword).ok_or_else(|| BadDocument::Keyword(keyword.to_owned()))?;
    let is_element = ELEMENTS.contains(&keyword);
    for (id, records) in object(group, keyword)? {
        if is_element {
            check_id(id, prefixes)?;
        }
        let records = match records {
            Value::Array(list) => list.iter().collect(),
            one => vec![one],
        };
        for record in records {
            for (attribute, value) in object(record, id)? {
                let several = value.as_array().map_or(1, Vec::len) > 1;
                if several && formal.contains(&attribute.as_str()) && keyword != "hadMember" {
                    return Err(BadDocument::ManyValues { id: id.clone(), attribute: attribute.clone() });
                }
                let values = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
                if values.iter().any(|v| v.is_object() && !v.get("$").is_some_and(Value::is_string)) {
                    return Err(BadDocument::TypedValue(id.clone()));
                }
            }
        }
    }
    Ok(())
}

/// An element has an identifier with a known prefix, or none where there is a default.
fn check_id(id: &str, prefixes: &HashSet<String>) -> Result<(), BadDocument> {
    let known = match id.split_once(':') {
        Some((prefix, _)) => prefixes.contains(prefix) || prefixes.contains("default"),
        None => prefixes.contains("default"),
    };
    if known { Ok(()) } else { Err(BadDocument::Prefix(id.to_owned())) }
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, BadDocument> {
    value.as_object().ok_or_else(|| BadDocument::NotAnObject(what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn accepted() {
        for document in [
            json!({}),
            json!({"prefix": {"ex": "http://e/"}, "entity": {"ex:a": {}, "ex:b": [{}, {"ex:x": [1, 2]}]}}),
            json!({"prefix": {"default": "x"}, "entity": {"a": {}}, "used": {"_:u": {"prov:activity": "a"}}}),
            json!({"prefix": {"ex": "http://e/"}, "bundle": {"ex:b": {"entity": {"ex:a": {}}}}}),
            json!({"hadMember": {"_:m": {"prov:collection": "c", "prov:entity": ["a", "b"]}}}),
        ] {
            assert_eq!(check(&document), Ok(()), "{document}");
        }
    }

    #[test]
    fn refused() {
        let prefix = json!({"ex": "http://e/"});
        for document in [
            json!([]),
            json!({"nodes": {}}),
            json!({"entity": []}),
            json!({"entity": {"ex:a": {}}}),
            json!({"entity": {"a": {}}}),
            json!({"prefix": prefix, "entity": {"ex:a": 7}}),
            json!({"prefix": prefix, "entity": {"ex:a": {"ex:t": {"type": "xsd:int"}}}}),
            json!({"used": {"_:u": {"prov:activity": ["a", "b"]}}}),
            json!({"prefix": prefix, "bundle": {"ex:b": {"bundle": {}}}}),
        ] {
            assert!(check(&document).is_err(), "{document}");
        }
    }
}
