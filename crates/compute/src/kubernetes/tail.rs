//! Reading a log on from where its reader stands. A cluster gives logs from a second on, not from a byte on; so of each piece
//! that was read a mark stays, by which the next one is cut. Pure.
//!
//! Each line begins with its time. A mark is of the last whole seconds that were read: what is asked for begins with lines that
//! are known, and what is new follows. A node that has begun a new file of the log has forgotten them, and then the lines that
//! are younger than the last one follow. Without a mark, a log is read from its beginning and cut by bytes.

use std::borrow::Cow;

use dte_base::time::Timestamp;

use crate::logs::{LogChunk, LogLine};

/// Lines may be written a little out of order: so much is read again.
const OVERLAP_SECONDS: i64 = 1;
/// Marks kept of one pod; readers that were away for long begin anew.
const MARKS: usize = 64;

/// Where one reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The second from which on to ask.
    pub since: i64,
    /// The time of the first line then, in the cluster's words, and the byte at which it begins.
    first: String,
    begin: u64,
    /// The time of the last line, and the byte after it.
    last: jiff::Timestamp,
    end: u64,
}

impl Mark {
    /// Bytes that will be read again.
    pub fn overlap(&self) -> i64 {
        i64::try_from(self.end.saturating_sub(self.begin)).unwrap_or(i64::MAX)
    }
}

/// The marks of a pod's containers, the latest last.
#[derive(Debug, Default)]
pub struct Marks(Vec<(String, Mark)>);

impl Marks {
    /// Of the reader of a container who has read until `end`.
    pub fn find(&self, container: &str, end: u64) -> Option<Mark> {
        let found = self.0.iter().rev().find(|(name, mark)| name == container && mark.end == end);
        found.map(|(_, mark)| mark.clone())
    }

    pub fn keep(&mut self, container: &str, mark: Mark) {
        self.0.retain(|(name, known)| name != container || known.end != mark.end);
        if self.0.len() >= MARKS {
            self.0.remove(0);
        }
        self.0.push((container.to_owned(), mark));
    }
}

/// What was cut off in the middle of a line ends with the line before.
pub fn whole_lines(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
        bytes.truncate(end + 1);
    }
    bytes
}

/// A log as text. The beginning of a letter at its end is left for later, unless the log is over.
pub fn text(bytes: &[u8], is_over: bool) -> Cow<'_, str> {
    let last = bytes.utf8_chunks().last().map(|chunk| chunk.invalid()).unwrap_or_default();
    let is_begun = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    let left = if is_begun && !is_over { last.len() } else { 0 };
    String::from_utf8_lossy(&bytes[..bytes.len() - left])
}

/// How much of a log was to be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// There is more behind it.
    pub is_cut: bool,
    /// No more will be written.
    pub is_over: bool,
}

/// A line: its time as it stands there and as a time, and what was said.
struct Stamped<'a> {
    time: Option<(&'a str, jiff::Timestamp)>,
    said: &'a str,
}

fn lines(text: &str) -> impl Iterator<Item = Stamped<'_>> {
    text.split_inclusive('\n').map(|line| {
        let stamped = line.split_once(' ').and_then(|(time, said)| Some((time, time.parse().ok()?, said)));
        match stamped {
            Some((text, time, said)) => Stamped { time: Some((text, time)), said },
            None => Stamped { time: None, said: line },
        }
    })
}

