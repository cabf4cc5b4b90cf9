//! The frame of a plot: axes, grid, lines and bands.

use maud::{Markup, html};

use super::scale::{Scale, Tick};

/// The paper: the whole size, and the room for axes around the plot.
#[derive(Clone, Copy, Debug)]
pub struct Paper {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Paper {
    pub fn view_box(&self) -> String {
        format!("0 0 {} {}", self.width, self.height)
    }

    pub fn across(&self, range: (f64, f64)) -> Scale {
        Scale::new(range, (self.left, self.width - self.right))
    }

    /// Upward, as people draw.
    pub fn upward(&self, range: (f64, f64)) -> Scale {
        Scale::new(range, (self.height - self.bottom, self.top))
    }
}

/// A place as it is written: tenths are finer than any screen.
pub fn place(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A line through the points; a missing point breaks it.
pub fn line(points: impl Iterator<Item = Option<(f64, f64)>>) -> String {
    let mut path = String::new();
    let mut is_down = false;
    for point in points {
        match point.filter(|(x, y)| x.is_finite() && y.is_finite()) {
            Some((x, y)) => {
                path.push(if is_down { 'L' } else { 'M' });
                path.push_str(&format!("{} {}", place(x), place(y)));
                is_down = true;
            }
            None => is_down = false,
        }
    }
    path
}

/// The area between two lines: `(x, low, high)` from left to right. A missing point begins a new area.
pub fn band(points: impl Iterator<Item = Option<(f64, f64, f64)>>) -> String {
    let mut path = String::new();
    let mut run: Vec<(f64, f64, f64)> = Vec::new();
    for point in points.chain(std::iter::once(None)) {
        match point.filter(|(x, low, high)| x.is_finite() && low.is_finite() && high.is_finite()) {
            Some(point) => run.push(point),
            None if run.is_empty() => {}
            None => {
                path.push_str(&line(run.iter().map(|(x, _, high)| Some((*x, *high)))));
                for (x, low, _) in run.iter().rev() {
                    path.push_str(&format!("L{} {}", place(*x), place(*low)));
                }
                path.push('Z');
                run.clear();
            }
        }
    }
    path
}

/// Horizontal grid lines with their numbers at the left.
pub fn levels(paper: &Paper, y: &Scale, ticks: &[Tick]) -> Markup {
    let (left, right) = (paper.left, paper.width - paper.right);
    html! {
        g.grid aria-hidden="true" {
            @for tick in ticks {
                @let at = place(y.at(tick.value));
                line.zero[tick.is_major] x1=(left) x2=(right) y1=(at) y2=(at) {}
                text x=(left - 8.0) y=(at) dy="0.32em" text-anchor="end" { (tick.label) }
            }
        }
    }
}

/// The axis of time at the bottom.
pub fn times(paper: &Paper, x: &Scale, ticks: &[Tick]) -> Markup {
    let bottom = paper.height - paper.bottom;
    html! {
        g.axis aria-hidden="true" {
            line.base x1=(paper.left) x2=(paper.width - paper.right) y1=(bottom) y2=(bottom) {}
            @for tick in ticks {
                @let at = place(x.at(tick.value));
                line.tick.year[tick.is_major] x1=(at) x2=(at) y1=(bottom) y2=(bottom + 5.0) {}
                @if x.at(tick.value) < paper.width - paper.right - 4.0 {
                    text x=(at) y=(bottom + 19.0) text-anchor="middle" { (tick.label) }
                }
            }
        }
    }
}

/// What the vertical axis measures, written at its top.
pub fn unit(paper: &Paper, text: &str) -> Markup {
    html! { text.unit x=(paper.left - 8.0) y=(paper.top - 12.0) text-anchor="start" { (text) } }
}

/// A column of the plot that answers the pointer and the keyboard: its title is what a browser without scripts shows
/// as a tool tip, and what the script reads out.
pub struct Column {
    /// Left and right edge, and where the cross hair goes.
    pub from: f64,
    pub until: f64,
    pub at: f64,
    /// The step that it stands for: `1983-01`.
    pub period: String,
    pub text: String,
}

/// All columns of a plot, over everything else.
pub fn columns(paper: &Paper, columns: &[Column]) -> Markup {
    let height = place(paper.height - paper.bottom - paper.top);
    html! {
        line.cross x1="0" x2="0" y1=(paper.top) y2=(paper.height - paper.bottom) {}
        g.columns {
            @for column in columns {
                rect x=(place(column.from)) y=(paper.top) width=(place(column.until - column.from)) height=(height)
                    data-at=(place(column.at)) data-period=(column.period) { title { (column.text) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_where_points_are_missing() {
        let points = [Some((0.0, 1.0)), Some((1.0, 2.04)), None, Some((3.0, f64::NAN)), Some((4.0, 1.5))];
        assert_eq!(line(points.into_iter()), "M0 1L1 2M4 1.5");
    }

    #[test]
    fn bands_go_there_and_back() {
        let points = [Some((0.0, 1.0, 2.0)), Some((1.0, 1.0, 3.0)), None];
        assert_eq!(band(points.into_iter()), "M0 2L1 3L1 1L0 1Z");
        assert_eq!(band(std::iter::empty()), "");
    }
}
