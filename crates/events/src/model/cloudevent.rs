//! CloudEvents 1.0: how an event of the log looks outside, and what may come in.
//!
//! Source of the rules: CloudEvents specification 1.0.2, its JSON format and its HTTP binding.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dte_base::time::Timestamp;
use dte_store::Event;
use serde_json::{Map, Value, json};

/// Media type of one event in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Media type of a list of events.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// Types beneath this name are the engine's own: nobody else publishes them.
pub const RESERVED_TYPES: &str = "org.dte.";

/// Longest attribute value that is taken in.
pub const MAX_ATTRIBUTE: usize = 2_048;

/// An event of the log as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub event: Event,
    /// For an event that came from outside: who published it, and the attributes that the log has no column for.
    pub outer: Option<Outer>,
}

/// What an event from outside carries beyond the log's columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outer {
    /// The publisher's own id; unique within the source.
    pub id: String,
    /// Account name of the publisher.
    pub publisher: String,
    /// Extensions, `dataschema`, `datacontenttype` and `data_base64`.
    pub attributes: Map<String, Value>,
}

impl Envelope {
    /// An event of the engine itself.
    pub fn own(event: Event) -> Self {
        Envelope { event, outer: None }
    }

    /// The id that receivers see.
    pub fn id(&self) -> String {
        self.outer.as_ref().map_or_else(|| self.event.id.to_string(), |outer| outer.id.clone())
    }

    /// The place in the log as an extension that sorts as text.
    pub fn sequence(&self) -> String {
        format!("{:020}", self.event.seq)
    }

