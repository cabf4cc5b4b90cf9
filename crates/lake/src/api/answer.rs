//! Answers as clients want them: content types without a charset, bodies of successes without data, streams that flush as
//! they go and hold one page in memory, exceptions in headers and body.

use std::future::Future;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dte_protocol_rucio::{Class, Exception, JSON_STREAM};
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::error::Error;

/// A failure of a handler.
pub(crate) struct Failure(Exception);

/// What handlers answer.
pub(crate) type Answer = Result<Response, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into_exception())
    }
}

impl From<Exception> for Failure {
    fn from(exception: Exception) -> Self {
        Failure(exception)
    }
}

impl From<dte_store::Error> for Failure {
    fn from(error: dte_store::Error) -> Self {
        Failure(Error::from(error).into_exception())
    }
}

impl Failure {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Failure(Exception::new(class, message))
    }

    /// The same failure with the status that this endpoint gives to `class`.
    pub(crate) fn with_status(self, class: Class, status: StatusCode) -> Self {
        if self.0.is(class) { Failure(self.0.at(status)) } else { self }
    }
}

/// An exception as a response.
pub(crate) fn exception(exception: &Exception) -> Response {
    let mut response = Response::new(Body::from(exception.body().to_string()));
    *response.status_mut() = exception.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    for (name, text) in [("exceptionclass", exception.class.clone()), ("exceptionmessage", exception.header_message())]
    {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        exception(&self.0)
    }
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// One JSON value.
pub(crate) fn json(value: &Value) -> Answer {
    Ok(with_type(StatusCode::OK, "application/json", value.to_string()))
}

/// A JSON text that is written already.
pub(crate) fn json_text(text: String) -> Answer {
    Ok(with_type(StatusCode::OK, "application/json", text))
}

/// Lines of JSON that are written already.
pub(crate) fn lines_text(text: String) -> Answer {
    Ok(with_type(StatusCode::OK, JSON_STREAM, text))
}

const TEXT: &str = "text/html; charset=utf-8";

/// 201 `Created`.
pub(crate) fn created() -> Answer {
    Ok(with_type(StatusCode::CREATED, TEXT, "Created"))
}

/// 201 with a JSON text, which clients read as text first.
pub(crate) fn created_with(value: &Value) -> Answer {
    Ok(with_type(StatusCode::CREATED, TEXT, value.to_string()))
}

/// 201 with a bare text.
pub(crate) fn created_text(text: String) -> Answer {
    Ok(with_type(StatusCode::CREATED, TEXT, text))
}

/// 201 with JSON.
pub(crate) fn created_json(value: &Value) -> Answer {
    Ok(with_type(StatusCode::CREATED, "application/json", value.to_string()))
}

/// 204.
pub(crate) fn no_content() -> Answer {
    Ok(with_type(StatusCode::NO_CONTENT, TEXT, ""))
}

/// 200 without a body.
pub(crate) fn done() -> Answer {
    Ok(with_type(StatusCode::OK, TEXT, ""))
}

/// 200 with headers only.
pub(crate) fn headers(pairs: &[(&'static str, &str)], body: String) -> Answer {
    let mut response = with_type(StatusCode::OK, "application/octet-stream", body);
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        if let Ok(value) = HeaderValue::from_str(value) {
            map.insert(HeaderName::from_static(name), value);
        }
    }
    response.headers_mut().extend(map);
    Ok(response)
}

/// 303 to a place relative to the one that was asked, so that it holds under any prefix.
pub(crate) fn see_other(relative: &str) -> Answer {
    let mut response = with_type(StatusCode::SEE_OTHER, TEXT, "");
    let target = HeaderValue::from_str(relative)
        .map_err(|_| Failure::new(Class::ValueError, "The account has impossible characters"))?;
    response.headers_mut().insert(LOCATION, target);
    Ok(response)
}

/// Values as a stream, when they are few.
pub(crate) fn lines(values: &[Value]) -> Answer {
    Ok(with_type(StatusCode::OK, JSON_STREAM, text_of(values)))
}

fn text_of(values: &[Value]) -> String {
    let mut text = String::with_capacity(values.len() * 128);
    for value in values {
        text.push_str(&value.to_string());
        text.push('\n');
    }
    text
}

/// Rows that one page of a stream reads.
pub(crate) const PAGE: usize = 500;

/// A stream that reads page after page. `read` answers the values of the page at a cursor and the cursor of the next, if
/// there may be one. The first page is read before the status line, so that its errors are ordinary answers; a later
/// error cuts the stream.
pub(crate) async fn stream<C, F, Fut>(start: C, read: F) -> Answer
where
    C: Send + 'static,
    F: Fn(C) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(Vec<Value>, Option<C>), Error>> + Send + 'static,
{
    let render = move |cursor: C| {
        let page = read(cursor);
        async move { page.await.map(|(values, next)| (text_of(&values), next)) }
    };
    text_stream(start, JSON_STREAM, render).await
}

/// As [`stream`], of pieces of any text.
pub(crate) async fn text_stream<C, F, Fut>(start: C, kind: &'static str, read: F) -> Answer
where
    C: Send + 'static,
    F: Fn(C) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(String, Option<C>), Error>> + Send + 'static,
{
    let (first, next) = read(start).await?;
    let Some(next) = next else { return Ok(with_type(StatusCode::OK, kind, first)) };
    let rest = stream::try_unfold((Some(first), Some(next), read), |(ready, next, read)| async move {
        if let Some(text) = ready {
            return Ok(Some((Bytes::from(text), (None, next, read))));
        }
        let Some(cursor) = next else { return Ok(None) };
        match read(cursor).await {
            Ok((text, next)) => Ok(Some((Bytes::from(text), (None, next, read)))),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        }
    });
    Ok(with_type(StatusCode::OK, kind, Body::from_stream(rest)))
}
