//! Times as FTS writes them: UTC, `YYYY-MM-DDTHH:MM:SS`, no zone, no fraction.

use std::fmt;

use dte_base::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in the protocol's own format. Fractions of a second are dropped on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FtsTime(pub Timestamp);

impl From<Timestamp> for FtsTime {
    fn from(time: Timestamp) -> Self {
        FtsTime(time)
    }
}

impl fmt::Display for FtsTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format("%Y-%m-%dT%H:%M:%S"))
    }
}

impl Serialize for FtsTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FtsTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let zoned = if text.ends_with('Z') { text } else { format!("{text}Z") };
        zoned.parse().map(FtsTime).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_zone_and_back() {
        let time = FtsTime(Timestamp::from_micros(784_887_151_000_042));
        let text = serde_json::to_string(&time).expect("a string");
        assert_eq!(text, "\"1994-11-15T08:12:31\"");
        let back: FtsTime = serde_json::from_str(&text).expect("parses");
        assert_eq!(back.0, Timestamp::from_seconds(784_887_151));
    }
}
