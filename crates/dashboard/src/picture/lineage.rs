//! The lineage of a forecast as a graph: what was read, the run, what it made; below the run its code, its site and the
//! person it ran for. Data flow from left to right.

use dte_base::units::Bytes;
use maud::{Markup, html};

use super::chart::place;
use crate::model::lineage::{Collapsed, Lineage, Node};

const WIDTH: f64 = 1160.0;
const BOX_WIDTH: f64 = 296.0;
const BOX_HEIGHT: f64 = 72.0;
const GAP: f64 = 18.0;
const TOP: f64 = 12.0;
/// Between the run and what it was done with.
const BELOW: f64 = 62.0;
/// More ranges than this are drawn as one box.
const MOST_INPUTS: usize = 4;
/// Letters that fit into a box.
const LETTERS: usize = 38;

struct Place {
    x: f64,
    y: f64,
    width: f64,
}

impl Place {
    fn left(&self) -> (f64, f64) {
        (self.x, self.y + BOX_HEIGHT / 2.0)
    }
    fn right(&self) -> (f64, f64) {
        (self.x + self.width, self.y + BOX_HEIGHT / 2.0)
    }
    fn top(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y)
    }
    fn bottom(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + BOX_HEIGHT)
    }
}

/// Draws the graph.
pub fn draw(lineage: &Lineage) -> Markup {
    let inputs = input_nodes(&lineage.inputs);
    let outputs: Vec<&Node> = lineage.outputs.iter().take(MOST_INPUTS).collect();
    let rows = inputs.len().max(outputs.len()).max(1) as f64;
    let column = rows * BOX_HEIGHT + (rows - 1.0) * GAP;
    let middle = TOP + column / 2.0;
    let stack = |count: usize, x: f64| -> Vec<Place> {
        let height = count as f64 * BOX_HEIGHT + (count as f64 - 1.0) * GAP;
        (0..count)
            .map(|i| Place { x, y: middle - height / 2.0 + i as f64 * (BOX_HEIGHT + GAP), width: BOX_WIDTH })
            .collect()
    };
    let (input_places, output_places) = (stack(inputs.len(), 1.0), stack(outputs.len(), WIDTH - BOX_WIDTH - 1.0));
    let run = Place { x: (WIDTH - BOX_WIDTH) / 2.0, y: middle - BOX_HEIGHT / 2.0, width: BOX_WIDTH };
    let with: Vec<(&str, &str, &Node)> = [
        ("code", "with code", &lineage.code),
        ("site", "at site", &lineage.site),
        ("agent", "on behalf of", &lineage.agent),
    ]
    .into_iter()
    .filter_map(|(class, edge, node)| Some((class, edge, node.as_ref()?)))
    .collect();
    let with_y = (middle + column / 2.0).max(run.y + BOX_HEIGHT) + BELOW;
    let room = BOX_WIDTH + 2.0 * GAP;
    let with_places: Vec<Place> = (0..with.len())
        .map(|i| Place {
            x: WIDTH / 2.0 - BOX_WIDTH / 2.0 + (i as f64 - (with.len() as f64 - 1.0) / 2.0) * room,
            y: with_y,
            width: BOX_WIDTH,
        })
        .collect();
    let height = if with.is_empty() { TOP + column + TOP } else { with_y + BOX_HEIGHT + TOP };
    html! {
        svg.lineage viewBox=(format!("0 0 {WIDTH} {}", place(height))) role="img" aria-labelledby="lineage-title lineage-desc" {
            title id="lineage-title" { "Lineage of the newest forecast" }
            desc id="lineage-desc" { (words(lineage)) }
            defs { marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" { path d="M0 0.5L7.5 4L0 7.5Z" {} } }
            @for from in &input_places { (across(from.right(), run.left())) }
            @for to in &output_places { (across(run.right(), to.left())) }
            @for (to, (_, edge, _)) in with_places.iter().zip(&with) { (down(run.bottom(), to.top(), edge)) }
            (edge_name((input_places.first().map_or(run.x, |p| p.x + p.width) + run.x) / 2.0, middle, "used"))
            (edge_name((run.x + BOX_WIDTH + output_places.first().map_or(WIDTH, |p| p.x)) / 2.0, middle, "generated"))
            @for (at, node) in input_places.iter().zip(&inputs) { (draw_box(at, "entity", "observations", node)) }
            (draw_box(&run, "activity", "run", &lineage.run))
            @for (at, node) in output_places.iter().zip(&outputs) { (draw_box(at, "entity product", "forecast", node)) }
            @for (at, (class, _, node)) in with_places.iter().zip(&with) { (draw_box(at, class, class, node)) }
        }
    }
}

fn input_nodes(inputs: &[Collapsed]) -> Vec<Node> {
    let shown = if inputs.len() > MOST_INPUTS { MOST_INPUTS - 1 } else { inputs.len() };
    let mut nodes: Vec<Node> = inputs[..shown].iter().map(input_node).collect();
    if shown < inputs.len() {
        let rest: usize = inputs[shown..].iter().map(|group| group.count).sum();
        nodes.push(Node { label: format!("and {rest} more files"), details: Vec::new() });
    }
    nodes
}

fn input_node(group: &Collapsed) -> Node {
    let files = if group.count == 1 { "1 file".to_owned() } else { format!("{} files", group.count) };
    let size = group.bytes.map_or_else(String::new, |bytes| format!(", {}", Bytes(bytes)));
    let span = match &group.span {
        Some((first, last)) if first != last => {
            let gaps = match group.gaps {
                0 => String::new(),
                1 => ", 1 gap".to_owned(),
                n => format!(", {n} gaps"),
            };
            format!("{first} to {last}{gaps}")
        }
        _ => String::new(),
    };
    Node {
        label: group.label.clone(),
        details: [format!("{files}{size}"), span].into_iter().filter(|line| !line.is_empty()).collect(),
    }
}

fn draw_box(at: &Place, class: &str, kind: &str, node: &Node) -> Markup {
    let radius = if class.starts_with("entity") { "18" } else { "4" };
    html! {
        g class=(format!("node {class}")) {
            title { (node.label) @for detail in &node.details { "\n" (detail) } }
            rect x=(place(at.x)) y=(place(at.y)) width=(place(at.width)) height=(BOX_HEIGHT) rx=(radius) {}
            text.kind x=(place(at.x + 14.0)) y=(place(at.y + 17.0)) { (kind) }
            text.label x=(place(at.x + 14.0)) y=(place(at.y + 36.0)) { (clipped(&node.label, LETTERS)) }
            @let details = node.details.join(" · ");
            @if !details.is_empty() { text.detail x=(place(at.x + 14.0)) y=(place(at.y + 55.0)) { (clipped(&details, LETTERS + 6)) } }
        }
    }
}

/// The middle of a long name says least.
fn clipped(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let head = most * 3 / 5;
    let tail = most - head - 1;
    letters[..head].iter().chain(std::iter::once(&'…')).chain(&letters[letters.len() - tail..]).collect()
}

fn across(from: (f64, f64), to: (f64, f64)) -> Markup {
    let bend = (to.0 - from.0) * 0.5;
    let d = format!(
        "M{} {}C{} {} {} {} {} {}",
        place(from.0),
        place(from.1),
        place(from.0 + bend),
        place(from.1),
        place(to.0 - bend),
        place(to.1),
        place(to.0 - 2.0),
        place(to.1)
    );
    html! { path.edge d=(d) marker-end="url(#arrow)" {} }
}

fn down(from: (f64, f64), to: (f64, f64), name: &str) -> Markup {
    let bend = (to.1 - from.1) * 0.55;
    let d = format!(
        "M{} {}C{} {} {} {} {} {}",
        place(from.0),
        place(from.1),
        place(from.0),
        place(from.1 + bend),
        place(to.0),
        place(to.1 - bend),
        place(to.0),
        place(to.1 - 2.0)
    );
    html! {
        path.edge d=(d) marker-end="url(#arrow)" {}
        (edge_name(to.0, to.1 - 20.0, name))
    }
}

fn edge_name(x: f64, y: f64, name: &str) -> Markup {
    html! { text.edge x=(place(x)) y=(place(y - 7.0)) text-anchor="middle" { (name) } }
}

fn words(lineage: &Lineage) -> String {
    let files: usize = lineage.inputs.iter().map(|group| group.count).sum();
    let made: Vec<&str> = lineage.outputs.iter().map(|node| node.label.as_str()).collect();
    let mut words = format!("{} was made by run {} from {files} files", made.join(", "), lineage.run.label);
    for (what, node) in [("with the code", &lineage.code), ("at the site", &lineage.site), ("for", &lineage.agent)] {
        if let Some(node) = node {
            words.push_str(&format!(", {what} {}", node.label));
        }
    }
    words.push('.');
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(clipped("short", 10), "short");
        assert_eq!(clipped("abcdefghijklmnop", 10), "abcdef…nop");
        assert_eq!(clipped("äöüäöüäöüäöü", 5).chars().count(), 5);
    }
}
