//! What every page has: head, bar, foot.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::assets;

/// What the frame needs to know of who is looking.
#[derive(Clone, Debug, Default)]
pub struct Viewer {
    /// The local account's name.
    pub name: String,
    /// To be sent back with every form.
    pub csrf: String,
}

/// Where the parts of a page come from when they change.
pub struct Live<'p> {
    /// Server-sent events that say that something has changed.
    pub stream: &'p str,
    /// The parts again, as they are by then.
    pub fragment: &'p str,
}

/// A whole page. `trail` is the way to it: names and addresses.
pub fn page(
    title: &str,
    trail: &[(&str, &str)],
    viewer: Option<&Viewer>,
    live: Option<Live<'_>>,
    content: &Markup,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · dte" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.address());
                link rel="stylesheet" href=(assets::STYLE.address());
                @if live.is_some() {
                    script src=(assets::SCRIPT.address()) defer {}
                    script src=(assets::CONSOLE.address()) defer {}
                }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.bar {
                    nav aria-label="Where you are" {
                        a.home href="/ui" { (mark()) span { "Digital Twin Engine" } }
                        @for (name, address) in trail {
                            span.sep aria-hidden="true" { "/" }
                            a href=(address) { (name) }
                        }
                    }
                    @if live.is_some() { span #live role="status" { } }
                    @if let Some(viewer) = viewer {
                        form.who method="post" action="/ui/logout" {
                            input type="hidden" name="csrf" value=(viewer.csrf);
                            a href="/oidc/account" { (viewer.name) }
                            button { "Sign out" }
                        }
                    }
                }
                main #main data-stream=[live.as_ref().map(|live| live.stream)] data-fragment=[live.as_ref().map(|live| live.fragment)] { (content) }
            }
        }
    }
}

/// One part of a page: what the script exchanges when it changes.
pub fn part(id: &str, class: &str, heading: Option<&str>, content: &Markup) -> Markup {
    html! {
        section id=(id) class=(class) data-part=(id) aria-labelledby=[heading.map(|_| format!("{id}-h"))] {
            @if let Some(heading) = heading { h2 id=(format!("{id}-h")) { (heading) } }
            (content)
        }
    }
}

/// A part that could not be read.
pub fn unreadable(missing: &[(&'static str, String)], what: &str) -> Markup {
    html! {
        @for (_, reason) in missing.iter().filter(|(part, _)| *part == what) {
            p.unreadable role="note" { "This part cannot be shown now: " (reason) }
        }
    }
}

/// The mark: a measured line and its twin.
fn mark() -> Markup {
    PreEscaped(include_str!("../../assets/mark.svg").to_owned())
}
