//! Error against lead: the model beside the two forecasts that cost nothing.

use maud::{Markup, html};

use super::chart::{self, Paper, place};
use super::scale::{Scale, number, range_of, ticks};
use crate::model::twin::{Skill, Twin};

const PAPER: Paper = Paper { width: 372.0, height: 216.0, left: 36.0, right: 86.0, top: 26.0, bottom: 40.0 };
/// Labels at the ends of the lines keep so far apart.
const APART: f64 = 14.0;

type Read = fn(&Skill) -> Option<f64>;
const SERIES: [(&str, &str, Read); 3] = [
    ("climatology", "climatology", |skill| skill.climatology),
    ("persistence", "persistence", |skill| skill.persistence),
    ("model", "model", |skill| skill.model),
];

/// Draws it; nothing before any forecast could be judged.
pub fn draw(twin: &Twin) -> Option<Markup> {
    let rows = &twin.skill;
    let (first, last) = (rows.first()?.lead, rows.last()?.lead);
    let values: Vec<f64> = SERIES.iter().flat_map(|(_, _, read)| rows.iter().filter_map(read)).collect();
    if values.is_empty() {
        return None;
    }
    let (_, high) = range_of(values.into_iter(), 4);
    let y = PAPER.upward((0.0, high));
    let x = PAPER.across((f64::from(first) - 0.35, f64::from(last) + 0.25));
    Some(html! {
        svg.plot.skill viewBox=(PAPER.view_box()) role="img" aria-labelledby="skill-title" {
            title id="skill-title" { "Root mean square error by lead; the table has the figures" }
            (chart::levels(&PAPER, &y, &ticks(0.0, high, 4)))
            (chart::unit(&PAPER, &format!("RMSE, {}", twin.unit)))
            g.axis aria-hidden="true" {
                @for row in rows {
                    text x=(place(x.at(f64::from(row.lead)))) y=(PAPER.height - PAPER.bottom + 17.0) text-anchor="middle" { (row.lead) }
                }
                text.name x=(place(f64::midpoint(PAPER.left, PAPER.width - PAPER.right))) y=(PAPER.height - 6.0) text-anchor="middle" { "lead, " (twin.grain().count(2).trim_start_matches("2 ")) }
            }
            @for (class, _, read) in SERIES {
                path class=(class) d=(chart::line(rows.iter().map(|row| read(row).map(|v| (x.at(f64::from(row.lead)), y.at(v)))))) {}
                @for row in rows {
                    @if let Some(v) = read(row) {
                        circle class=(class) cx=(place(x.at(f64::from(row.lead)))) cy=(place(y.at(v))) r="3" { title { (class) ", lead " (row.lead) ": " (number(v, 3)) " " (twin.unit) } }
                    }
                }
            }
            (labels(rows, &y))
        }
    })
}

/// The names of the lines at their ends, moved apart where they would overlap.
fn labels(rows: &[Skill], y: &Scale) -> Markup {
    let mut ends: Vec<(&str, f64)> =
        SERIES.iter().filter_map(|(_, name, read)| Some((*name, y.at(rows.iter().rev().find_map(read)?)))).collect();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    for i in 1..ends.len() {
        if ends[i].1 < ends[i - 1].1 + APART {
            ends[i].1 = ends[i - 1].1 + APART;
        }
    }
    html! {
        g.names aria-hidden="true" {
            @for (name, at) in ends {
                text class=(name) x=(PAPER.width - PAPER.right + 10.0) y=(place(at)) dy="0.32em" { (name) }
            }
        }
    }
}
