//! What the active party of a third-party copy tells while it copies: performance markers, and a last line that says how it ended.
//!
//! The format is the one of dCache, XRootD and StoRM; davix and FTS read it. Readers take both ends of lines, blanks before
//! a key, and keys in either case.

use dte_base::time::Timestamp;

/// Longer lines are cut: davix reads lines into a buffer of 1024.
const LONGEST_LINE: usize = 1000;
/// What a reader keeps of a line that does not end.
const LONGEST_READ: usize = 64 << 10;

/// How far a stripe of a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub at: Timestamp,
    pub stripe: u64,
    pub bytes: u64,
    pub stripes: u64,
}

impl Marker {
    /// A copy that goes in one stripe.
    pub fn of(at: Timestamp, bytes: u64) -> Marker {
        Marker { at, stripe: 0, bytes, stripes: 1 }
    }

    /// As it stands on the wire.
    pub fn render(&self) -> String {
        format!(
            "Perf Marker\n    Timestamp: {}\n    Stripe Index: {}\n    Stripe Bytes Transferred: {}\n    Total Stripe Count: {}\nEnd\n",
            self.at.as_seconds(),
            self.stripe,
            self.bytes,
            self.stripes
        )
    }
}

/// How a copy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trailer {
    Success(String),
    Failure(String),
    Aborted(String),
}

impl Trailer {
    /// As it stands on the wire: one line, whatever the text has.
    pub fn render(&self) -> String {
        let (word, text) = match self {
            Trailer::Success(text) => ("success", text),
            Trailer::Failure(text) => ("failure", text),
            Trailer::Aborted(text) => ("aborted", text),
        };
        let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut line = format!("{word}: {}", plain.trim());
        let mut end = line.len().min(LONGEST_LINE);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('\n');
        line
    }

    fn parse(line: &str) -> Option<Trailer> {
        let lower = line.to_ascii_lowercase();
        let rest = |word: &str| line[word.len()..].trim_start_matches([':', ' ']).to_owned();
        if lower.starts_with("success") {
            Some(Trailer::Success(rest("success")))
        } else if lower.starts_with("aborted") {
            Some(Trailer::Aborted(rest("aborted")))
        } else if lower.starts_with("failure") {
            Some(Trailer::Failure(rest("failure")))
        } else {
            lower.starts_with("failed").then(|| Trailer::Failure(rest("failed")))
        }
    }
}

/// What a piece of the answer told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Marker(Marker),
    End(Trailer),
}

/// Reads an answer as it comes in.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    open: Option<Marker>,
}

impl Reader {
    /// What is complete with this piece.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Told> {
        let mut told = Vec::new();
        for byte in piece {
            match byte {
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    told.extend(self.line_read(&line));
                }
                _ if self.line.len() < LONGEST_READ => self.line.push(*byte),
                _ => {}
            }
        }
        told
    }

    /// The last line needs no end.
    pub fn finish(mut self) -> Option<Told> {
        let line = std::mem::take(&mut self.line);
        self.line_read(&line)
    }

    fn line_read(&mut self, line: &[u8]) -> Option<Told> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if text.eq_ignore_ascii_case("perf marker") {
            self.open = Some(Marker::of(Timestamp::from_seconds(0), 0));
            return None;
        }
        if text.eq_ignore_ascii_case("end") {
            return self.open.take().map(Told::Marker);
        }
        if let Some(marker) = &mut self.open
            && let Some((key, value)) = text.split_once(':')
        {
            let number = value.trim().parse::<u64>();
            match (key.trim().to_ascii_lowercase().as_str(), number) {
                ("timestamp", Ok(seconds)) => {
                    marker.at = Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(0));
                }
                ("stripe index", Ok(number)) => marker.stripe = number,
                ("stripe bytes transferred", Ok(number)) => marker.bytes = number,
                ("total stripe count", Ok(number)) => marker.stripes = number,
                _ => {}
            }
            return None;
        }
        Trailer::parse(text).map(Told::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_in_any_pieces() {
        let marker = Marker { at: Timestamp::from_seconds(1_700_000_000), stripe: 2, bytes: 1 << 40, stripes: 3 };
        let text = format!("{}{}", marker.render(), Trailer::Success("Created".to_owned()).render());
        assert!(text.contains("\n    Stripe Bytes Transferred: 1099511627776\n    Total Stripe Count: 3\nEnd\n"));
        for size in [1, 7, 1000] {
            let mut reader = Reader::default();
            let told: Vec<Told> = text.as_bytes().chunks(size).flat_map(|piece| reader.push(piece)).collect();
            assert_eq!(told, [Told::Marker(marker), Told::End(Trailer::Success("Created".to_owned()))]);
        }
    }

    #[test]
    fn what_others_send() {
        let read = |text: &str| {
            let mut reader = Reader::default();
            let mut told = reader.push(text.as_bytes());
            told.extend(reader.finish());
            told
        };
        let told = read(
            "Perf Marker\r\nTimestamp: 5\r\nStripe Index: 0\r\nStripe Bytes Transferred: 7\r\nTotal Stripe Count: 1\r\nRemoteConnections: tcp:[::1]:80\r\nEnd\r\nfailure: Remote side failed with status code 404; error message: \"x: y\"",
        );
        assert_eq!(told[0], Told::Marker(Marker::of(Timestamp::from_seconds(5), 7)));
        let text = "Remote side failed with status code 404; error message: \"x: y\"".to_owned();
        assert_eq!(told[1], Told::End(Trailer::Failure(text)));
        assert_eq!(read("aborted"), [Told::End(Trailer::Aborted(String::new()))]);
        assert_eq!(read("Failed: no"), [Told::End(Trailer::Failure("no".to_owned()))]);
        assert_eq!(read("Perf Marker\nTimestamp: x\n"), []);
        assert_eq!(read("<html>"), []);
    }

    #[test]
    fn a_trailer_is_one_short_line() {
        let line = Trailer::Failure(format!("a\nEnd\nsuccess: {}", "é".repeat(2000))).render();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.len() < 1024 && line.starts_with("failure: a End success: é"));
    }
}
