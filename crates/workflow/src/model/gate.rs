//! The data-quality gate: what an observation file must be before anything is done with it.
//!
//! A refusal says where (line and column), what, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;

use super::document::Series;
use super::month::Month;
use super::number::Micro;

/// An observation file is small; a larger one is a mistake.
pub const MAX_BYTES: u64 = 8 << 20;

/// What a file is expected to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Exactly this month.
    Month(Month),
    /// Every month from the first to the last.
    History { from: Month, to: Month },
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Counted from 1; 0 when it is the file as a whole.
    pub line: usize,
    pub column: usize,
    pub what: String,
}

/// What to do about any refusal.
const ADVICE: &str = "correct the file and put it into the folder again under the same name";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        write!(f, "{}; {ADVICE}", self.what)
    }
}

impl Refusal {
    pub fn whole(what: impl Into<String>) -> Refusal {
        Refusal { line: 0, column: 0, what: what.into() }
    }
}

/// Which gates are on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gates {
    /// Lowest and highest value.
    pub range: Option<(f64, f64)>,
}

/// Reads a file of the format `csv-monthly` and checks it against what is expected.
pub fn check(bytes: &[u8], series: &Series, gates: Gates, expected: Expected) -> Result<Vec<(Month, Micro)>, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Refusal { line, column: 1, what: "the text is not UTF-8".to_owned() }
    })?;
    let rows = rows(text, &series.value.value, gates)?;
    complete(&rows, expected)?;
    Ok(rows.into_iter().map(|(month, (value, _))| (month, value)).collect())
}

/// Month → value and line.
type Rows = BTreeMap<Month, (Micro, usize)>;

fn rows(text: &str, column: &str, gates: Gates) -> Result<Rows, Refusal> {
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    let header = lines.next().map_or("", |(_, line)| line);
    let place = |name: &str| header.split(',').position(|cell| cell.trim() == name);
    let (Some(month_at), Some(value_at)) = (place("month"), place(column)) else {
        let what = format!("the first line must name the columns month,{column}; found {:?}", shortened(header));
        return Err(Refusal { line: 1, column: 1, what });
    };
    let width = header.split(',').count();
    let mut rows = Rows::new();
    for (index, line) in lines {
        let number = index + 1;
        let refuse = |cell: usize, what: String| Refusal { line: number, column: column_of(line, cell), what };
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != width {
            return Err(refuse(0, format!("{} values where the first line names {width}", cells.len())));
        }
        let text = cells[month_at].trim();
        let month: Month = text
            .parse()
            .map_err(|_| refuse(month_at, format!("{:?} is not a month such as 1980-01", shortened(text))))?;
        let text = cells[value_at].trim();
        let bad = || refuse(value_at, format!("{:?} is not a number", shortened(text)));
        let number_read: f64 = text.parse().map_err(|_| bad())?;
        let value = Micro::from_f64(number_read).ok_or_else(bad)?;
        if let Some((low, high)) = gates.range
            && !(low..=high).contains(&number_read)
        {
            return Err(refuse(value_at, format!("{text} is outside the valid range {low} to {high}")));
        }
        if let Some((_, earlier)) = rows.insert(month, (value, number)) {
            return Err(refuse(month_at, format!("month {month} is there twice, first in line {earlier}")));
        }
    }
    Ok(rows)
}

/// Whether exactly the expected months are there.
fn complete(rows: &Rows, expected: Expected) -> Result<(), Refusal> {
    let (first, last) = match expected {
        Expected::Month(month) => (month, month),
        Expected::History { from, to } => (from, to),
    };
    if let Some((month, (_, line))) = rows.iter().find(|(month, _)| !(first..=last).contains(*month)) {
        let what = if first == last {
            format!("month {month} is not that of the file's name, {first}")
        } else {
            format!("month {month} is not within {first} to {last}")
        };
        return Err(Refusal { line: *line, column: 1, what });
    }
    let mut month = first;
    while month <= last {
        if !rows.contains_key(&month) {
            return Err(Refusal::whole(format!("month {month} is missing")));
        }
        month = month.next();
    }
    Ok(())
}

/// The column, counted from 1 in characters, where a cell begins.
fn column_of(line: &str, cell: usize) -> usize {
    line.split(',').take(cell).map(|before| before.chars().count() + 1).sum::<usize>() + 1
}

/// What a stranger wrote, cut for a message.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        serde_json::from_value(serde_json::json!({"format": "csv-monthly", "value": {"value": "sst_c"}}))
            .or_else(|_| serde_json::from_value(serde_json::json!({"format": "csv-monthly", "value": "sst_c"})))
            .expect("series")
    }

    fn month(text: &str) -> Month {
        text.parse().expect("month")
    }

    fn one(text: &str) -> Result<Vec<(Month, Micro)>, String> {
        let gates = Gates { range: Some((10.0, 40.0)) };
        check(text.as_bytes(), &series(), gates, Expected::Month(month("1980-01"))).map_err(|error| error.to_string())
    }

    #[test]
    fn a_good_file() {
        assert_eq!(one("month,sst_c\n1980-01,24.470\n"), Ok(vec![(month("1980-01"), Micro(24_470_000))]));
        assert!(one("\u{feff}month,station,sst_c\r\n1980-01,X, 24.47\r\n").is_ok());
    }

    #[test]
    fn refusals_say_where_and_what() {
        let refused = |text: &str| one(text).expect_err("is refused");
        assert_eq!(
            refused("month,sst_c\n1980-01,warm\n"),
            "line 2, column 9: \"warm\" is not a number; correct the file and put it into the folder again under the same name"
        );
        assert!(refused("month,sst_c\n1980-01,nan\n").starts_with("line 2, column 9: \"nan\" is not a number"));
        assert!(
            refused("month,sst_c\n1980-01,99.9\n")
                .starts_with("line 2, column 9: 99.9 is outside the valid range 10 to 40")
        );
        assert!(
            refused("month,sst_c\n1980-02,24\n")
                .starts_with("line 2, column 1: month 1980-02 is not that of the file's name")
        );
        assert!(
            refused("month,sst_c\n1980-01,24\n1980-01,25\n")
                .starts_with("line 3, column 1: month 1980-01 is there twice")
        );
        assert!(refused("month,sst_c\n1980-1,24\n").starts_with("line 2, column 1: \"1980-1\" is not a month"));
        assert!(refused("month,sst_c\n").starts_with("month 1980-01 is missing"));
        assert!(refused("").starts_with("line 1, column 1: the first line"));
        assert!(refused("month,sst_c\n1980-01\n").starts_with("line 2, column 1: 1 values"));
        let bad = check(b"month,sst_c\n\xff", &series(), Gates { range: None }, Expected::Month(month("1980-01")));
        assert_eq!(bad.expect_err("is refused").line, 2);
    }

    #[test]
    fn a_history_has_every_month() {
        let expected = Expected::History { from: month("1979-11"), to: month("1980-01") };
        let gates = Gates { range: None };
        let read = |text: &str| check(text.as_bytes(), &series(), gates, expected).map_err(|error| error.what);
        assert_eq!(read("month,sst_c\n1979-12,2\n1979-11,1\n1980-01,3\n").map(|rows| rows.len()), Ok(3));
        assert_eq!(read("month,sst_c\n1979-11,1\n1980-01,3\n"), Err("month 1979-12 is missing".to_owned()));
    }
}
