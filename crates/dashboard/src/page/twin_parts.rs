//! The smaller parts of a twin's page: tables and lists.

use dte_base::units::Bytes;
use maud::{Markup, html};

use super::frame::unreadable;
use super::words;
use crate::model::twin::{Alert, SetAside, Skill, Twin};
use crate::picture::scale::{number, signed};
use crate::picture::skill;

/// Alerts that are listed one by one.
const ALERTS_SHOWN: usize = 4;
/// Observations set aside that are listed.
const SET_ASIDE_SHOWN: usize = 5;

/// The newest forecast as a table.
pub fn newest_table(twin: &Twin) -> Markup {
    let climatology = twin.climatology();
    let interval = |interval: Option<(f64, f64)>| {
        interval.map_or_else(|| "–".to_owned(), |(low, high)| format!("{} to {}", number(low, 2), number(high, 2)))
    };
    html! {
        details #newest-table {
            summary { "The figures" @if let Some(did) = &twin.newest_did { ", file " code { (did) } } }
            table {
                thead { tr { th scope="col" { "For" } th scope="col" { "Forecast, " (twin.unit) } th scope="col" { "To usual" } th scope="col" { "80 %" } th scope="col" { "95 %" } } }
                tbody { @for f in &twin.newest {
                    tr {
                        th scope="row" { (f.target.text()) }
                        td { (number(f.mean, 2)) }
                        td { (climatology.at(&f.target).map_or_else(|| "–".to_owned(), |usual| signed(f.mean - usual, 2))) }
                        td { (interval(f.interval_80)) }
                        td { (interval(f.interval_95)) }
                    }
                } }
            }
        }
    }
}

/// Skill per lead, chart and table.
pub fn skill(twin: &Twin) -> Markup {
    if twin.skill.is_empty() {
        return html! { p.empty { "No forecast has met its observation yet." } (unreadable(&twin.missing, "skill")) };
    }
    let cell = |value: Option<f64>, best: Option<f64>| {
        let is_best = value.is_some() && value == best;
        html! { td.best[is_best] { (value.map_or_else(|| "–".to_owned(), |v| number(v, 2))) } }
    };
    let has_coverage = twin.skill.iter().any(|row| row.coverage_80.is_some());
    html! {
        @if let Some(picture) = skill::draw(twin) { (picture) }
        table.skill {
            thead { tr {
                th scope="col" { "Lead" } th scope="col" { "Model" } th scope="col" { "Persist." } th scope="col" { "Climat." }
                @if has_coverage { th scope="col" { abbr title="how often the 80 % interval held the truth" { "in 80 %" } } }
                th scope="col" { "Judged" }
            } }
            tbody { @for row in &twin.skill {
                @let best = best(row);
                tr {
                    th scope="row" { (row.lead) }
                    (cell(row.model, best)) (cell(row.persistence, best)) (cell(row.climatology, best))
                    @if has_coverage { td { (row.coverage_80.map_or_else(|| "–".to_owned(), |share| format!("{} %", number(share * 100.0, 0)))) } }
                    td { (words::count(row.count)) }
                }
            } }
        }
        p.note { "Root mean square error in " (twin.unit) ", out of sample; the best of each lead is bold. " (gate(twin)) }
        (unreadable(&twin.missing, "skill"))
    }
}

/// What the twin's own demand says.
fn gate(twin: &Twin) -> Markup {
    let Some(gate) = &twin.gate else { return html! {} };
    let leads: Vec<String> = gate.not_better_at.iter().map(u32::to_string).collect();
    html! {
        @match gate.state.as_str() {
            "passed" => span.good { "The skill gate is passed." },
            "failed" => span.bad { "The skill gate fails at lead " (leads.join(", ")) "." },
            _ => "The skill gate waits for more forecasts.",
        }
    }
}

fn best(row: &Skill) -> Option<f64> {
    [row.model, row.persistence, row.climatology].into_iter().flatten().min_by(f64::total_cmp)
}

/// The newest alerts; the older ones folded away.
pub fn alerts(twin: &Twin) -> Markup {
    let shown = twin.alerts.len().min(ALERTS_SHOWN);
    html! {
        @if twin.alerts.is_empty() { p.empty { "None so far." } } @else { (alert_rows(&twin.alerts[..shown])) }
        @if shown < twin.alerts.len() {
            details #older-alerts { summary { (twin.alerts.len() - shown) " earlier" } (alert_rows(&twin.alerts[shown..])) }
        }
        (unreadable(&twin.missing, "alerts"))
    }
}

fn alert_rows(alerts: &[Alert]) -> Markup {
    html! {
        ul.alerts { @for alert in alerts {
            li {
                strong { (alert.issue.text()) }
                span.until { @if alert.is_open { "going on" } @else if let Some(until) = &alert.until { "until " (until.text()) } }
                span.what { (if alert.text.is_empty() { &alert.name } else { &alert.text }) }
                span.detail { (alert.detail) }
            }
        } }
    }
}

/// Where and when the last run was, and why there.
pub fn last_run(twin: &Twin) -> Markup {
    html! {
        @match twin.last_run() {
            None => p.empty { "Nothing has run yet." },
            Some(run) => dl.pairs {
                dt { "For" } dd { (run.arrival) @if !run.model.is_empty() { ", model " (run.model) } }
                dt { "State" } dd { span class=(if run.is_failed() { "bad" } else { "" }) { (run.state) } @if let Some(reason) = &run.reason { ": " (reason) } }
                @if let Some(site) = &run.site { dt { "Where" } dd { (site) } }
                @if let Some(why) = &run.why { dt { "Why there" } dd { (why) } }
                @if let Some(started) = run.started { dt { "Started" } dd { (words::moment(started)) } }
                @if let (Some(started), Some(finished)) = (run.started, run.finished) { dt { "Took" } dd { (words::span(finished.since(started))) } }
                @if let Some(seconds) = run.cpu_seconds { dt { "Processor" } dd { (number(seconds, 3)) " s" } }
                @if let Some(bytes) = run.max_rss_bytes { dt { "Memory" } dd { (Bytes(bytes)) } }
                dt { "Pod" } dd { code { (run.uid) } }
            }
        }
        (unreadable(&twin.missing, "run"))
    }
}

/// What it cost, and what was held or refused.
pub fn books(twin: &Twin) -> Markup {
    html! {
        @if !twin.cost.is_empty() {
            table.cost { tbody { @for line in &twin.cost { tr { th scope="row" { (line.what) } td { (line.amount) } td.of { (line.of) } } } } }
        }
        (unreadable(&twin.missing, "cost"))
        dl.pairs {
            dt { "Arrived" } dd { (words::count(twin.counts.arrivals)) }
            dt { "Held" } dd { (words::count(twin.counts.held)) }
            dt { "Refused" } dd { (words::count(twin.counts.refused)) }
        }
        (set_aside("held", "Held until what comes before has arrived", &twin.held))
        (set_aside("refused", "Refused", &twin.refused))
        (unreadable(&twin.missing, "books"))
    }
}

fn set_aside(id: &str, heading: &str, observations: &[SetAside]) -> Markup {
    html! { @if !observations.is_empty() {
        details id=(id) open {
            summary { (heading) }
            ul.plain { @for observation in observations.iter().take(SET_ASIDE_SHOWN) {
                li { code { (observation.name) } ": " (observation.reason) @if let Some(since) = observation.since { ", " (words::moment(since)) } }
            } }
            @if observations.len() > SET_ASIDE_SHOWN { p.note { "and " (observations.len() - SET_ASIDE_SHOWN) " more" } }
        }
    } }
}
