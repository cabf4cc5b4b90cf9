//! What every page has: head, bar, and headers that keep other sites and scripts out.

use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Viewer, assets};

/// Only our own style sheet and pictures; no script runs and nothing may frame a page. Where forms lead is not confined:
/// browsers apply that to redirects too, and ours lead on to clients and to other providers.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` browsers would send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// A whole page.
pub(crate) fn page(status: StatusCode, title: &str, viewer: Option<&Viewer>, content: &Markup) -> Response {
    framed(status, title, viewer, None, content)
}

/// A small page in the middle: to sign in, or to say one thing.
pub(super) fn small(status: StatusCode, title: &str, viewer: Option<&Viewer>, content: &Markup) -> Response {
    framed(status, title, viewer, Some("door"), content)
}

fn framed(status: StatusCode, title: &str, viewer: Option<&Viewer>, class: Option<&str>, content: &Markup) -> Response {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · dte" }
                link rel="icon" type="image/svg+xml" href=(assets::address("mark.svg"));
                link rel="stylesheet" href=(assets::address("identity.css"));
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.bar { (bar(viewer)) }
                main #main class=[class] { h1 { (title) } (content) }
            }
        }
    };
    let mut headers = HeaderMap::new();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    (status, headers, axum::response::Html(body.into_string())).into_response()
}

fn bar(viewer: Option<&Viewer>) -> Markup {
    html! {
        nav aria-label="Pages" {
            a.home href="/ui" { (PreEscaped(include_str!("../../assets/mark.svg"))) span { "Digital Twin Engine" } }
            @if let Some(viewer) = viewer {
                a href="/oidc/account" { "Account" }
                @if viewer.principal.is_admin() { a href="/oidc/admin/users" { "Administration" } }
            }
        }
        @if let Some(viewer) = viewer {
            form.who method="post" action="/oidc/logout-session" {
                input type="hidden" name="csrf" value=(viewer.csrf);
                span { (viewer.principal.name()) }
                button { "Sign out" }
            }
        }
    }
}

/// Something cannot be done; says why.
pub(crate) fn refusal(status: StatusCode, title: &str, detail: &str, viewer: Option<&Viewer>) -> Response {
    let way_on = html! {
        p role="alert" { (detail) }
        @if viewer.is_some() { p { a href="/oidc/account" { "To your account" } } }
        @else { p { a href="/oidc/login" { "To the sign-in page" } } }
    };
    small(status, title, viewer, &way_on)
}
