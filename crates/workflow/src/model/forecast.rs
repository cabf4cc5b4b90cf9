//! The format `forecast-csv`: what a forecasting model writes.
//!
//! A header, then one row for each lead. Columns, in any order: `issue_month`, `target_month`, `lead` (months), and in the
//! series' unit `mean`, `lower80`, `upper80`, `lower95`, `upper95`, each also with the unit behind it (`mean_c`). Further
//! columns are the model's own.

use super::check::MOST_LEADS;
use super::month::Month;
use super::number::Micro;

/// A forecast file is small.
pub const MAX_BYTES: usize = 1 << 20;

/// The forecast of one month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub lead: u32,
    pub target: Month,
    pub mean: Micro,
    pub lower80: Micro,
    pub upper80: Micro,
    pub lower95: Micro,
    pub upper95: Micro,
}

const NUMBERS: [&str; 5] = ["mean", "lower80", "upper80", "lower95", "upper95"];

/// Reads a forecast that was made in `issue`; leads ascending. The error says what is wrong and in which line.
pub fn read(text: &str, issue: Month) -> Result<Vec<Row>, String> {
    let mut lines = text.lines().enumerate();
    let header: Vec<&str> = lines.next().map_or("", |(_, line)| line).split(',').map(str::trim).collect();
    let place = |name: &str| {
        let with_unit =
            |cell: &&str| cell.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        header.iter().position(with_unit).ok_or_else(|| format!("line 1: there is no column {name}"))
    };
    let (issue_at, target_at, lead_at) = (place("issue_month")?, place("target_month")?, place("lead")?);
    let mut numbers_at = [0; NUMBERS.len()];
    for (at, name) in numbers_at.iter_mut().zip(NUMBERS) {
        *at = place(name)?;
    }
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let wrong = |what: String| format!("line {}: {what}", index + 1);
        if cells.len() != header.len() {
            return Err(wrong(format!("{} values where the header has {}", cells.len(), header.len())));
        }
        let made: Month = cells[issue_at].parse().map_err(|error| wrong(format!("{error}")))?;
        if made != issue {
            return Err(wrong(format!("issue month {made} where the newest observation is of {issue}")));
        }
        let target: Month = cells[target_at].parse().map_err(|error| wrong(format!("{error}")))?;
        let lead: u32 = cells[lead_at].parse().map_err(|_| wrong(format!("{:?} is not a lead", cells[lead_at])))?;
        if lead == 0 || lead > MOST_LEADS || i64::from(target.since(issue)) != i64::from(lead) {
            return Err(wrong(format!("lead {lead} does not lead from {issue} to {target}")));
        }
        let mut numbers = [Micro(0); NUMBERS.len()];
        for (number, at) in numbers.iter_mut().zip(numbers_at) {
            let read: Result<f64, _> = cells[at].parse();
            *number =
                read.ok().and_then(Micro::from_f64).ok_or_else(|| wrong(format!("{:?} is not a number", cells[at])))?;
        }
        let [mean, lower80, upper80, lower95, upper95] = numbers;
        if !(lower95 <= lower80 && lower80 <= mean && mean <= upper80 && upper80 <= upper95) {
            return Err(wrong("the intervals do not hold each other and the mean".to_owned()));
        }
        if rows.iter().any(|row| row.lead == lead) {
            return Err(wrong(format!("lead {lead} is there twice")));
        }
        rows.push(Row { lead, target, mean, lower80, upper80, lower95, upper95 });
    }
    if rows.is_empty() {
        return Err("there is no forecast in it".to_owned());
    }
    rows.sort_by_key(|row| row.lead);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "issue_month,target_month,lead,mean_c,lower80_c,upper80_c,lower95_c,upper95_c,own\n";

    fn parse(rows: &str) -> Result<Vec<Row>, String> {
        read(&format!("{HEADER}{rows}"), "1979-12".parse().expect("month"))
    }

    #[test]
    fn a_good_forecast() {
        let rows =
            parse("1979-12,1980-02,2,25,24,26,23,27,x\n1979-12,1980-01,1,24.5,24,25,23.5,25.5,x\n").expect("reads");
        assert_eq!(rows.iter().map(|row| row.lead).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(rows[0].upper95, Micro(25_500_000));
    }

    #[test]
    fn bad_forecasts() {
        for (rows, reason) in [
            ("", "there is no forecast"),
            ("1980-01,1980-02,1,25,24,26,23,27,x\n", "issue month 1980-01"),
            ("1979-12,1980-02,1,25,24,26,23,27,x\n", "lead 1 does not lead"),
            ("1979-12,1979-12,0,25,24,26,23,27,x\n", "lead 0 does not lead"),
            ("1979-12,1980-01,1,25,26,26,23,27,x\n", "do not hold each other"),
            ("1979-12,1980-01,1,NaN,24,26,23,27,x\n", "\"NaN\" is not a number"),
            ("1979-12,1980-01,1,25,24,26,23,27\n", "8 values"),
            (
                "1979-12,1980-01,1,25,24,26,23,27,x\n1979-12,1980-01,1,25,24,26,23,27,x\n",
                "line 3: lead 1 is there twice",
            ),
        ] {
            let error = parse(rows).expect_err("is refused");
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(
            read("a,b", "1979-12".parse().expect("month")),
            Err("line 1: there is no column issue_month".to_owned())
        );
    }
}
