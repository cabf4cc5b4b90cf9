//! PROV-N, the notation for people (W3C Recommendation of 2013), of a PROV-JSON document.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::check::{ELEMENTS, RELATIONS, formal};

/// Writes a document in PROV-N.
pub fn provn(document: &Value) -> String {
    let mut out = String::from("document\n");
    let empty = Map::new();
    write_level(&mut out, document.as_object().unwrap_or(&empty), 1);
    out.push_str("endDocument\n");
    out
}

fn write_level(out: &mut String, all: &Map<String, Value>, depth: usize) {
    let indent = "  ".repeat(depth);
    for (prefix, uri) in group(all, "prefix") {
        let uri = uri.as_str().unwrap_or_default();
        match prefix.as_str() {
            "default" => line(out, &indent, format_args!("default <{uri}>")),
            "prov" | "xsd" => {}
            _ => line(out, &indent, format_args!("prefix {prefix} <{uri}>")),
        }
    }
    for keyword in ELEMENTS {
        for (id, record) in group(all, keyword) {
            each(record, |about| line(out, &indent, format_args!("{keyword}({})", element(keyword, id, about))));
        }
    }
    for (keyword, _) in RELATIONS {
        for (id, record) in group(all, keyword) {
            each(record, |about| line(out, &indent, format_args!("{keyword}({})", relation(keyword, id, about))));
        }
    }
    for (id, bundle) in group(all, "bundle") {
        line(out, &indent, format_args!("bundle {}", qualified(id)));
        if let Some(inner) = bundle.as_object() {
            write_level(out, inner, depth + 1);
        }
        line(out, &indent, format_args!("endBundle"));
    }
}

fn line(out: &mut String, indent: &str, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    if writeln!(out, "{indent}{text}").is_err() {
        out.push('\n');
    }
}

fn group<'a>(all: &'a Map<String, Value>, keyword: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    all.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

fn each(record: &Value, mut show: impl FnMut(&Map<String, Value>)) {
    match record {
        Value::Array(list) => list.iter().filter_map(Value::as_object).for_each(show),
        Value::Object(one) => show(one),
        _ => {}
    }
}

fn element(keyword: &str, id: &str, about: &Map<String, Value>) -> String {
    let mut parts = vec![qualified(id)];
    if keyword == "activity" {
        let times = ["prov:startTime", "prov:endTime"].map(|key| about.get(key).and_then(Value::as_str));
        if times.iter().any(Option::is_some) {
            parts.extend(times.map(|time| time.unwrap_or("-").to_owned()));
        }
    }
    parts.extend(attributes(keyword, about));
    parts.join(", ")
}

fn relation(keyword: &str, id: &str, about: &Map<String, Value>) -> String {
    let formal = formal(keyword).unwrap_or_default();
    let mut arguments: Vec<String> = formal
        .iter()
        .map(|name| match about.get(*name).and_then(first_text) {
            Some(time) if *name == "prov:time" => time.to_owned(),
            Some(id) => qualified(id),
            None => "-".to_owned(),
        })
        .collect();
    while arguments.len() > 2 && arguments.last().is_some_and(|last| last == "-") {
        arguments.pop();
    }
    let named = if id.starts_with("_:") { String::new() } else { format!("{}; ", qualified(id)) };
    arguments.extend(attributes(keyword, about));
    format!("{named}{}", arguments.join(", "))
}

fn first_text(value: &Value) -> Option<&str> {
    match value {
        Value::Array(list) => list.first().and_then(Value::as_str),
        Value::Object(typed) => typed.get("$").and_then(Value::as_str),
        other => other.as_str(),
    }
}

/// `[a="v", …]`, when there are attributes that are not formal.
fn attributes(keyword: &str, about: &Map<String, Value>) -> Option<String> {
    let formal = formal(keyword).unwrap_or_default();
    let mut shown = Vec::new();
    for (name, value) in about.iter().filter(|(name, _)| !formal.contains(&name.as_str())) {
        match value {
            Value::Array(list) => shown.extend(list.iter().map(|one| format!("{}={}", qualified(name), literal(one)))),
            one => shown.push(format!("{}={}", qualified(name), literal(one))),
        }
    }
    (!shown.is_empty()).then(|| format!("[{}]", shown.join(", ")))
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Bool(flag) => format!("\"{flag}\" %% xsd:boolean"),
        Value::Number(number) if number.is_f64() => format!("\"{number}\" %% xsd:double"),
        Value::Number(number) => format!("\"{number}\" %% xsd:long"),
        Value::Object(typed) => {
            let text = typed.get("$").and_then(Value::as_str).unwrap_or_default();
            let kind = typed.get("type").and_then(Value::as_str);
            match (kind, typed.get("lang").and_then(Value::as_str)) {
                (Some("prov:QUALIFIED_NAME" | "xsd:QName"), _) => format!("'{}'", qualified(text)),
                (_, Some(lang)) => format!("{}@{lang}", quoted(text)),
                (Some(kind), None) => format!("{} %% {kind}", quoted(text)),
                (None, None) => quoted(text),
            }
        }
        Value::Null | Value::Array(_) => quoted(""),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r"))
}

/// A qualified name; in its local part, what would end a name is escaped.
fn qualified(id: &str) -> String {
    let (prefix, local) = id.split_once(':').map_or(("", id), |(prefix, local)| (prefix, local));
    let mut out = if prefix.is_empty() { String::new() } else { format!("{prefix}:") };
    for c in local.chars() {
        if "='(),:;[]".contains(c) {
            out.push('\\');
        }
        match c {
            ' ' => out.push_str("%20"),
            '"' | '<' | '>' | '\\' | '{' | '}' | '|' | '^' | '`' => out.push_str(&format!("%{:02X}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn statements() {
        let document = json!({
            "prefix": {"ex": "http://e/", "default": "http://d/"},
            "entity": {"ex:a": {"prov:label": "say \"hi\"", "ex:n": 1, "prov:type": {"$": "ex:File", "type": "xsd:QName"}}, "ex:b": {}},
            "activity": {"ex:r": {"prov:startTime": "1980-01-01T00:00:00Z"}},
            "used": {"_:1": {"prov:activity": "ex:r", "prov:entity": "ex:a"}, "ex:u": {"prov:activity": "ex:r"}},
            "wasAssociatedWith": {"_:2": {"prov:activity": "ex:r", "prov:agent": "did:enso:a.b#1", "prov:plan": "ex:p"}},
        });
        let text = provn(&document);
        for wanted in [
            "document\n  prefix ex <http://e/>\n  default <http://d/>\n",
            "  entity(ex:a, [prov:label=\"say \\\"hi\\\"\", ex:n=\"1\" %% xsd:long, prov:type='ex:File'])\n",
            "  entity(ex:b)\n",
            "  activity(ex:r, 1980-01-01T00:00:00Z, -)\n",
            "  used(ex:r, ex:a)\n",
            "  used(ex:u; ex:r, -)\n",
            "  wasAssociatedWith(ex:r, did:enso\\:a.b#1, ex:p)\n",
            "endDocument\n",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
    }
}
