//! What comes in: bodies under any content type, queries, names.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use dte_identity::{Principal, Standing};
use dte_protocol_rucio::did::{is_name, is_scope};
use dte_protocol_rucio::{BULK_LIMIT, Class, Did, Exception};
use http::request::Parts;
use serde_json::{Map, Value};

use super::answer::Failure;
use crate::Lake;
use crate::model::policy::{Caller, account_of};

/// The scope that a token with other capabilities needs to change the catalogue.
pub(crate) const LAKE_SCOPE: &str = "dte.lake";

/// Who asks, as an account. An extractor; makes the account known on its first request.
pub(crate) struct Asking(pub Caller, pub Principal);

impl FromRequestParts<Lake> for Asking {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, lake: &Lake) -> Result<Self, Response> {
        let principal =
            <Principal as FromRequestParts<Lake>>::from_request_parts(parts, lake).await.map_err(super::denied)?;
        let account = account_of(principal.name());
        let known = lake.know(&account, &principal).await.map_err(|error| Failure::from(error).into_response())?;
        if !known.active {
            let message = format!("The account {account} is suspended or deleted");
            let exception = Exception::new(Class::AccessDenied, message).at(http::StatusCode::FORBIDDEN);
            return Err(Failure::from(exception).into_response());
        }
        let (engine, lake) = match principal.standing {
            Standing::User { admin } => (admin, admin || known.admin),
            _ => (false, false),
        };
        let may = principal.may(LAKE_SCOPE).is_ok();
        Ok(Asking(Caller { account, admin: lake && may, engine_admin: engine && may }, principal))
    }
}

impl Asking {
    /// Whom background work acts for, as stored.
    pub(crate) fn principal_text(&self) -> Result<String, Failure> {
        Ok(crate::principal_text(&self.1)?)
    }
}

/// The body and the query of a request.
pub(crate) struct Call {
    body: Bytes,
    query: Vec<(String, String)>,
    pub accept: Option<String>,
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Response;
    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let query = request.uri().query().unwrap_or_default();
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let accept = request.headers().get(http::header::ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        Ok(Call { body, query, accept })
    }
}

impl Call {
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn query_all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.query
    }

    fn value(&self, kind: &str) -> Result<Value, Failure> {
        let broken = || Failure::new(Class::ValueError, format!("cannot decode json parameter {kind}"));
        let text = std::str::from_utf8(&self.body).map_err(|_| broken())?;
        // Python writes numbers that JSON has not.
        let text = if text.contains("Infinity") || text.contains("NaN") {
            text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
        } else {
            text.to_owned()
        };
        serde_json::from_str(&text).map_err(|_| broken())
    }

    /// The body, which must be a dictionary.
    pub(crate) fn dictionary(&self) -> Result<Fields, Failure> {
        match self.value("dictionary")? {
            Value::Object(map) => Ok(Fields(map)),
            _ => Err(Failure::new(Class::TypeError, "body must be a json dictionary")),
        }
    }

    /// The body as a dictionary; one that is missing is empty.
    pub(crate) fn optional_dictionary(&self) -> Result<Fields, Failure> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Fields(Map::new()));
        }
        match self.value("dictionary")? {
            Value::Null => Ok(Fields(Map::new())),
            Value::Object(map) => Ok(Fields(map)),
            _ => Err(Failure::new(Class::TypeError, "body must be a json dictionary")),
        }
    }

    /// The body, which must be a list.
    pub(crate) fn list(&self) -> Result<Vec<Value>, Failure> {
        match self.value("list")? {
            Value::Array(list) => Ok(list),
            _ => Err(Failure::new(Class::TypeError, "body must be a json list")),
        }
    }

    /// The body, a list or a dictionary.
    pub(crate) fn either(&self) -> Result<Value, Failure> {
        self.value("dictionary")
    }
}

/// A dictionary with access by key.
pub(crate) struct Fields(pub Map<String, Value>);

impl Fields {
    pub(crate) fn of(value: &Value) -> Result<Fields, Failure> {
        match value {
            Value::Object(map) => Ok(Fields(map.clone())),
            _ => Err(invalid("a dictionary is expected")),
        }
    }

    /// What is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn required(&self, key: &str) -> Result<&Value, Failure> {
        self.0.get(key).ok_or_else(|| Failure::new(Class::KeyError, format!("'{key}' not defined")))
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(invalid(&format!("'{key}' must be a string"))),
        }
    }

    pub(crate) fn required_text(&self, key: &str) -> Result<String, Failure> {
        self.required(key)?;
        self.text(key)?.ok_or_else(|| invalid(&format!("'{key}' must be a string")))
    }

    /// An integer, also as text or as a whole float.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, Failure> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let whole = |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64);
        let number = match value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| invalid(&format!("'{key}' must be an integer")))
    }

    pub(crate) fn truth(&self, key: &str, default: bool) -> Result<bool, Failure> {
        self.get(key).map_or(Ok(default), |value| truth(key, value))
    }

    pub(crate) fn list(&self, key: &str) -> Result<Vec<Value>, Failure> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list.clone()),
            Some(_) => Err(invalid(&format!("'{key}' must be a list"))),
        }
    }

    pub(crate) fn required_list(&self, key: &str) -> Result<Vec<Value>, Failure> {
        self.required(key)?;
        self.list(key)
    }

    pub(crate) fn dictionary(&self, key: &str) -> Result<Map<String, Value>, Failure> {
        match self.get(key) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(invalid(&format!("'{key}' must be a dictionary"))),
        }
    }

    /// The DID in `scope` and `name`.
    pub(crate) fn did(&self) -> Result<Did, Failure> {
        did(&self.required_text("scope")?, &self.required_text("name")?)
    }
}

/// A truth value: true, false, 1, 0, also as text.
pub(crate) fn truth(key: &str, value: &Value) -> Result<bool, Failure> {
    let word = match value {
        Value::String(text) => text.to_ascii_lowercase(),
        other => other.to_string(),
    };
    match word.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Failure::new(Class::TypeError, format!("'{key}' must be a boolean type."))),
    }
}

pub(crate) fn invalid(message: &str) -> Failure {
    Failure::new(Class::InvalidObject, format!("Provided object does not match schema: {message}"))
}

/// A DID of a path or body.
pub(crate) fn did(scope: &str, name: &str) -> Result<Did, Failure> {
    if !is_scope(scope) || !is_name(name) {
        return Err(invalid(&format!("{scope}:{name} is not a data identifier")));
    }
    Ok(Did::new(scope, name))
}

/// The DIDs of a list of dictionaries, 1 to 1000.
pub(crate) fn dids(list: &[Value]) -> Result<Vec<Did>, Failure> {
    check_bulk(list.len())?;
    list.iter().map(|item| Fields::of(item)?.did()).collect()
}

/// Bulk requests have 1 to 1000 items.
pub(crate) fn check_bulk(number: usize) -> Result<(), Failure> {
    match number {
        0 => Err(invalid("[] is too short")),
        n if n > BULK_LIMIT => Err(invalid(&format!("the list is too long: {n} items, at most {BULK_LIMIT}"))),
        _ => Ok(()),
    }
}

/// The exception of a malformed thing named in a path.
pub(crate) fn malformed(what: &str) -> Exception {
    Exception::new(Class::ValueError, format!("cannot parse {what}"))
}