/// What was written after the first `from` bytes, and the mark for reading on. `mark`: that of the reader.
pub fn after(text: &str, from: u64, mark: Option<&Mark>, seen: Seen) -> (LogChunk, Option<Mark>) {
    let lines: Vec<Stamped<'_>> = lines(text).collect();
    let known = |mark: &Mark| lines.iter().position(|line| line.time.is_some_and(|(text, _)| text == mark.first));
    // Which line to begin with, and at which byte it begins.
    let (skip, begin) = match mark {
        // A whole log that ends before what was read of it: its node has begun a new file.
        None if !seen.is_cut => (0, from.saturating_sub(lines.iter().map(|line| line.said.len() as u64).sum())),
        None => (0, 0),
        Some(mark) => match known(mark) {
            Some(at) => (at, mark.begin),
            None => {
                let younger = lines.iter().position(|line| line.time.is_some_and(|(_, time)| time > mark.last));
                (younger.unwrap_or(lines.len()), from)
            }
        },
    };
    let mut chunk = LogChunk { lines: Vec::new(), next: begin, complete: seen.is_over };
    let mut begins = Vec::with_capacity(lines.len() - skip);
    for line in &lines[skip..] {
        let begin = chunk.next;
        begins.push(begin);
        chunk.next += line.said.len() as u64;
        if chunk.next > from {
            let at = line.time.map_or_else(Timestamp::now, |(_, time)| Timestamp::from_micros(time.as_microsecond()));
            let known = usize::try_from(from.saturating_sub(begin)).unwrap_or(0);
            chunk.lines.push(LogLine { at, text: line.said.as_bytes()[known.min(line.said.len())..].to_vec() });
        }
    }
    chunk.next = chunk.next.max(from);
    // Nothing to be seen of what was known: the mark stays good.
    let next =
        mark_of(&lines[skip..], &begins, chunk.next).or_else(|| mark.filter(|mark| mark.end == chunk.next).cloned());
    (chunk, next)
}

