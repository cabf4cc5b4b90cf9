//! Reading the observations: every `*.csv` file of a folder, each `month,sst_c` with rows `YYYY-MM,value`, together one
//! series of months without a gap.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::month::Month;

/// The first line of every file.
const HEADER: &str = "month,sst_c";

/// A monthly series without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub first: Month,
    /// °C.
    pub values: Vec<f64>,
}

impl Series {
    /// The month of `values[index]`.
    pub fn month(&self, index: usize) -> Month {
        self.first.plus(index)
    }
}

/// Why the observations cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// Nothing there, or it cannot be read.
    Folder(String),
    /// What is there is not a series.
    Data(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Folder(text) | Unusable::Data(text) => f.write_str(text),
        }
    }
}

/// A value and where it was read, for messages.
type Found = BTreeMap<Month, (f64, String)>;

/// Reads all `*.csv` files of `folder`.
pub fn read(folder: &Path) -> Result<Series, Unusable> {
    let missing = |error: std::io::Error| Unusable::Folder(format!("{}: {error}", folder.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(missing)? {
        let path = entry.map_err(missing)?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut found = Found::new();
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(path).map_err(|error| Unusable::Data(format!("{name}: {error}")))?;
        collect(&name, &text, &mut found)?;
    }
    series(found)
}

/// Adds the rows of one file to `found`.
fn collect(name: &str, text: &str, found: &mut Found) -> Result<(), Unusable> {
    let bad = |line: usize, what: String| Unusable::Data(format!("{name}, line {line}: {what}"));
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, HEADER)) => {}
        other => {
            let seen = other.map_or("nothing", |(_, line)| line);
            return Err(bad(1, format!("the first line must be \"{HEADER}\", found {seen:?}")));
        }
    }
    for (index, line) in lines {
        let number = index + 1;
        let Some((month, value)) = line.split_once(',') else {
            return Err(bad(number, format!("a row is \"YYYY-MM,value\", found {line:?}")));
        };
        let month = Month::parse(month).ok_or_else(|| bad(number, format!("{month:?} is not a month YYYY-MM")))?;
        let value = value
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .ok_or_else(|| bad(number, format!("{value:?} is not a number")))?;
        if let Some((_, earlier)) = found.insert(month, (value, format!("{name}, line {number}"))) {
            return Err(bad(number, format!("month {month} is there twice, first in {earlier}")));
        }
    }
    Ok(())
}

/// The months in order, if none is missing.
fn series(found: Found) -> Result<Series, Unusable> {
    let Some(first) = found.keys().next().copied() else {
        return Err(Unusable::Folder("there are no observations".to_owned()));
    };
    let mut values = Vec::with_capacity(found.len());
    for (index, (month, (value, place))) in found.into_iter().enumerate() {
        let expected = first.plus(index);
        if month != expected {
            return Err(Unusable::Data(format!("month {expected} is missing: {month} follows ({place})")));
        }
        values.push(value);
    }
    Ok(Series { first, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(files: &[(&str, &str)]) -> Result<Series, String> {
        let mut found = Found::new();
        for (name, text) in files {
            collect(name, text, &mut found).map_err(|error| error.to_string())?;
        }
        series(found).map_err(|error| error.to_string())
    }

    #[test]
    fn files_join_to_one_series() {
        let series = parse(&[
            ("a.csv", "month,sst_c\n1950-01,23.110\n1950-02,24.2\n"),
            ("b.csv", "month,sst_c\r\n1950-03,25.37\r\n"),
        ])
        .expect("test data");
        assert_eq!(series.month(2).to_string(), "1950-03");
        assert_eq!(series.values, [23.11, 24.2, 25.37]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |text: &str| parse(&[("a.csv", text)]).expect_err("is refused");
        assert_eq!(error("month,sst_c\n1950-01,warm\n"), "a.csv, line 2: \"warm\" is not a number");
        assert_eq!(error("month,sst_c\n1950-01,NaN\n"), "a.csv, line 2: \"NaN\" is not a number");
        assert_eq!(error("month,sst_c\n1950-13,1\n"), "a.csv, line 2: \"1950-13\" is not a month YYYY-MM");
        assert!(error("year,sst\n").contains("the first line must be"));
        assert!(error("").contains("found \"nothing\""));
        assert!(error("month,sst_c\n\n").contains("a row is"));
        assert_eq!(
            error("month,sst_c\n1950-01,1\n1950-03,2\n"),
            "month 1950-02 is missing: 1950-03 follows (a.csv, line 3)"
        );
        assert_eq!(
            error("month,sst_c\n1950-01,1\n1950-01,2\n"),
            "a.csv, line 3: month 1950-01 is there twice, first in a.csv, line 2"
        );
        assert_eq!(error("month,sst_c\n"), "there are no observations");
    }
}
