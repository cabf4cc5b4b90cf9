//! Which lines of a log somebody asked for (the options of kubelet's `containerLogs`).

use std::time::Duration;

use dte_base::time::Timestamp;

/// A piece of a container's log.
#[derive(Clone, Debug, Default)]
pub struct LogChunk {
    pub lines: Vec<LogLine>,
    /// Where to go on reading: bytes that the container had written by the end of this piece.
    pub next: u64,
    /// The container has ended, nothing will follow.
    pub complete: bool,
}

impl LogChunk {
    /// Leaves out what was written after byte `to`, which is the end of a line.
    pub fn end_at(&mut self, to: u64) {
        let mut end = self.next;
        while end > to
            && let Some(line) = self.lines.pop()
        {
            end = end.saturating_sub(line.text.len() as u64);
        }
        if self.next >= to {
            (self.next, self.complete) = (to, true);
        }
    }
}

/// One line with its end of line, if it has one, and when it was read from the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub at: Timestamp,
    pub text: Vec<u8>,
}

/// What to show of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogQuery {
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only the first bytes of what would be shown.
    pub limit_bytes: Option<u64>,
    /// Only what was written since then.
    pub since: Option<Timestamp>,
    /// Put the time before each line.
    pub timestamps: bool,
}

impl LogQuery {
    /// What is left of the lines that [`LogQuery::render`] showed piece by piece, without `tail` and `limit_bytes`.
    pub fn cut(&self, mut shown: Vec<u8>) -> Vec<u8> {
        if let Some(tail) = self.tail {
            let body = shown.strip_suffix(b"\n").unwrap_or(&shown);
            let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
            let begin = match usize::try_from(tail).unwrap_or(usize::MAX) {
                0 => shown.len(),
                lines => ends.into_iter().nth(lines - 1).unwrap_or(0),
            };
            shown.drain(..begin);
        }
        if let Some(limit) = self.limit_bytes {
            shown.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        shown
    }

    /// Lines younger than `seconds` before `now`.
    pub fn since_seconds(now: Timestamp, seconds: u64) -> Timestamp {
        now - Duration::from_secs(seconds)
    }

    /// The bytes to show of `lines`, which are all there are.
    pub fn render(&self, lines: &[LogLine]) -> Vec<u8> {
        let first = match self.since {
            Some(since) => lines.iter().position(|line| line.at >= since).unwrap_or(lines.len()),
            None => 0,
        };
        let lines = &lines[first..];
        let skip = match self.tail {
            Some(tail) => lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)),
            None => 0,
        };
        let mut shown = Vec::new();
        for line in &lines[skip..] {
            if self.timestamps {
                shown.extend_from_slice(line.at.to_string().as_bytes());
                shown.push(b' ');
            }
            shown.extend_from_slice(&line.text);
        }
        if let Some(limit) = self.limit_bytes {
            shown.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<LogLine> {
        (1..=4).map(|n| LogLine { at: Timestamp::from_seconds(n), text: format!("line {n}\n").into_bytes() }).collect()
    }

    fn shown(query: LogQuery) -> String {
        String::from_utf8(query.render(&lines())).expect("text")
    }

    #[test]
    fn ends_where_it_shall() {
        let chunk = |to: u64| {
            let mut chunk = LogChunk { lines: lines(), next: 28, complete: false };
            chunk.end_at(to);
            (chunk.lines.len(), chunk.next, chunk.complete)
        };
        assert_eq!(
            (chunk(14), chunk(28), chunk(99), chunk(0)),
            ((2, 14, true), (4, 28, true), (4, 28, false), (0, 0, true))
        );
    }

    #[test]
    fn piece_by_piece_is_the_same() {
        let all = lines();
        for tail in [None, Some(0), Some(1), Some(3), Some(4), Some(9)] {
            for limit_bytes in [None, Some(0), Some(5), Some(99)] {
                let query = LogQuery { tail, limit_bytes, ..LogQuery::default() };
                let plain = LogQuery::default();
                let pieces = all.chunks(3).flat_map(|piece| plain.render(piece)).collect();
                assert_eq!(query.cut(pieces), query.render(&all), "{query:?}");
            }
        }
    }

    #[test]
    fn tail_since_limit_and_times() {
        assert_eq!(shown(LogQuery { tail: Some(1), ..LogQuery::default() }), "line 4\n");
        assert_eq!(shown(LogQuery { tail: Some(9), ..LogQuery::default() }).lines().count(), 4);
        assert_eq!(
            shown(LogQuery { since: Some(Timestamp::from_seconds(3)), ..LogQuery::default() }),
            "line 3\nline 4\n"
        );
        assert_eq!(shown(LogQuery { limit_bytes: Some(4), ..LogQuery::default() }), "line");
        let stamped = shown(LogQuery { tail: Some(1), timestamps: true, ..LogQuery::default() });
        assert_eq!(stamped, "1970-01-01T00:00:04.000000Z line 4\n");
    }
}
