//! Byte ranges (RFC 9110 section 14).

/// More ranges than this in one request are an attack or a mistake: the header is ignored, as the standard allows.
pub const MAX_RANGES: usize = 64;

/// A stretch of bytes, both ends included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    pub first: u64,
    pub last: u64,
}

impl ByteRange {
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// `bytes 0-9/100`
    pub fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.first, self.last)
    }
}

/// What is to be served of a representation of a known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// No range was asked for, or none that can be understood: everything.
    Whole,
    /// The ranges that lie in the representation; at least one.
    Ranges(Vec<ByteRange>),
    /// 416.
    Unsatisfiable,
}

/// Reads `Range: bytes=…` against a size.
pub fn select(header: Option<&str>, size: u64) -> Selection {
    let Some(specs) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Selection::Whole };
    let mut ranges = Vec::new();
    let mut count = 0;
    for spec in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        count += 1;
        if count > MAX_RANGES {
            return Selection::Whole;
        }
        match parse_one(spec, size) {
            Err(Malformed) => return Selection::Whole,
            Ok(Some(range)) => ranges.push(range),
            Ok(None) => {}
        }
    }
    match (count, ranges.is_empty()) {
        (0, _) => Selection::Whole,
        (_, true) => Selection::Unsatisfiable,
        _ => Selection::Ranges(ranges),
    }
}

struct Malformed;

/// One range; `None` when it lies outside.
fn parse_one(spec: &str, size: u64) -> Result<Option<ByteRange>, Malformed> {
    let (first, last) = spec.split_once('-').ok_or(Malformed)?;
    let number = |text: &str| match text.trim() {
        digits if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() => {
            // A number too large for 64 bits is simply beyond any end.
            Ok(digits.parse::<u64>().unwrap_or(u64::MAX))
        }
        _ => Err(Malformed),
    };
    if first.trim().is_empty() {
        let length = number(last)?.min(size);
        return Ok((length > 0).then(|| ByteRange { first: size - length, last: size - 1 }));
    }
    let first = number(first)?;
    let last = if last.trim().is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return Err(Malformed);
    }
    Ok((first < size).then(|| ByteRange { first, last: last.min(size - 1) }))
}

/// Reads `bytes 0-9/100` or `bytes 0-9/*`, as answers carry it.
pub fn parse_content_range(text: &str) -> Option<(ByteRange, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = ByteRange { first: first.parse().ok()?, last: last.parse().ok()? };
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    (range.first <= range.last && size.is_none_or(|size| range.last < size)).then_some((range, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(first: u64, last: u64) -> Selection {
        Selection::Ranges(vec![ByteRange { first, last }])
    }

    #[test]
    fn selections() {
        assert_eq!(select(None, 10), Selection::Whole);
        assert_eq!(select(Some("bytes=0-3"), 10), one(0, 3));
        assert_eq!(select(Some("bytes=5-"), 10), one(5, 9));
        assert_eq!(select(Some("bytes=-3"), 10), one(7, 9));
        assert_eq!(select(Some("bytes=-30"), 10), one(0, 9));
        assert_eq!(select(Some("bytes=0-99999999999999999999"), 10), one(0, 9));
        assert_eq!(select(Some("bytes=10-"), 10), Selection::Unsatisfiable);
        assert_eq!(select(Some("bytes=-0"), 10), Selection::Unsatisfiable);
        assert_eq!(select(Some("bytes=0-0"), 0), Selection::Unsatisfiable);
        assert_eq!(select(Some("bytes=3-1"), 10), Selection::Whole);
        assert_eq!(select(Some("bytes=a-b"), 10), Selection::Whole);
        assert_eq!(select(Some("rows=0-1"), 10), Selection::Whole);
        assert_eq!(select(Some("bytes=0-1, 20-30"), 10), one(0, 1));
        assert_eq!(select(Some(&format!("bytes={}", "0-0,".repeat(65))), 10), Selection::Whole);
        let Selection::Ranges(two) = select(Some("bytes=0-1,4294967296-4294967297"), 1 << 33) else { panic!() };
        assert_eq!(two[1].content_range(1 << 33), "bytes 4294967296-4294967297/8589934592");
    }

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 0-3/10"), Some((ByteRange { first: 0, last: 3 }, Some(10))));
        assert_eq!(parse_content_range("bytes 0-3/*"), Some((ByteRange { first: 0, last: 3 }, None)));
        assert_eq!(parse_content_range("bytes 4-3/*"), None);
        assert_eq!(parse_content_range("bytes 0-10/10"), None);
    }
}
