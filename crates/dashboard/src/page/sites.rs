//! The page of all sites: what they have, and how busy they are.

use dte_base::units::Bytes;
use maud::{Markup, html};

use super::frame::{Live, Viewer, page, part, unreadable};
use super::words;
use crate::model::compute::{Site, Sites};
use crate::picture::scale::number;

/// The whole page.
pub fn whole(sites: &Sites, viewer: &Viewer) -> Markup {
    let live = Live { stream: "/ui/compute/live", fragment: "/ui/sites/fragment" };
    let content = html! {
        div.title { div { h1 { "Sites" } p.lead { "Where pods run. A pod that names none goes to the one that has its data and where it waits the shortest." } } }
        (fragment(sites))
    };
    page("Sites", &[("Sites", "/ui/sites")], Some(viewer), Some(live), &content)
}

/// The parts that change.
pub fn fragment(sites: &Sites) -> Markup {
    html! { div.grid { (part("sites", "card full", None, &table(sites))) } }
}

fn table(sites: &Sites) -> Markup {
    html! {
        @if !sites.sites.is_empty() {
            table {
                thead { tr { @for heading in ["Site", "State", "Cores", "Memory", "Places", "Free", "Running", "Waiting", "A run takes", "Images", "Sandbox"] { th scope="col" { (heading) } } } }
                tbody { @for site in &sites.sites { (row(site)) } }
            }
        }
        (unreadable(&sites.missing, "sites"))
    }
}

fn row(site: &Site) -> Markup {
    let count = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), words::count);
    html! {
        tr {
            th scope="row" { (site.name) @if let Some(problem) = &site.problem { span.sub { (problem) } } }
            td { span class=(if site.is_up { "pill fresh" } else { "pill troubled" }) { (if site.is_up { "up" } else { "down" }) } }
            td { (site.cpu_millis.map_or_else(|| "–".to_owned(), |millis| number(millis as f64 / 1e3, 1))) }
            td { (site.memory.map_or_else(|| "–".to_owned(), |bytes| Bytes(bytes).to_string())) }
            td { (count(site.places)) }
            td { (count(site.free)) @if let (Some(places), Some(free)) = (site.places, site.free) { " " meter min="0" max=(places) value=(places.saturating_sub(free)) aria-label="places taken" {} } }
            td { (words::count(site.running)) }
            td { (words::count(site.waiting)) }
            td { (site.mean_run_seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{} s", number(seconds, 1)))) }
            td { code { (site.images.join(", ")) } }
            td { (site.sandbox) @if site.can_suspend { span.sub { "can suspend" } } }
        }
    }
}
