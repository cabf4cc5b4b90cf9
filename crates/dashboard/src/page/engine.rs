//! The engine's page.

use dte_base::units::Bytes;
use maud::{Markup, html};

use super::frame::{Live, Viewer, page, part, unreadable};
use super::words;
use crate::address;
use crate::model::engine::Engine;
use crate::picture::scale::number;

/// The whole page.
pub fn whole(engine: &Engine, viewer: &Viewer) -> Markup {
    let live = Live { stream: "/ui/live", fragment: "/ui/fragment" };
    page("Engine", &[], Some(viewer), Some(live), &fragment(engine))
}

/// The parts that change.
pub fn fragment(engine: &Engine) -> Markup {
    html! {
        (part("head", "head", None, &head(engine)))
        div.grid {
            (part("twins", "card full", Some("Twins"), &twins(engine)))
            (part("queues", "card", Some("Work queues"), &queues(engine)))
            (part("log", "card", Some("Event log"), &log(engine)))
            (part("pods", "card", Some("Pods that wait or run"), &pods(engine)))
            (part("sites", "card", Some("Sites"), &sites(engine)))
            (part("rses", "card wide", Some("Storage"), &rses(engine)))
            (part("services", "card full", Some("Services"), &services(engine)))
        }
    }
}

fn head(engine: &Engine) -> Markup {
    let dead: u64 = engine.queues.iter().map(|queue| queue.dead).sum();
    let running: u64 = engine.queues.iter().map(|queue| queue.running).sum();
    let waiting: u64 = engine.queues.iter().map(|queue| queue.ready).sum();
    html! {
        div.title {
            div { h1 { "Engine" } }
            p.state {
                span class=(if dead == 0 { "pill fresh" } else { "pill troubled" }) { (if dead == 0 { "well" } else { "needs a look" }) }
                @if dead > 0 { span { (words::count(dead)) " pieces of work are dead" } }
                span { "version " (engine.version) }
            }
        }
        dl.figures {
            div { dt { "Twins" } dd { (engine.twins.len()) } }
            div { dt { "Events" } dd #position { (words::count(u64::try_from(engine.log.position).unwrap_or(0))) } @if let Some(rate) = engine.log.rate { dd.note { (number(rate, if rate < 10.0 { 1 } else { 0 })) " a second" } } }
            div { dt { "Work running" } dd { (words::count(running)) } dd.note { (words::count(waiting)) " waiting or planned" } }
            div { dt { "Up" } dd { (words::span(engine.uptime)) } }
            @if let Some(memory) = engine.memory { div { dt { "Memory" } dd { (Bytes(memory)) } } }
        }
    }
}

fn twins(engine: &Engine) -> Markup {
    html! {
        @if engine.twins.is_empty() {
            p.empty { "There is no twin yet: " code { "dte twin apply twin.yaml" } }
        } @else {
            table {
                thead { tr { th scope="col" { "Name" } th scope="col" { "State" } th scope="col" { "Newest" } th scope="col" { "Runs" } th scope="col" { "Alerts" } th scope="col" { "Owner" } } }
                tbody { @for twin in &engine.twins {
                    tr {
                        th scope="row" { a href=(address::twin(&twin.name)) { (twin.name) } @if !twin.title.is_empty() { span.sub { (twin.title) } } }
                        td { span class=(format!("pill {}", twin.state.word())) { (twin.state.word()) } @if let Some(behind) = twin.behind.filter(|n| *n > 0) { " " (behind) " behind" } }
                        td { (twin.last.as_deref().unwrap_or("–")) }
                        td { (words::count(twin.runs)) }
                        td { (words::count(twin.alerts)) }
                        td { (twin.owner) }
                    }
                } }
            }
        }
        (unreadable(&engine.missing, "twins"))
    }
}

fn queues(engine: &Engine) -> Markup {
    html! {
        @if engine.queues.is_empty() { p.empty { "Nothing waits." } } @else {
            table {
                thead { tr { th scope="col" { "Queue" } th scope="col" { abbr title="waiting, or planned for later" { "Waiting" } } th scope="col" { "Running" } th scope="col" { "Dead" } } }
                tbody { @for queue in &engine.queues {
                    tr { th scope="row" { code { (queue.name) } } td { (words::count(queue.ready)) } td { (words::count(queue.running)) } td.bad[queue.dead > 0] { (words::count(queue.dead)) } }
                } }
            }
        }
        (unreadable(&engine.missing, "queues"))
    }
}

fn log(engine: &Engine) -> Markup {
    html! {
        dl.pairs {
            dt { "Position" } dd { (words::count(u64::try_from(engine.log.position).unwrap_or(0))) }
            @if let Some(newest) = engine.log.newest { dt { "Newest" } dd { (words::moment(newest)) } }
        }
        @if !engine.log.recent.is_empty() {
            table {
                thead { tr { th scope="col" { "Among the newest " (engine.log.recent.iter().map(|(_, n)| n).sum::<u64>()) } th scope="col" { "Count" } } }
                tbody { @for (kind, count) in &engine.log.recent { tr { th scope="row" { code { (kind) } } td { (words::count(*count)) } } } }
            }
        }
        (unreadable(&engine.missing, "log"))
    }
}

fn pods(engine: &Engine) -> Markup {
    html! {
        @if engine.pods.is_empty() { p.empty { "None." } } @else {
            table {
                thead { tr { th scope="col" { "Pod" } th scope="col" { "Phase" } th scope="col" { "Site" } th scope="col" { "User" } } }
                tbody { @for pod in &engine.pods {
                    tr { th scope="row" { a href=(address::pod(&pod.uid)) { (pod.name) } } td { (pod.phase) } td { (pod.site) } td { (pod.user) } }
                } }
            }
        }
        p.note { a href="/ui/pods" { "All pods" } }
        (unreadable(&engine.missing, "pods"))
    }
}

fn sites(engine: &Engine) -> Markup {
    html! {
        @if engine.sites.is_empty() { p.empty { "None." } } @else {
            table {
                thead { tr { th scope="col" { "Site" } th scope="col" { "Plugin" } th scope="col" { "State" } th scope="col" { "Running" } } }
                tbody { @for site in &engine.sites {
                    tr { th scope="row" { (site.name) } td { (site.plugin) } td { (site.state) } td { (site.running.map_or_else(|| "–".to_owned(), words::count)) } }
                } }
            }
        }
        p.note { a href="/ui/sites" { "Capacity and queues" } }
        (unreadable(&engine.missing, "sites"))
    }
}

fn rses(engine: &Engine) -> Markup {
    html! {
        @if engine.rses.is_empty() { p.empty { "None." } } @else {
            table {
                thead { tr { th scope="col" { "RSE" } th scope="col" { "Kind" } th scope="col" { "Files" } th scope="col" { "Used" } th scope="col" { "Of" } } }
                tbody { @for rse in &engine.rses {
                    tr {
                        th scope="row" { (rse.name) } td { (rse.kind) } td { (rse.files.map_or_else(|| "–".to_owned(), words::count)) }
                        td { (rse.used.map_or_else(|| "–".to_owned(), |used| Bytes(used).to_string())) }
                        td { (rse.total.filter(|total| *total > 0).map_or_else(|| "–".to_owned(), |total| Bytes(total).to_string())) }
                    }
                } }
            }
        }
        (unreadable(&engine.missing, "rses"))
    }
}

fn services(engine: &Engine) -> Markup {
    html! {
        @if !engine.services.is_empty() {
            ul.services { @for service in &engine.services {
                li {
                    strong { (service.name) }
                    span.detail { (words::count(service.requests)) (if service.requests == 1 { " request" } else { " requests" }) }
                    code { (service.prefixes.join(" ")) }
                    span.detail.bad[service.errors > 0] { (words::count(service.errors)) (if service.errors == 1 { " error" } else { " errors" }) }
                }
            } }
        }
        (unreadable(&engine.missing, "services"))
    }
}
