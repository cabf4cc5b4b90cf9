//! Sizes and durations as people write them: `64MiB`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A text that is not a quantity of the wanted kind.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct BadQuantity {
    text: String,
    wanted: &'static str,
}

const SIZE: &str = "a size such as 512, 20kB or 64MiB";
const SPAN: &str = "a duration such as 500ms, 10s, 1h30m or 7d";

/// Splits `12.5MiB` into the number and what follows it.
fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

impl FromStr for Bytes {
    type Err = BadQuantity;
    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let bad = || BadQuantity { text: text.to_owned(), wanted: SIZE };
        let (number, unit) = number_and_unit(text.trim());
        let factor: u64 = match unit {
            "" | "B" => 1,
            "k" | "kB" => 1_000,
            "M" | "MB" => 1_000_000,
            "G" | "GB" => 1_000_000_000,
            "T" | "TB" => 1_000_000_000_000,
            "Ki" | "KiB" => 1 << 10,
            "Mi" | "MiB" => 1 << 20,
            "Gi" | "GiB" => 1 << 30,
            "Ti" | "TiB" => 1 << 40,
            _ => return Err(bad()),
        };
        match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(factor).map(Bytes).ok_or_else(bad),
            Err(_) => number.parse::<f64>().map(|n| Bytes((n * factor as f64) as u64)).map_err(|_| bad()),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match STEPS.iter().find(|(step, _)| self.0 >= *step) {
            Some((step, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / *step as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(n) => Ok(Bytes(n)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// A duration that is written `1h30m` in documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = BadQuantity;
    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let bad = || BadQuantity { text: text.to_owned(), wanted: SPAN };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let (number, after) = number_and_unit(rest);
            let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let seconds = match after[..unit_end].trim() {
                "ms" => 0.001,
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return Err(bad()),
            };
            let count: f64 = number.parse().map_err(|_| bad())?;
            total += Duration::try_from_secs_f64(count * seconds).map_err(|_| bad())?;
            rest = &after[unit_end..];
        }
        Ok(Span(total))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1_000) { write!(f, "{}s", millis / 1_000) } else { write!(f, "{millis}ms") }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("64MiB".parse::<Bytes>().expect("size"), Bytes(64 << 20));
        assert_eq!("1.5 GB".parse::<Bytes>().expect("size"), Bytes(1_500_000_000));
        assert_eq!("12".parse::<Bytes>().expect("size"), Bytes(12));
        assert!("12 parsecs".parse::<Bytes>().is_err());
        assert!("99999999999TiB".parse::<Bytes>().is_err());
    }

    #[test]
    fn spans() {
        assert_eq!("1h30m".parse::<Span>().expect("span").0, Duration::from_secs(5400));
        assert_eq!("250ms".parse::<Span>().expect("span").0, Duration::from_millis(250));
        assert!("10".parse::<Span>().is_err());
        assert!("".parse::<Span>().is_err());
    }
}
