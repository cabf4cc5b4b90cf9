//! The page of all pods.

use maud::{Markup, html};

use super::frame::{Live, Viewer, page, part, unreadable};
use super::words;
use crate::address;
use crate::model::compute::{Line, Pods};

/// The whole page.
pub fn whole(pods: &Pods, viewer: &Viewer) -> Markup {
    let live = Live { stream: "/ui/compute/live", fragment: "/ui/pods/fragment" };
    let content = html! {
        div.title { div { h1 { "Pods" } } }
        (fragment(pods))
    };
    page("Pods", &[("Pods", "/ui/pods")], Some(viewer), Some(live), &content)
}

/// The parts that change.
pub fn fragment(pods: &Pods) -> Markup {
    let (ended, alive): (Vec<&Line>, Vec<&Line>) = pods.pods.iter().partition(|pod| pod.has_ended());
    html! {
        div.grid {
            (part("alive", "card full", Some("Waiting and running"), &html! {
                @if alive.is_empty() { p.empty { "None. " code { "dte run -- /bin/echo hello" } } } @else { (table(&alive)) }
                (unreadable(&pods.missing, "pods"))
            }))
            (part("ended", "card full", Some("Ended lately"), &html! {
                @if ended.is_empty() { p.empty { "None." } } @else { (table(&ended)) }
            }))
        }
    }
}

fn table(pods: &[&Line]) -> Markup {
    html! {
        table {
            thead { tr { @for heading in ["Pod", "Phase", "Site", "User", "Made", "Ran", "Exit code"] { th scope="col" { (heading) } } } }
            tbody { @for pod in pods {
                tr {
                    th scope="row" { a href=(address::pod(&pod.uid)) { (pod.name) } }
                    td { (phase(pod)) @if let Some(reason) = &pod.reason { " " (reason) } }
                    td { (pod.site.as_deref().unwrap_or("–")) }
                    td { (pod.user) }
                    td { @if let Some(created) = pod.created { (words::moment(created)) } }
                    td { @if let (Some(started), Some(finished)) = (pod.started, pod.finished) { (words::span(finished.since(started))) } @else { "–" } }
                    td { (pod.exit_code.map_or_else(|| "–".to_owned(), |code| code.to_string())) }
                }
            } }
        }
    }
}

/// The phase as a pill.
pub fn phase(pod: &Line) -> Markup {
    let class = match pod.phase.as_str() {
        "Running" | "Succeeded" => "pill fresh",
        "Failed" => "pill troubled",
        _ => "pill stale",
    };
    html! { span class=(class) { (pod.phase) } }
}
