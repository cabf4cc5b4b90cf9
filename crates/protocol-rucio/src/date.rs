//! `Sat, 21 Nov 2026 00:32:51 UTC`: the one form of time that clients turn into a time. Accounts have another.

use dte_base::time::Timestamp;

/// RFC 1123 with a literal `UTC`, to the second.
pub fn rfc1123_utc(time: Timestamp) -> String {
    time.format("%a, %d %b %Y %H:%M:%S UTC")
}

/// `2026-11-21T00:32:51`: account objects and account usage history.
pub fn account_date(time: Timestamp) -> String {
    time.format("%Y-%m-%dT%H:%M:%S")
}

/// Reads [`rfc1123_utc`] and the ISO forms that filters use (taken as UTC).
pub fn parse(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = text.trim();
    if let Some(civil) = text.strip_suffix(" UTC").or_else(|| text.strip_suffix(" GMT")) {
        let (_, date) = civil.split_once(", ")?;
        let parts: Vec<&str> = date.split(' ').collect();
        let [day, month, year, clock] = parts[..] else { return None };
        let month = MONTHS.iter().position(|known| *known == month)? + 1;
        return format!("{year}-{month:02}-{day:0>2}T{clock}Z").parse().ok();
    }
    let iso = text.replacen(' ', "T", 1);
    let iso = iso.strip_suffix('Z').unwrap_or(&iso);
    let iso = if iso.len() == 10 { format!("{iso}T00:00:00") } else { iso.to_owned() };
    format!("{iso}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let time = parse("Sat, 21 Nov 2026 00:32:51 UTC").expect("time");
        assert_eq!(rfc1123_utc(time), "Sat, 21 Nov 2026 00:32:51 UTC");
        assert_eq!(account_date(time), "2026-11-21T00:32:51");
        assert_eq!(parse("2026-11-21 00:32:51"), Some(time));
        assert_eq!(parse("2026-11-21T00:32:51.000Z"), Some(time));
        assert_eq!(parse("2026-11-21"), parse("Sat, 21 Nov 2026 00:00:00 UTC"));
        assert_eq!(parse("yesterday"), None);
    }
}