/// The mark of somebody who has read these lines. None: their times are not such that the lines could be told by them.
fn mark_of(lines: &[Stamped<'_>], begins: &[u64], end: u64) -> Option<Mark> {
    let last = lines.iter().filter_map(|line| line.time.map(|(_, time)| time)).max()?;
    let since = last.as_second() - OVERLAP_SECONDS;
    let is_known = |line: &Stamped<'_>| line.time.is_some_and(|(_, time)| time.as_second() >= since);
    let at = lines.iter().position(is_known)?;
    if !lines[at..].iter().all(is_known) {
        return None;
    }
    let (first, _) = lines[at].time?;
    Some(Mark { since, first: first.to_owned(), begin: *begins.get(at)?, last, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROWS: Seen = Seen { is_cut: false, is_over: false };
    const OVER: Seen = Seen { is_cut: false, is_over: true };

    fn texts(chunk: &LogChunk) -> String {
        chunk.lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    /// What a cluster answers of `log` from a second on.
    fn since(log: &str, mark: Option<&Mark>) -> String {
        let wanted =
            |line: &Stamped<'_>| mark.is_none_or(|mark| line.time.is_none_or(|(_, t)| t.as_second() >= mark.since));
        lines(log).filter(wanted).map(|l| format!("{} {}", l.time.map_or("", |(text, _)| text), l.said)).collect()
    }

    #[test]
    fn lines_lose_their_times() {
        let text = "2026-01-02T03:04:05.5Z one\n2026-01-02T03:04:06Z two";
        let (all, mark) = after(text, 0, None, OVER);
        assert_eq!((all.next, all.lines.len(), all.complete), (7, 2, true));
        assert_eq!(
            all.lines[0],
            LogLine { at: Timestamp::from_micros(1_767_323_045_500_000), text: b"one\n".to_vec() }
        );
        assert_eq!(mark.map(|mark| (mark.begin, mark.end, mark.overlap())), Some((0, 7, 7)));
        let (rest, _) = after(text, 5, None, GROWS);
        assert_eq!((rest.next, &rest.lines[0].text[..]), (7, &b"wo"[..]));
        assert!(after(text, 7, None, GROWS).0.lines.is_empty());
    }

    /// However a log grows between readings, in bursts, with equal times and slightly out of order: all of it, once, in order.
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice() {
        let (mut log, mut said) = (String::new(), String::new());
        let mut moment = jiff::Timestamp::from_second(1_767_323_045).expect("a time");
        let mut dice = 7u32;
        let mut readers = [(0u64, String::new()), (0, String::new())];
        let mut marks = Marks::default();
        let mut most = 0;
        for round in 0..400 {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            for line in 0..dice >> 30 {
                moment += jiff::SignedDuration::from_millis(i64::from(dice >> 20 & 0x3ff) * i64::from(line % 2));
                let shown = moment - jiff::SignedDuration::from_millis(i64::from(dice >> 10 & 0x7f));
                let text = format!("round {round} line {line}\n");
                log.push_str(&format!("{shown} {text}"));
                said.push_str(&text);
            }
            for (number, (from, heard)) in readers.iter_mut().enumerate() {
                if number == 1 && round % 3 > 0 {
                    continue;
                }
                let mark = marks.find("c", *from);
                let answer = since(&log, mark.as_ref());
                if round > 100 && mark.is_some() {
                    most = most.max(answer.len());
                }
                let (chunk, next) = after(&answer, *from, mark.as_ref(), GROWS);
                heard.push_str(&texts(&chunk));
                *from = chunk.next;
                next.into_iter().for_each(|mark| marks.keep("c", mark));
                assert_eq!(said.get(..heard.len()), Some(&heard[..]), "round {round}");
            }
        }
        assert_eq!(readers[0].1, said);
        assert!(most > 0 && most < log.len() / 4, "{most} bytes of {} were read at once", log.len());
    }

    #[test]
    fn a_line_that_grows_and_a_node_that_begins_a_new_file() {
        let (first, mark) = after("2026-01-02T03:04:05Z a\n2026-01-02T03:04:06.1Z par", 0, None, GROWS);
        assert_eq!((texts(&first), first.next), ("a\npar".to_owned(), 5));
        let mark = mark.expect("a mark");
        let (grown, _) = after("2026-01-02T03:04:05Z a\n2026-01-02T03:04:06.1Z part\n", 5, Some(&mark), GROWS);
        assert_eq!((texts(&grown), grown.next), ("t\n".to_owned(), 7));
        let (anew, next) = after("2026-01-02T03:04:06.1Z par\n2026-01-02T03:04:07Z new\n", 5, Some(&mark), GROWS);
        assert_eq!((texts(&anew), anew.next), ("new\n".to_owned(), 9));
        let next = next.expect("a mark");
        let (nothing, same) = after("", 9, Some(&next), GROWS);
        assert_eq!((texts(&nothing), nothing.next, same.as_ref()), (String::new(), 9, Some(&next)));
    }

    /// Nobody remembers how far it was read but its reader.
    #[test]
    fn a_new_file_for_a_reader_without_a_mark() {
        let old = "2026-01-02T03:04:06Z new\n";
        let (nothing, mark) = after(old, 100, None, GROWS);
        assert_eq!((texts(&nothing), nothing.next), (String::new(), 100));
        let mark = mark.expect("a mark");
        assert_eq!((mark.begin, mark.end), (96, 100));
        let (more, _) = after(&format!("{old}2026-01-02T03:04:07Z more\n"), 100, Some(&mark), GROWS);
        assert_eq!((texts(&more), more.next), ("more\n".to_owned(), 105));
        // Of a log that is longer than what was asked for, the rest may be behind it.
        let (nothing, mark) = after(old, 100, None, Seen { is_cut: true, is_over: false });
        assert_eq!((nothing.next, mark.map(|mark| mark.begin)), (100, Some(0)));
    }

    #[test]
    fn half_a_line_at_the_limit_waits() {
        assert_eq!(whole_lines(b"t one\nt tw".to_vec()), b"t one\n");
        assert_eq!(whole_lines(b"t one".to_vec()), b"t one");
        assert_eq!(whole_lines("t ä\nt \u{e4}".as_bytes()[..8].to_vec()), "t ä\n".as_bytes());
    }

    #[test]
    fn bytes_of_any_kind() {
        assert_eq!(text(b"t \xff\x00\nt \xc3", false), "t \u{fffd}\0\nt ");
        assert_eq!(text(b"t \xff\x00\nt \xc3", true), "t \u{fffd}\0\nt \u{fffd}");
        assert_eq!(text("t ä".as_bytes(), false), "t ä");
        assert_eq!(text(b"", false), "");
    }
}
