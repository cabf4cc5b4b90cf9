//! A twin's page.

use maud::{Markup, html};

use super::frame::{Live, Viewer, page, part, unreadable};
use super::twin_parts as parts;
use super::words;
use crate::address;
use crate::model::period::{Grain, Period};
use crate::model::twin::{State, Twin};
use crate::model::view::{Measure, View};
use crate::picture::scale::{number, signed};
use crate::picture::{lineage, newest, record};

/// The whole page.
pub fn whole(twin: &Twin, view: Option<&View>, viewer: &Viewer) -> Markup {
    let home = address::twin(&twin.name);
    let live = Live { stream: &format!("{home}/live"), fragment: &format!("{home}/fragment") };
    page(&twin.name, &[(&twin.name, &home)], Some(viewer), Some(live), &fragment(twin, view))
}

/// The parts of the page that change.
pub fn fragment(twin: &Twin, view: Option<&View>) -> Markup {
    html! {
        (part("head", "head", None, &head(twin)))
        div.grid {
            (part("newest", "card wide", Some("Newest forecast"), &newest_part(twin)))
            (part("skill", "card", Some("Skill so far"), &parts::skill(twin)))
            (part("record", "card full", Some("Observed against forecast"), &record_part(twin, view)))
            (part("lineage", "card full", Some("Where the newest forecast came from"), &lineage_part(twin)))
            (part("alerts", "card", Some("Alerts"), &parts::alerts(twin)))
            (part("run", "card", Some("Last run"), &parts::last_run(twin)))
            (part("books", "card", Some("Cost and intake"), &parts::books(twin)))
        }
    }
}

