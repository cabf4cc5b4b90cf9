//! The page of one pod: how it goes, what happened when, why it is where it is, and what it writes.

use dte_base::units::Bytes;
use maud::{Markup, html};

use super::console::console;
use super::frame::{Live, Viewer, page, part, unreadable};
use super::{pods, words};
use crate::address;
use crate::model::compute::Pod;
use crate::picture::scale::number;

/// The whole page.
pub fn whole(pod: &Pod, viewer: &Viewer) -> Markup {
    let own = address::pod(&pod.line.uid);
    let fragment_of = format!("{own}/fragment?container={}", address::component(&pod.shown));
    // What has ended does not change any more.
    let live = Live { stream: "/ui/compute/live", fragment: &fragment_of };
    let live = (!pod.line.has_ended()).then_some(live);
    page(
        &pod.line.name,
        &[("Pods", "/ui/pods"), (&pod.line.name, &own)],
        Some(viewer),
        live,
        &html! { (fragment(pod)) (console(pod)) },
    )
}

/// The parts that change.
pub fn fragment(pod: &Pod) -> Markup {
    html! {
        (part("head", "head", None, &head(pod)))
        div.grid {
            (part("log", "card full", Some("Log"), &log(pod)))
            (part("timeline", "card", Some("What happened"), &timeline(pod)))
            (part("containers", "card", Some("Containers"), &containers(pod)))
            (part("placement", "card", Some("Why there"), &placement(pod)))
        }
    }
}

fn head(pod: &Pod) -> Markup {
    let line = &pod.line;
    html! {
        div.title {
            div { h1 { (line.name) } p.lead { code { (line.uid) } } }
            p.state {
                (pods::phase(line))
                @if let Some(code) = line.exit_code { span { "exit code " (code) } }
                @if let Some(reason) = &line.reason { span { (reason) } }
            }
        }
        @if let Some(waits) = &pod.waits { p.note { "It waits: " (waits) } }
        @if pod.waits.is_none() { @if let Some(message) = &pod.message { p.note { (message) } } }
        dl.figures {
            div { dt { "Site" } dd { (line.site.as_deref().unwrap_or("–")) } }
            div { dt { "User" } dd { (line.user) } }
            @if let (Some(created), Some(started)) = (line.created, line.started) { div { dt { "Waited" } dd { (words::span(started.since(created))) } } }
            @if let (Some(started), Some(finished)) = (line.started, line.finished) { div { dt { "Ran" } dd { (words::span(finished.since(started))) } } }
            @if let Some(seconds) = pod.cpu_seconds { div { dt { "Processor" } dd { (number(seconds, 2)) small { "s" } } } }
            @if let Some(memory) = pod.memory { div { dt { "Memory, at most" } dd { (Bytes(memory)) } } }
        }
    }
}

fn log(pod: &Pod) -> Markup {
    html! {
        @if pod.containers.len() > 1 {
            p.note { "Of the container "
                @for (index, one) in pod.containers.iter().enumerate() {
                    @if index > 0 { ", " }
                    @if one.name == pod.shown { strong { (one.name) } } @else { a href=(address::pod_log(&pod.line.uid, &one.name)) { (one.name) } }
                }
            }
        }
        @if pod.log.is_empty() { p.empty { "Nothing is written." } } @else { pre.output tabindex="0" { (pod.log) } }
        (unreadable(&pod.missing, "log"))
    }
}

fn timeline(pod: &Pod) -> Markup {
    html! {
        ol.steps { @for (at, what) in &pod.timeline {
            li { @if let Some(at) = at { (words::moment(*at)) } span { (what) } }
        } }
    }
}

fn containers(pod: &Pod) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Container" } th scope="col" { "State" } th scope="col" { "Exit code" } } }
            tbody { @for one in &pod.containers {
                tr {
                    th scope="row" { (one.name) span.sub { (if one.is_init { "init, " } else { "" }) (one.image) } }
                    td { (one.state) }
                    td { (one.exit_code.map_or_else(|| "–".to_owned(), |code| code.to_string())) }
                }
            } }
        }
    }
}

fn placement(pod: &Pod) -> Markup {
    html! {
        p { (pod.why_there) }
        @if !pod.considered.is_empty() {
            table {
                thead { tr { th scope="col" { "Site" } th scope="col" { "Thought of it" } } }
                tbody { @for one in &pod.considered { tr { th scope="row" { (one.site) } td { (one.verdict) span.sub { (one.reason) } } } } }
            }
        }
    }
}
