//! A calendar month: `1982-09`.

use std::fmt;

/// A month of a year, counted from January of year 0 so that months can be added and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(i32);

impl Month {
    /// Reads `YYYY-MM`, and nothing that only looks like it.
    pub fn parse(text: &str) -> Option<Month> {
        let (year, month) = text.split_once('-')?;
        let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return None;
        }
        let month: i32 = month.parse().ok()?;
        (1..=12).contains(&month).then_some(Month(year.parse::<i32>().ok()? * 12 + month - 1))
    }

    /// 0 for January to 11 for December.
    pub fn of_year(self) -> usize {
        self.0.rem_euclid(12) as usize
    }

    /// The month `count` months later.
    pub fn plus(self, count: usize) -> Month {
        Month(self.0 + count as i32)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let december = Month::parse("1982-12").expect("test data");
        assert_eq!(december.of_year(), 11);
        assert_eq!(december.plus(1).to_string(), "1983-01");
        for bad in ["1982", "1982-13", "1982-00", "82-01", "1982-1", "1982-+1", "+982-01", "1982-01-01"] {
            assert_eq!(Month::parse(bad), None, "{bad}");
        }
    }
}
