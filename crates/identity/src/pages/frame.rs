//! What every page has: head, bar, and headers that keep other sites and scripts out.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::Viewer;

/// Forms may only go to us; nothing may frame a page, and no script runs.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

/// A whole page.
pub(crate) fn page(status: StatusCode, title: &str, viewer: Option<&Viewer>, content: &Markup) -> Response {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · dte" }
            }
            body {
                header.bar {
                    a.home href="/ui" { "Digital Twin Engine" }
                    @if let Some(viewer) = viewer { span { (viewer.principal.name()) } }
                }
                main #main { h1 { (title) } (content) }
            }
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (status, headers, axum::response::Html(body.into_string())).into_response()
}

/// Something cannot be done; says why.
pub(crate) fn refusal(status: StatusCode, title: &str, detail: &str, viewer: Option<&Viewer>) -> Response {
    page(status, title, viewer, &html! { p role="alert" { (detail) } })
}
