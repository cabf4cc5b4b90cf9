//! The bodies of yProv.

use axum::response::{IntoResponse, Response};
use dte_http::{Json, Problem};
use dte_identity::Denial;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::model::notation::provn;

/// Media type of PROV-N.
const NOTATION: &str = "text/provenance-notation";

/// An answer that is not the wanted one.
pub struct Failure(StatusCode, String);

impl Failure {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Failure(status, text.into())
    }

    pub fn no_document() -> Self {
        Failure::new(StatusCode::NOT_FOUND, "Document not found")
    }

    pub fn forbidden() -> Self {
        let text = "User does not have permission to execute this operation on this document!";
        Failure::new(StatusCode::FORBIDDEN, text)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure(problem.status(), problem.detail().to_owned())
    }
}

impl From<dte_store::Error> for Failure {
    fn from(error: dte_store::Error) -> Self {
        Problem::from(error).into()
    }
}

/// A refusal of the gate, with its headers.
pub fn denied(denial: Denial) -> Response {
    let problem = Problem::from(denial);
    let headers = problem.headers().clone();
    let mut response = Failure::from(problem).into_response();
    response.headers_mut().extend(headers);
    response
}

pub fn result(value: impl Into<Value>) -> Response {
    Json(json!({"result": value.into()})).into_response()
}

pub fn message(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"message": text}))).into_response()
}

/// How a document shall look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As yProv has it, or what is usual at the place.
    Usual,
    /// PROV-JSON as such.
    Json,
    /// PROV-N.
    Notation,
}

impl Form {
    /// `?format=json|provn`, else by `Accept`.
    pub fn wanted(format: Option<&str>, headers: &HeaderMap) -> Result<Form, Failure> {
        match format {
            Some("json") => return Ok(Form::Json),
            Some("provn") => return Ok(Form::Notation),
            Some(_) => return Err(Failure::new(StatusCode::BAD_REQUEST, "format must be json or provn")),
            None => {}
        }
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(if accept.contains(NOTATION) { Form::Notation } else { Form::Usual })
    }
}

/// PROV-JSON as such.
pub fn plain(document: Value) -> Response {
    Json(document).into_response()
}

pub fn notation(document: &Value) -> Response {
    let mut response = provn(document).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/provenance-notation; charset=utf-8"));
    response
}