/// Its name, its state, and the figures that matter most.
fn head(twin: &Twin) -> Markup {
    let climatology = twin.climatology();
    let grain = twin.grain();
    html! {
        div.title {
            div {
                h1 { (if twin.title.is_empty() { &twin.name } else { &twin.title }) }
                @if !twin.description.is_empty() { p.lead { (twin.description) } }
            }
            p.state {
                span class=(format!("pill {}", twin.state.word())) { (twin.state.word()) }
                @if let Some(behind) = behind(twin) { span { (behind) } }
                @if let Some(run) = twin.last_run() && let Some(finished) = run.finished {
                    span { "last run " (words::moment(finished)) }
                }
                @if let Some(reason) = &twin.reason { span.reason { (reason) } }
            }
        }
        (unreadable(&twin.missing, "head"))
        dl.figures {
            @if let Some(last) = twin.observed.last() {
                div {
                    dt { "Newest observation, " (last.period.text()) }
                    dd { (number(last.value, 2)) small { (twin.unit) } }
                    @if let Some(usual) = climatology.at(&last.period) { dd.note { (signed(last.value - usual, 2)) " to usual" } }
                }
            }
            @if let Some(next) = twin.newest.first() {
                div {
                    dt { "Forecast for " (next.target.text()) }
                    dd { (number(next.mean, 2)) small { (twin.unit) } }
                    @if let Some((low, high)) = next.interval_95 { dd.note { "95 %: " (number(low, 2)) " to " (number(high, 2)) } }
                }
            }
            @if let Some(skill) = twin.skill.first() && let (Some(model), Some(persistence)) = (skill.model, skill.persistence) {
                div {
                    dt { "Error at " (grain.count(i64::from(skill.lead))) }
                    dd { (number(model, 2)) small { (twin.unit) } }
                    dd.note { (words::count(skill.count)) " judged; persistence " (number(persistence, 2)) }
                }
            }
            div {
                dt { "Model runs" }
                dd { span #runs { (words::count(twin.counts.runs)) } }
                dd.note { (words::count(twin.counts.failed)) " failed" }
            }
            div {
                dt { "Alerts" }
                dd { (words::count(twin.counts.alerts)) }
                @if let Some(alert) = twin.alerts.first() { dd.note { "newest issued " (alert.issue.text()) } }
            }
        }
    }
}

fn behind(twin: &Twin) -> Option<String> {
    let behind = twin.behind?;
    Some(match (behind, twin.state) {
        (..=0, State::Waiting | State::Troubled) => return None,
        (..=0, _) => "level with reality".to_owned(),
        (n, _) => format!("{} behind reality", twin.grain().count(n)),
    })
}

fn newest_part(twin: &Twin) -> Markup {
    let has_bands = twin.newest.iter().any(|f| f.interval_80.is_some() || f.interval_95.is_some());
    html! {
        @match newest::draw(twin) {
            Some(picture) => {
                p.key {
                    span.observed { "observed" }
                    span.forecast { "forecast" @if let Some(f) = twin.newest.first() { " issued " (f.issue.text()) } }
                    @if has_bands { span.band { "80 %" } span.band.wide { "95 %" } }
                    span.normal { "usual" @if let Some(years) = twin.climatology().years() { ", mean of " (years) } }
                }
                div.scroll { (picture) }
            }
            None => p.empty { "No observation has arrived yet." }
        }
        @if !twin.newest.is_empty() { (parts::newest_table(twin)) }
        (unreadable(&twin.missing, "newest"))
    }
}

fn record_part(twin: &Twin, view: Option<&View>) -> Markup {
    let Some(view) = view else { return html! { p.empty { "No observation has arrived yet." } } };
    let home = address::twin(&twin.name);
    let link = |query: String| format!("{home}?{query}#record");
    let leads: Vec<u32> = if twin.leads.is_empty() { vec![view.lead] } else { twin.leads.clone() };
    let windows = windows(twin.grain(), view);
    html! {
        div.controls {
            nav aria-label="Lead of the forecasts" {
                span { "Forecast made" }
                @for lead in leads {
                    a href=(link(view.query(Some(lead), None, None))) data-set={ "lead=" (lead) } aria-current=[(lead == view.lead).then_some("true")] { (lead) }
                }
                span { (twin.grain().count(2).trim_start_matches("2 ")) " before" }
            }
            nav aria-label="Scale" {
                @for (measure, name) in [(Measure::Anomaly, "departure from usual"), (Measure::Value, "value")] {
                    a href=(link(view.query(None, Some(measure), None))) data-set={ "scale=" (measure.word()) } aria-current=[(measure == view.measure).then_some("true")] { (name) }
                }
            }
            nav aria-label="Window" {
                a href=(link(view.query(None, None, Some(&view.moved(-0.5))))) data-move="-0.5" title="earlier" { "←" }
                @for (name, window) in &windows {
                    a href=(link(view.query(None, None, Some(window)))) data-set={ "window=" (window.0) "/" (window.1) } aria-current=[(*window == view.window).then_some("true")] { (name) }
                }
                a href=(link(view.query(None, None, Some(&view.moved(0.5))))) data-move="0.5" title="later" { "→" }
            }
        }
        p.key {
            span.observed { "observed" }
            span.forecast { "forecast of " (twin.grain().count(i64::from(view.lead))) " before" }
            span.band { "80 %" } span.band.wide { "95 %" }
            @if !twin.alerts.is_empty() { span.alert { "alerts issued" } }
            span.hint { "keys: ← → read, + − zoom, Shift + ← → move, 0 all" }
        }
        div.scroll { (record::draw(twin, view)) }
        p.note { (record::words(twin, view)) }
        (unreadable(&twin.missing, "record"))
    }
}

/// Windows to choose from: all, and the last years where that is less.
fn windows(grain: Grain, view: &View) -> Vec<(&'static str, (Period, Period))> {
    let per_year = match grain {
        Grain::Day => 365,
        Grain::Month => 12,
        Grain::Year => 1,
    };
    let last = [("20 years", 20), ("5 years", 5), ("2 years", 2)];
    let parts = last.into_iter().map(|(name, years)| (name, view.last_steps(years * per_year)));
    let mut windows = vec![("all", view.whole.clone())];
    windows.extend(parts.filter(|(_, window)| *window != view.whole));
    windows
}

fn lineage_part(twin: &Twin) -> Markup {
    html! {
        @match &twin.lineage {
            Some(lineage) => {
                div.scroll { (lineage::draw(lineage)) }
                @if let Some(document) = &lineage.document { p.note { "W3C PROV document: " code { (document) } } }
            }
            None if twin.counts.forecasts > 0 => p.empty { "The provenance of the newest forecast is not written yet." },
            None => p.empty { "There is no forecast yet." }
        }
        (unreadable(&twin.missing, "lineage"))
    }
}