    /// The context attributes, without data.
    fn attributes(&self) -> Map<String, Value> {
        let event = &self.event;
        let mut all = Map::new();
        all.insert("specversion".into(), "1.0".into());
        all.insert("id".into(), self.id().into());
        all.insert("source".into(), event.source.clone().into());
        all.insert("type".into(), event.kind.clone().into());
        if !event.subject.is_empty() {
            all.insert("subject".into(), event.subject.clone().into());
        }
        all.insert("time".into(), event.time.to_string().into());
        all.insert("sequence".into(), self.sequence().into());
        if let Some(request) = &event.request_id {
            all.insert("requestid".into(), request.clone().into());
        }
        match &self.outer {
            None => {
                all.insert("datacontenttype".into(), "application/json".into());
            }
            Some(outer) => {
                for (name, value) in outer.attributes.iter().filter(|(name, _)| name.as_str() != "data_base64") {
                    all.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        all
    }

    /// Structured mode.
    pub fn structured(&self) -> Value {
        let mut all = self.attributes();
        match self.outer.as_ref().and_then(|outer| outer.attributes.get("data_base64")) {
            Some(bytes) => all.insert("data_base64".into(), bytes.clone()),
            None if self.event.data.is_null() => None,
            None => all.insert("data".into(), self.event.data.clone()),
        };
        Value::Object(all)
    }

    /// Binary mode: `ce-` headers, content type and body.
    pub fn binary(&self) -> (Vec<(String, String)>, String, Vec<u8>) {
        let mut all = self.attributes();
        let content_type = match all.remove("datacontenttype") {
            Some(Value::String(kind)) => kind,
            _ => "application/json".to_owned(),
        };
        let headers = all.iter().map(|(name, value)| (format!("ce-{name}"), header_value(value))).collect();
        let bytes = self.outer.as_ref().and_then(|outer| outer.attributes.get("data_base64")).and_then(Value::as_str);
        let body = match bytes {
            // Checked when it was taken in.
            Some(text) => STANDARD.decode(text).unwrap_or_default(),
            None if self.event.data.is_null() => Vec::new(),
            None => self.event.data.to_string().into_bytes(),
        };
        (headers, content_type, body)
    }

    /// The value of an attribute that filters look at.
    pub fn attribute(&self, name: &str) -> Option<String> {
        match self.attributes().get(name)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// Space, `"`, `%` and everything outside printable ASCII are percent-encoded (HTTP binding 3.1.3.2).
fn header_value(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => out.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What a percent-encoded header value says; `None` when it is not encoded text.
pub fn decode_header(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let pair = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
                after
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8(bytes).ok()
}

/// An event from outside that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    pub id: String,
    pub source: String,
    pub kind: String,
    pub subject: String,
    pub time: Option<Timestamp>,
    pub data: Value,
    pub attributes: Map<String, Value>,
}

/// Why an event from outside was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadEvent {
    #[error("an event must be a JSON object")]
    NotAnObject,
    #[error("specversion must be \"1.0\"")]
    Version,
    #[error("{0} is missing or empty")]
    Missing(&'static str),
    #[error("{0} must be a string")]
    NotText(String),
    #[error("time is not an RFC 3339 time")]
    Time,
    #[error("types that begin with {RESERVED_TYPES} belong to the engine")]
    Reserved,
    #[error("{0:?} cannot name an attribute: lower-case letters and digits only")]
    Name(String),
    #[error("{0} is longer than {MAX_ATTRIBUTE} bytes")]
    TooLong(String),
    #[error("data_base64 is not base64")]
    NotBase64,
    #[error("data and data_base64 exclude each other")]
    TwoData,
}

impl Incoming {
    /// Reads an event in the JSON format.
    pub fn parse(value: Value) -> Result<Incoming, BadEvent> {
        let Value::Object(mut all) = value else { return Err(BadEvent::NotAnObject) };
        if all.remove("specversion").as_ref().and_then(Value::as_str) != Some("1.0") {
            return Err(BadEvent::Version);
        }
        let data = all.remove("data");
        if data.is_some() && all.contains_key("data_base64") {
            return Err(BadEvent::TwoData);
        }
        let id = required(&mut all, "id")?;
        let source = required(&mut all, "source")?;
        let kind = required(&mut all, "type")?;
        if kind.starts_with(RESERVED_TYPES) || format!("{kind}.") == RESERVED_TYPES {
            return Err(BadEvent::Reserved);
        }
        let subject = text(&mut all, "subject")?.unwrap_or_default();
        let time = match text(&mut all, "time")? {
            Some(time) => Some(time.parse().map_err(|_| BadEvent::Time)?),
            None => None,
        };
        // These two we set ourselves.
        all.remove("sequence");
        all.remove("requestid");
        for (name, value) in &all {
            check_extension(name, value)?;
        }
        Ok(Incoming { id, source, kind, subject, time, data: data.unwrap_or(Value::Null), attributes: all })
    }

    /// Reads an event in binary mode: attributes from `ce-` headers, data from the body.
    pub fn from_binary(
        attributes: &BTreeMap<String, String>,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Incoming, BadEvent> {
        let mut all: Map<String, Value> = attributes.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let content_type = content_type.unwrap_or("application/json");
        all.insert("datacontenttype".into(), content_type.into());
        if !body.is_empty() {
            let is_json = content_type
                .split(';')
                .next()
                .is_some_and(|t| t.trim() == "application/json" || t.trim().ends_with("+json"));
            match serde_json::from_slice::<Value>(body) {
                Ok(value) if is_json => all.insert("data".into(), value),
                _ => all.insert("data_base64".into(), STANDARD.encode(body).into()),
            };
        }
        Incoming::parse(Value::Object(all))
    }
}

fn text(all: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, BadEvent> {
    match all.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > MAX_ATTRIBUTE => Err(BadEvent::TooLong(name.into())),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(BadEvent::NotText(name.into())),
    }
}

fn required(all: &mut Map<String, Value>, name: &'static str) -> Result<String, BadEvent> {
    text(all, name)?.filter(|value| !value.is_empty()).ok_or(BadEvent::Missing(name))
}

fn check_extension(name: &str, value: &Value) -> Result<(), BadEvent> {
    if name == "data_base64" {
        let is_base64 = value.as_str().is_some_and(|text| STANDARD.decode(text).is_ok());
        return if is_base64 { Ok(()) } else { Err(BadEvent::NotBase64) };
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return Err(BadEvent::Name(name.into()));
    }
    match value {
        Value::String(text) if text.len() > MAX_ATTRIBUTE => Err(BadEvent::TooLong(name.into())),
        Value::Array(_) | Value::Object(_) => Err(BadEvent::NotText(name.into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Value {
        json!({"specversion": "1.0", "id": "1", "source": "/buoy/7", "type": "net.example.reading", "data": {"t": 20},
               "severity": "low"})
    }

    #[test]
    fn in_and_out() {
        let incoming = Incoming::parse(event()).expect("accepted");
        assert_eq!(incoming.attributes.get("severity"), Some(&json!("low")));
        let logged = Event { seq: 7, ..Event::new(incoming.kind, incoming.source, incoming.subject, incoming.data) };
        let outer = Outer { id: incoming.id, publisher: "alice".into(), attributes: incoming.attributes };
        let out = Envelope { event: logged, outer: Some(outer) };
        let shown = out.structured();
        for key in ["id", "source", "type", "data", "severity"] {
            assert_eq!(shown[key], event()[key], "{key}");
        }
        assert_eq!(shown["sequence"], "00000000000000000007");
        assert_eq!(out.attribute("severity").as_deref(), Some("low"));
        let (headers, content_type, body) = out.binary();
        assert!(headers.contains(&("ce-type".into(), "net.example.reading".into())));
        assert_eq!((content_type.as_str(), body.as_slice()), ("application/json", br#"{"t":20}"#.as_slice()));
    }

    #[test]
    fn what_is_refused() {
        let with = |key: &str, value: Value| {
            let mut all = event();
            all[key] = value;
            Incoming::parse(all)
        };
        assert_eq!(with("specversion", json!("0.3")), Err(BadEvent::Version));
        assert_eq!(with("id", json!("")), Err(BadEvent::Missing("id")));
        assert_eq!(with("id", json!(1)), Err(BadEvent::NotText("id".into())));
        assert_eq!(with("type", json!("org.dte.offload.pod.finished")), Err(BadEvent::Reserved));
        assert_eq!(with("time", json!("yesterday")), Err(BadEvent::Time));
        assert_eq!(with("Bad_Name", json!("x")), Err(BadEvent::Name("Bad_Name".into())));
        assert_eq!(with("ext", json!({})), Err(BadEvent::NotText("ext".into())));
        assert_eq!(with("subject", json!("x".repeat(3000))), Err(BadEvent::TooLong("subject".into())));
        assert_eq!(with("data_base64", json!("AA==")), Err(BadEvent::TwoData));
        assert_eq!(Incoming::parse(json!([])), Err(BadEvent::NotAnObject));
    }

    #[test]
    fn header_values() {
        let wild = "Euro € 😀 \"100%\"";
        let encoded = header_value(&json!(wild));
        assert_eq!(encoded, "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22100%25%22");
        assert_eq!(decode_header(&encoded).as_deref(), Some(wild));
        assert_eq!(decode_header("%2"), None);
        assert_eq!(decode_header("%FF"), None);
    }

    #[test]
    fn binary_mode() {
        let attributes: BTreeMap<String, String> =
            [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "a.b")]
                .map(|(k, v)| (k.into(), v.into()))
                .into();
        let json_body = Incoming::from_binary(&attributes, None, b"{\"a\":1}").expect("accepted");
        assert_eq!(json_body.data, json!({"a": 1}));
        let bytes = Incoming::from_binary(&attributes, Some("image/png"), b"\x89P").expect("accepted");
        assert_eq!(bytes.attributes["data_base64"], "iVA=");
        let logged = Event::new(bytes.kind, bytes.source, bytes.subject, bytes.data);
        let outer = Outer { id: bytes.id, publisher: "alice".into(), attributes: bytes.attributes };
        let (headers, content_type, body) = Envelope { event: logged, outer: Some(outer) }.binary();
        assert_eq!((content_type.as_str(), body.as_slice()), ("image/png", b"\x89P".as_slice()));
        assert!(headers.iter().all(|(name, _)| name != "ce-data_base64"));
    }
}
