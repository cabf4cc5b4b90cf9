//! A subscription as it is declared: which events, and how they are delivered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use super::cloudevent::Envelope;
use super::filter::{BadFilter, Filter, check_all, is_wanted_type};
use super::signature::MIN_SECRET;

/// How events reach the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// We send them to the sink.
    Http,
    /// The subscriber fetches and acknowledges.
    Pull,
    /// As `PULL`; the subscriber streams.
    Sse,
}

/// How a CloudEvent is put into an HTTP request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentMode {
    #[default]
    Structured,
    Binary,
}

/// Settings of the `HTTP` protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProtocolSettings {
    pub mode: ContentMode,
    /// Sent with each delivery.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    Earliest,
    #[default]
    Latest,
    #[serde(untagged)]
    Offset {
        /// The last event that is *not* delivered.
        offset: i64,
    },
}

/// How often and how patiently a failed delivery is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Tries of one event before it becomes a dead letter.
    pub max: u32,
    pub base_ms: u64,
    pub cap_s: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { max: 10, base_ms: 500, cap_s: 300 }
    }
}

/// Delivery settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub start: Start,
    pub retry: Retry,
}

/// The credential for the sink; never shown again.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkCredential {
    /// Signs deliveries. Made by us when absent.
    pub secret: Option<dte_base::secret::Secret>,
}

/// What a subscriber declares.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    #[serde(flatten)]
    pub spec: Spec,
    #[serde(default)]
    pub sinkcredential: SinkCredential,
}

/// The part of a subscription that is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default)]
    pub types: Vec<String>,
    #[serde(default)]
    pub filters: Vec<Filter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<Url>,
    pub protocol: Protocol,
    #[serde(default)]
    pub protocolsettings: ProtocolSettings,
    #[serde(default)]
    pub config: Config,
}

/// The most that a delivery waits between tries, and the most tries, that may be asked for.
const LONGEST_CAP: u64 = 86_400;
const MOST_TRIES: u32 = 1_000;
const MAX_TYPES: usize = 100;
const MAX_HEADERS: usize = 20;
/// Headers that belong to us or to the protocol.
const OWN_HEADERS: [&str; 6] =
    ["content-type", "content-length", "host", "connection", "transfer-encoding", "authorization"];

/// A declaration that cannot be accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadSubscription {
    #[error("protocol HTTP needs a sink")]
    NoSink,
    #[error("only protocol HTTP has a sink")]
    SinkWithoutHttp,
    #[error("the sink must be an http or https URL without user, password and fragment")]
    Sink,
    #[error(transparent)]
    Filter(#[from] BadFilter),
    #[error("at most {MAX_TYPES} types, none empty")]
    Types,
    #[error("header {0:?} cannot be set")]
    Header(String),
    #[error("retry: max 1 to {MOST_TRIES}, base_ms 1 or more, cap_s up to a day")]
    Retry,
    #[error("a secret has at least {MIN_SECRET} characters")]
    Secret,
}

impl Declared {
    pub fn check(&self) -> Result<(), BadSubscription> {
        let spec = &self.spec;
        match (&spec.sink, spec.protocol) {
            (None, Protocol::Http) => return Err(BadSubscription::NoSink),
            (Some(_), Protocol::Pull | Protocol::Sse) => return Err(BadSubscription::SinkWithoutHttp),
            (Some(sink), Protocol::Http) if !is_plain_http(sink) => return Err(BadSubscription::Sink),
            _ => {}
        }
        check_all(&spec.filters)?;
        if spec.types.len() > MAX_TYPES || spec.types.iter().any(String::is_empty) {
            return Err(BadSubscription::Types);
        }
        check_headers(&spec.protocolsettings.headers)?;
        let retry = spec.config.retry;
        if !(1..=MOST_TRIES).contains(&retry.max) || retry.base_ms == 0 || retry.cap_s > LONGEST_CAP {
            return Err(BadSubscription::Retry);
        }
        if self.sinkcredential.secret.as_ref().is_some_and(|secret| secret.expose().len() < MIN_SECRET) {
            return Err(BadSubscription::Secret);
        }
        Ok(())
    }
}

impl Spec {
    /// Whether the subscriber asked for this event (not whether it may be seen).
    pub fn wants(&self, event: &Envelope) -> bool {
        self.source.as_ref().is_none_or(|source| *source == event.event.source)
            && is_wanted_type(&self.types, &event.event.kind)
            && self.filters.iter().all(|filter| filter.matches(event))
    }
}

fn is_plain_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), BadSubscription> {
    if headers.len() > MAX_HEADERS {
        return Err(BadSubscription::Header("too many".into()));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let ours = OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("ce-") || lower.starts_with("webhook-");
        if ours || http::HeaderName::try_from(name).is_err() || http::HeaderValue::try_from(value).is_err() {
            return Err(BadSubscription::Header(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(value: Value) -> Result<(), BadSubscription> {
        serde_json::from_value::<Declared>(value).expect("reads").check()
    }

    #[test]
    fn declarations() {
        assert_eq!(check(json!({"protocol": "PULL", "types": ["org.dte.lake."]})), Ok(()));
        assert_eq!(check(json!({"protocol": "HTTP"})), Err(BadSubscription::NoSink));
        assert_eq!(check(json!({"protocol": "SSE", "sink": "http://a/"})), Err(BadSubscription::SinkWithoutHttp));
        for sink in ["ftp://a/", "http://u:p@a/", "http://a/#x", "file:///etc/passwd"] {
            assert_eq!(check(json!({"protocol": "HTTP", "sink": sink})), Err(BadSubscription::Sink), "{sink}");
        }
        let with =
            |settings: Value| check(json!({"protocol": "HTTP", "sink": "http://a/", "protocolsettings": settings}));
        assert_eq!(with(json!({"mode": "binary", "headers": {"X-Team": "sea"}})), Ok(()));
        for header in ["Authorization", "ce-id", "webhook-id", "bad name"] {
            assert_eq!(with(json!({"headers": {header: "x"}})), Err(BadSubscription::Header(header.into())));
        }
        assert_eq!(
            check(json!({"protocol": "PULL", "sinkcredential": {"secret": "short"}})),
            Err(BadSubscription::Secret)
        );
        assert_eq!(check(json!({"protocol": "PULL", "config": {"retry": {"max": 0}}})), Err(BadSubscription::Retry));
    }

    #[test]
    fn where_to_start() {
        let start = |value: Value| serde_json::from_value::<Start>(value).ok();
        assert_eq!(start(json!("earliest")), Some(Start::Earliest));
        assert_eq!(start(json!({"offset": 7})), Some(Start::Offset { offset: 7 }));
        assert_eq!(start(json!("tomorrow")), None);
    }
}
