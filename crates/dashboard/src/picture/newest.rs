//! The newest forecast: the last observations, what is expected next, and how sure the model is.

use maud::{Markup, html};

use super::chart::{self, Column, Paper, place};
use super::scale::{Scale, number, range_of, signed, ticks, time_ticks};
use crate::model::period::Period;
use crate::model::twin::{Climatology, Forecast, Observation, Twin};

const PAPER: Paper = Paper { width: 680.0, height: 340.0, left: 44.0, right: 14.0, top: 26.0, bottom: 34.0 };
/// About so many horizontal lines.
const LEVELS: usize = 7;
/// Observations shown before the forecast.
const BEFORE: usize = 30;

/// Draws it; nothing when there is neither observation nor forecast.
pub fn draw(twin: &Twin) -> Option<Markup> {
    let observed = &twin.observed[twin.observed.len().saturating_sub(BEFORE)..];
    let first = observed.first().map(|o| &o.period).or(twin.newest.first().map(|f| &f.target))?;
    let last = twin.newest.last().map(|f| &f.target).into_iter().chain(observed.last().map(|o| &o.period)).max()?;
    let climatology = twin.climatology();
    let normals = normals(first, last, &climatology);
    let values = observed.iter().map(|o| o.value).chain(normals.iter().map(|(_, value)| *value));
    let y_range = range_of(values.chain(twin.newest.iter().flat_map(spread)), LEVELS);
    let (x, y) = (PAPER.across((first.from(), last.until())), PAPER.upward(y_range));
    let name = format!("newest-{}", twin.newest.first().map_or_else(String::new, |f| f.issue.to_string()));
    Some(html! {
        svg.plot.newest viewBox=(PAPER.view_box()) role="img" aria-labelledby="newest-title newest-desc" tabindex="0" data-plot=(name) {
            title id="newest-title" { "Newest forecast" }
            desc id="newest-desc" { (words(twin)) }
            (chart::levels(&PAPER, &y, &ticks(y_range.0, y_range.1, LEVELS)))
            (chart::times(&PAPER, &x, &time_ticks(first.from(), last.until(), 9)))
            (chart::unit(&PAPER, &twin.unit))
            path.normal d=(chart::line(normals.iter().map(|(period, value)| Some((x.at(period.middle()), y.at(*value)))))) {}
            (forecast(twin, observed, &x, &y))
            path.observed d=(chart::line(observed.iter().map(|o| Some((x.at(o.period.middle()), y.at(o.value)))))) {}
            @for o in observed { circle.observed cx=(place(x.at(o.period.middle()))) cy=(place(y.at(o.value))) r="2.6" {} }
            (chart::columns(&PAPER, &columns(twin, observed, &climatology, &x)))
        }
    })
}

fn spread(f: &Forecast) -> Vec<f64> {
    let bounds = f.interval_95.or(f.interval_80);
    bounds.map_or_else(|| vec![f.mean], |(low, high)| vec![f.mean, low, high])
}

fn normals(first: &Period, last: &Period, climatology: &Climatology) -> Vec<(Period, f64)> {
    let mut normals = Vec::new();
    let mut period = first.clone();
    while period <= *last && normals.len() < 2 * BEFORE {
        if let Some(value) = climatology.at(&period) {
            normals.push((period.clone(), value));
        }
        period = period.plus(1);
    }
    normals
}

/// Bands and mean, opening from the newest observation that the forecast knows.
fn forecast(twin: &Twin, observed: &[Observation], x: &Scale, y: &Scale) -> Markup {
    let issue = twin.newest.first().map(|f| &f.issue);
    let root =
        observed.iter().rev().find(|o| Some(&o.period) == issue).map(|o| (x.at(o.period.middle()), y.at(o.value)));
    let area = |interval: fn(&Forecast) -> Option<(f64, f64)>| {
        let tip = root.map(|(at, value)| Some((at, value, value)));
        let rest =
            twin.newest.iter().map(|f| interval(f).map(|(low, high)| (x.at(f.target.middle()), y.at(low), y.at(high))));
        chart::band(tip.into_iter().chain(rest))
    };
    let mean =
        root.map(Some).into_iter().chain(twin.newest.iter().map(|f| Some((x.at(f.target.middle()), y.at(f.mean)))));
    html! {
        @if let Some(issue) = issue {
            @let at = place(x.at(issue.until()));
            line.now x1=(at) x2=(at) y1=(PAPER.top) y2=(PAPER.height - PAPER.bottom) {}
        }
        path.band.wide d=(area(|f| f.interval_95)) {}
        path.band d=(area(|f| f.interval_80)) {}
        path.forecast d=(chart::line(mean)) {}
        @for f in &twin.newest {
            circle.forecast cx=(place(x.at(f.target.middle()))) cy=(place(y.at(f.mean))) r="3" data-target=(f.target) {}
        }
    }
}

fn columns(twin: &Twin, observed: &[Observation], climatology: &Climatology, x: &Scale) -> Vec<Column> {
    let unit = &twin.unit;
    let usual = |period: &Period| {
        climatology.at(period).map_or_else(String::new, |value| format!("\nusual {} {unit}", number(value, 2)))
    };
    let column = |period: &Period, text: String| Column {
        from: x.at(period.from()),
        until: x.at(period.until()),
        at: x.at(period.middle()),
        period: period.to_string(),
        text,
    };
    let past = observed.iter().map(|o| {
        let text = format!("{}\nobserved {} {unit}{}", o.period.text(), number(o.value, 2), usual(&o.period));
        column(&o.period, text)
    });
    let is_past = |f: &&Forecast| observed.last().is_none_or(|last| f.target > last.period);
    let future = twin.newest.iter().filter(is_past).map(|f| {
        let mut text = format!("{}\nforecast {} {unit}", f.target.text(), number(f.mean, 2));
        for (share, interval) in [(80, f.interval_80), (95, f.interval_95)] {
            if let Some((low, high)) = interval {
                text.push_str(&format!("\n{share} %: {} to {}", number(low, 2), number(high, 2)));
            }
        }
        text.push_str(&usual(&f.target));
        column(&f.target, text)
    });
    past.chain(future).collect()
}

/// The picture in words.
fn words(twin: &Twin) -> String {
    let mut words = String::new();
    if let Some(last) = twin.observed.last() {
        words.push_str(&format!(
            "Newest observation: {} {} in {}. ",
            number(last.value, 2),
            twin.unit,
            last.period.text()
        ));
    }
    let climatology = twin.climatology();
    for f in &twin.newest {
        words.push_str(&format!("{}: {} {}", f.target.text(), number(f.mean, 2), twin.unit));
        if let Some(usual) = climatology.at(&f.target) {
            words.push_str(&format!(" ({} to usual)", signed(f.mean - usual, 2)));
        }
        if let Some((low, high)) = f.interval_95 {
            words.push_str(&format!(", 95 % between {} and {}", number(low, 2), number(high, 2)));
        }
        words.push_str(". ");
    }
    words
}
