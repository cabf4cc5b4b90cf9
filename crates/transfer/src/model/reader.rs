//! Reads the members of a submission as leniently as FTS does: flags as words, numbers as texts, null as absent.

use http::StatusCode;
use serde_json::{Map, Value};

/// Why a submission is not accepted, in the words that clients know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into() }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    /// A member that has the wrong kind of value.
    pub fn value(what: impl std::fmt::Display) -> Self {
        Refusal::bad(format!("Invalid value within the request: {what}"))
    }
}

/// The members of one object of a submission.
pub struct Reader<'a>(&'a Map<String, Value>);

impl<'a> Reader<'a> {
    pub fn new(members: &'a Map<String, Value>) -> Self {
        Reader(members)
    }

    /// The member, if it is there and not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A flag: true, or a word that begins with `y`.
    pub fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(word)) => word.starts_with(['y', 'Y']),
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            _ => false,
        }
    }

    /// A whole number, also as text or with a fraction (which is cut off).
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let wrong = |value: &Value| Refusal::value(format!("invalid literal for int() with base 10: {name} = {value}"));
        match self.get(name) {
            None => Ok(None),
            Some(value @ Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Ok(Some(whole)),
                #[allow(clippy::cast_possible_truncation, reason = "checked to be in range")]
                (None, Some(real)) if real.abs() < 9.0e15 => Ok(Some(real as i64)),
                _ => Err(wrong(value)),
            },
            Some(Value::Bool(flag)) => Ok(Some(i64::from(*flag))),
            Some(value @ Value::String(text)) if text.trim().is_empty() => Err(wrong(value)),
            Some(value @ Value::String(text)) => text.trim().parse().map(Some).map_err(|_| wrong(value)),
            Some(value) => Err(wrong(value)),
        }
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::value(format!("{name} is not a text"))),
        }
    }

    /// A list of texts; a missing one is named as FTS names it.
    pub fn texts(&self, name: &str) -> Result<Vec<&'a str>, Refusal> {
        self.optional_texts(name)?.ok_or_else(|| Refusal::bad(format!("Missing parameter: '{name}'")))
    }

    pub fn optional_texts(&self, name: &str) -> Result<Option<Vec<&'a str>>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong = || Refusal::value(format!("{name} is not a list of texts"));
        let list = value.as_array().ok_or_else(wrong)?;
        list.iter().map(|item| item.as_str().ok_or_else(wrong)).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// Metadata: an object, or a text that becomes a label.
    pub fn metadata(&self, name: &str, limit: usize) -> Result<Option<Value>, Refusal> {
        let found = match self.get(name) {
            None => return Ok(None),
            Some(object @ Value::Object(_)) => object.clone(),
            Some(Value::String(label)) => serde_json::json!({ "label": label }),
            Some(_) => return Err(Refusal::bad("Metadata neither JSON nor String")),
        };
        within(found, limit).map(Some)
    }

    /// Metadata that must be an object.
    pub fn object(&self, name: &str, what: &str, limit: usize) -> Result<Option<Value>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(object @ Value::Object(_)) => within(object.clone(), limit).map(Some),
            Some(_) => Err(Refusal::bad(format!("{what} metadata not in JSON format"))),
        }
    }
}

fn within(value: Value, limit: usize) -> Result<Value, Refusal> {
    if value.to_string().len() > limit {
        return Err(Refusal::bad(format!("Job Submission Refused, metadata exceeds size limit of {limit}")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lenient_where_clients_are() {
        let value = json!({"a": "Yes", "b": "no", "c": 1, "d": "12", "e": 1024.0, "f": null, "g": [1], "h": "x"});
        let reader = Reader::new(value.as_object().expect("an object"));
        assert!(reader.flag("a") && !reader.flag("b") && reader.flag("c") && !reader.flag("f"));
        assert_eq!(reader.integer("d"), Ok(Some(12)));
        assert_eq!(reader.integer("e"), Ok(Some(1024)));
        assert_eq!(reader.integer("f"), Ok(None));
        assert!(reader.integer("h").is_err() && reader.integer("g").is_err());
        assert_eq!(reader.metadata("h", 100), Ok(Some(json!({"label": "x"}))));
        assert_eq!(reader.metadata("g", 100), Err(Refusal::bad("Metadata neither JSON nor String")));
        assert!(reader.metadata("h", 3).is_err());
        assert_eq!(reader.texts("zz").map_err(|r| r.message), Err("Missing parameter: 'zz'".to_owned()));
    }
}
