//! Signing in and out, and errors.

use maud::{Markup, html};

use super::frame::{Viewer, page};

/// Nobody is signed in: says how to get in.
pub fn closed(reason: Option<&str>) -> Markup {
    page(
        "Sign in",
        &[],
        None,
        None,
        &html! {
            section.door {
                h1 { "Sign in" }
                @if let Some(reason) = reason { p.unreadable role="alert" { (reason) } }
                p { a.primary href="/oidc/login?next=/ui" { "Sign in with a password or through your institute" } }
                p { "Or use a link that works once. Whoever runs the engine gets one from the command line:" }
                pre { code { "dte ui" } }
                p.note { "The link is good for five minutes and signs this browser in until it has been idle for eight hours." }
            }
        },
    )
}

/// Asks before the code is used, so that a program that only looks at links does not use it up.
pub fn confirm(code: &str) -> Markup {
    page(
        "Sign in",
        &[],
        None,
        None,
        &html! {
            section.door {
                h1 { "Sign in" }
                p { "Sign this browser in to the engine?" }
                form method="post" action="/ui/login" {
                    input type="hidden" name="code" value=(code);
                    button.primary autofocus { "Sign in" }
                }
            }
        },
    )
}

/// Something went wrong; says what.
pub fn problem(title: &str, detail: &str, viewer: Option<&Viewer>) -> Markup {
    page(
        title,
        &[],
        viewer,
        None,
        &html! {
            section.door {
                h1 { (title) }
                p { (detail) }
                p { a href="/ui" { "To the engine's page" } }
            }
        },
    )
}
