//! Where a forecast came from: files, the run that used them, its code, its site, the person it ran for.

use std::collections::BTreeMap;

use super::period::Period;

/// The way from observations to one forecast.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lineage {
    /// What the run read, collapsed to ranges.
    pub inputs: Vec<Collapsed>,
    pub run: Node,
    pub code: Option<Node>,
    pub site: Option<Node>,
    pub agent: Option<Node>,
    pub outputs: Vec<Node>,
    /// The provenance document, for those who want all of it.
    pub document: Option<String>,
}

/// One box of the picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub label: String,
    /// Lines below the label, each short.
    pub details: Vec<String>,
}

/// Files whose names differ only in the step of time that they hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Collapsed {
    /// The name of the one file, or the name with `*` in place of the step.
    pub label: String,
    pub count: usize,
    pub bytes: Option<u64>,
    /// First and last step.
    pub span: Option<(Period, Period)>,
    /// Steps between first and last for which there is no file.
    pub gaps: usize,
}

/// One file that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputFile {
    pub name: String,
    pub bytes: Option<u64>,
}

/// Collapses files to ranges: those that came in a row first, by name.
pub fn collapse(files: &[InputFile]) -> Vec<Collapsed> {
    let mut groups: BTreeMap<String, Vec<(Option<Period>, &InputFile)>> = BTreeMap::new();
    for file in files {
        match split_period(&file.name) {
            Some((before, period, after)) => {
                groups.entry(format!("{before}*{after}")).or_default().push((Some(period), file));
            }
            None => groups.entry(file.name.clone()).or_default().push((None, file)),
        }
    }
    let mut collapsed: Vec<Collapsed> =
        groups.into_iter().map(|(label, members)| collapse_group(label, members)).collect();
    collapsed
        .sort_by(|a, b| a.span.as_ref().map(|s| &s.0).cmp(&b.span.as_ref().map(|s| &s.0)).then(a.label.cmp(&b.label)));
    collapsed
}

fn collapse_group(label: String, mut members: Vec<(Option<Period>, &InputFile)>) -> Collapsed {
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let count = members.len();
    let bytes = members.iter().map(|(_, file)| file.bytes).sum::<Option<u64>>();
    let mut steps: Vec<&Period> = members.iter().filter_map(|(period, _)| period.as_ref()).collect();
    steps.dedup();
    let gaps = steps.windows(2).map(|pair| usize::from(pair[0].plus(1) < *pair[1])).sum();
    let span = steps.first().zip(steps.last()).map(|(first, last)| ((*first).clone(), (*last).clone()));
    let label = if count == 1 { members[0].1.name.clone() } else { label };
    Collapsed { label, count, bytes, span, gaps }
}

/// The last step of time in a name, with what is before and after it.
fn split_period(name: &str) -> Option<(&str, Period, &str)> {
    let bytes = name.as_bytes();
    let is_digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    for length in [10, 7, 4] {
        for start in (0..=name.len().checked_sub(length)?).rev() {
            if !name.is_char_boundary(start) || !name.is_char_boundary(start + length) {
                continue;
            }
            let stands_alone = (start == 0 || !is_digit(start - 1)) && !is_digit(start + length);
            if stands_alone && let Ok(period) = name[start..start + length].parse::<Period>() {
                return Some((&name[..start], period, &name[start + length..]));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> InputFile {
        InputFile { name: name.to_owned(), bytes: Some(10) }
    }

    #[test]
    fn files_collapse_to_ranges() {
        let mut files = vec![file("enso:history.csv")];
        files.extend(
            ["1980-03", "1980-01", "1980-02", "1980-05"].map(|month| file(&format!("enso:nino12-{month}.csv"))),
        );
        let collapsed = collapse(&files);
        assert_eq!(collapsed.len(), 2);
        assert_eq!((collapsed[0].label.as_str(), collapsed[0].count), ("enso:history.csv", 1));
        let range = &collapsed[1];
        assert_eq!((range.label.as_str(), range.count, range.bytes, range.gaps), ("enso:nino12-*.csv", 4, Some(40), 1));
        let (first, last) = range.span.clone().expect("a span");
        assert_eq!((first.to_string(), last.to_string()), ("1980-01".into(), "1980-05".into()));
    }

    #[test]
    fn names_with_strange_letters() {
        assert!(split_period("ünïcödé").is_none());
        assert!(split_period("").is_none());
        assert_eq!(split_period("é1980-01é").map(|(_, period, _)| period.to_string()).as_deref(), Some("1980-01"));
        assert_eq!(split_period("run-19800-01"), None);
    }
}
