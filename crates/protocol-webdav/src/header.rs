//! Small headers: `Depth`, `Overwrite`, `Destination`, dates.

use dte_base::time::Timestamp;
use http::HeaderMap;

/// How far a request reaches (RFC 4918 section 10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    Zero,
    One,
    Infinity,
}

impl Depth {
    /// The header's value; `Ok(None)` when it is absent, `Err` when it is none of the three.
    pub fn of(headers: &HeaderMap) -> Result<Option<Depth>, BadHeader> {
        match text(headers, "depth")? {
            None => Ok(None),
            Some("0") => Ok(Some(Depth::Zero)),
            Some("1") => Ok(Some(Depth::One)),
            Some(value) if value.eq_ignore_ascii_case("infinity") => Ok(Some(Depth::Infinity)),
            Some(_) => Err(BadHeader("depth")),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Depth::Zero => "0",
            Depth::One => "1",
            Depth::Infinity => "infinity",
        }
    }
}

/// A header that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {0:?} cannot be understood")]
pub struct BadHeader(pub &'static str);

/// `Overwrite`: true unless it says `F` (RFC 4918 section 10.6).
pub fn overwrite(headers: &HeaderMap) -> Result<bool, BadHeader> {
    match text(headers, "overwrite")? {
        None | Some("T" | "t") => Ok(true),
        Some("F" | "f") => Ok(false),
        Some(_) => Err(BadHeader("overwrite")),
    }
}

/// A header's trimmed text, if it is there.
pub fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, BadHeader> {
    match headers.get(name) {
        None => Ok(None),
        Some(value) => value.to_str().map(|text| Some(text.trim())).map_err(|_| BadHeader(name)),
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads the three forms of HTTP dates: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`,
/// `Sun Nov  6 08:49:37 1994`.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == ',' || c == '-').filter(|w| !w.is_empty()).collect();
    let (day, month, year, clock) = match words.as_slice() {
        [_, day, month, year, clock, "GMT" | "UTC"] => (day, month, year, clock),
        [_, month, day, clock, year] => (day, month, year, clock),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as i64 + 1;
    let day: i64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let year: i64 = match (year.len(), year.parse::<i64>().ok()?) {
        (2, short) if short < 70 => 2000 + short,
        (2, short) => 1900 + short,
        (4, year) => year,
        _ => return None,
    };
    let mut clock = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if hour > 23 || minute > 59 || second > 60 || hour < 0 || minute < 0 || second < 0 || clock.next().is_some() {
        return None;
    }
    Some(Timestamp::from_seconds(days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second))
}

/// The civil calendar counted in days (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_three_forms() {
        let expected = Some(Timestamp::from_seconds(784_111_777));
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_http_date(text), expected, "{text}");
        }
        for seconds in [0, 951_826_000, 1_709_164_800, 4_102_444_799] {
            let time = Timestamp::from_seconds(seconds);
            assert_eq!(parse_http_date(&time.http_date()), Some(time));
        }
        for text in ["", "yesterday", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    #[test]
    fn depth_and_overwrite() {
        let mut headers = HeaderMap::new();
        assert_eq!(Depth::of(&headers), Ok(None));
        assert_eq!(overwrite(&headers), Ok(true));
        headers.insert("depth", http::HeaderValue::from_static("Infinity"));
        headers.insert("overwrite", http::HeaderValue::from_static("F"));
        assert_eq!(Depth::of(&headers), Ok(Some(Depth::Infinity)));
        assert_eq!(overwrite(&headers), Ok(false));
        headers.insert("depth", http::HeaderValue::from_static("2"));
        assert_eq!(Depth::of(&headers), Err(BadHeader("depth")));
    }
}
