//! The page between us and an address that nobody has checked.

use axum::response::Response;
use http::StatusCode;
use maud::html;

use super::page;
use crate::model::plain::plain;

/// Says what happened, and where the link that is offered leads. Nothing is followed by itself.
pub(crate) fn leaving(status: StatusCode, title: &str, words: &str, program: &str, place: &str) -> Response {
    let host = url::Url::parse(place).ok().and_then(|url| url.host_str().map(str::to_owned));
    let content = html! {
        p role="status" { (words) }
        @if let Some(host) = host {
            p {
                "The program calls itself " strong { (plain(program)) } ". It registered itself; nobody has checked its name, nor "
                "whose address this is: " strong { (host) } "."
            }
            p { a #go-on href=(place) rel="noreferrer" { "Leave for " (host) } }
            p.note { "If you do not expect that, close this page." }
        }
    };
    page(status, title, None, &content)
}
