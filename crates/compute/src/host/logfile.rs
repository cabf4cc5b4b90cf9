//! A container's log, bounded: its beginning and its end are kept, and a line in between says how much was left out.
//!
//! `logs/NAME.head` holds the first half of the limit. What follows goes to segments `logs/NAME.tail-OFFSET` of an eighth
//! each, of which the last four stay. `OFFSET` is the number of bytes that the container had written before, so that the
//! files alone tell what is missing. Beside each file an index `….at` tells when its bytes were read: pairs of offset and
//! microseconds. A segment ends early when its index has grown as long as the segment may become, so that the disk space
//! is bounded however small the pieces are.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dte_base::time::Timestamp;

use crate::logs::{LogChunk, LogLine};

/// Tail segments kept, of an eighth of the limit each.
const SEGMENTS: usize = 4;
/// Bytes read within this time share one time.
const TIME_STEP: Duration = Duration::from_millis(20);
/// An index entry: offset and time, 8 bytes each.
const ENTRY: usize = 16;
/// A reader gets at most so much at once: a line costs far more in memory than it is long, if it is short.
const MAX_CHUNK: u64 = 256 << 10;

/// The writing side; lives in the shim.
pub struct LogWriter {
    stem: PathBuf,
    limit: u64,
    part: Part,
    /// Bytes that the container has written.
    written: u64,
    /// The last line has no end yet.
    is_open: bool,
    segments: VecDeque<u64>,
}

struct Part {
    data: File,
    index: File,
    room: u64,
    index_room: u64,
    noted: Option<Timestamp>,
}

impl Part {
    fn create(path: &Path, room: u64) -> io::Result<Part> {
        let open = |path: &Path| OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path);
        Ok(Part { data: open(path)?, index: open(&index_of(path))?, room, index_room: room.max(4096), noted: None })
    }
}

impl LogWriter {
    pub fn create(folder: &Path, container: &str, limit: u64) -> io::Result<LogWriter> {
        let stem = folder.join(container);
        let part = Part::create(&head_of(&stem), limit / 2)?;
        Ok(LogWriter { stem, limit, part, written: 0, is_open: false, segments: VecDeque::new() })
    }

    /// Takes what the container wrote. Never refuses: what does not fit pushes older bytes out.
    pub fn write(&mut self, mut bytes: &[u8], now: Timestamp) -> io::Result<()> {
        self.is_open = bytes.last().map_or(self.is_open, |last| *last != b'\n');
        while !bytes.is_empty() {
            if self.part.room == 0 || self.part.index_room < ENTRY as u64 {
                self.roll()?;
            }
            let part = &mut self.part;
            if part.noted.is_none_or(|noted| now.since(noted) >= TIME_STEP) {
                let mut entry = [0; ENTRY];
                entry[..8].copy_from_slice(&self.written.to_le_bytes());
                entry[8..].copy_from_slice(&now.as_micros().to_le_bytes());
                part.index.write_all(&entry)?;
                part.index_room -= ENTRY as u64;
                part.noted = Some(now);
            }
            let now_bytes = bytes.len().min(usize::try_from(part.room).unwrap_or(usize::MAX));
            part.data.write_all(&bytes[..now_bytes])?;
            part.room -= now_bytes as u64;
            self.written += now_bytes as u64;
            bytes = &bytes[now_bytes..];
        }
        Ok(())
    }

    /// Ends the last line, if there is one without an end.
    pub fn end_line(&mut self, now: Timestamp) -> io::Result<()> {
        if self.is_open { self.write(b"\n", now) } else { Ok(()) }
    }

    /// Bytes that the container has written.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn roll(&mut self) -> io::Result<()> {
        self.part = Part::create(&tail_of(&self.stem, self.written), (self.limit / 8).max(1))?;
        self.segments.push_back(self.written);
        while self.segments.len() > SEGMENTS {
            let Some(oldest) = self.segments.pop_front() else { break };
            let path = tail_of(&self.stem, oldest);
            fs::remove_file(&path)?;
            fs::remove_file(index_of(&path))?;
        }
        Ok(())
    }
}

/// Bytes on disk of a container's log, with its times.
pub fn size(folder: &Path, container: &str) -> io::Result<u64> {
    let mut sum = 0u64;
    for (_, path) in parts(&folder.join(container))? {
        for path in [index_of(&path), path] {
            match fs::metadata(&path) {
                Ok(about) => sum = sum.saturating_add(about.len()),
                // The container has written on, and this part went.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sum)
}

/// Reads the log from byte `from` of what the container wrote: whole lines, if more follow. `complete` says that this is all
/// there is by now.
pub fn read(folder: &Path, container: &str, from: u64) -> io::Result<LogChunk> {
    let stem = folder.join(container);
    let mut chunk = LogChunk { next: from, ..LogChunk::default() };
    let mut room = MAX_CHUNK;
    for (start, path) in parts(&stem)? {
        if room == 0 {
            break;
        }
        let bytes = match read_from(&path, from.saturating_sub(start), room) {
            Ok(bytes) => bytes,
            // The writer has just let it go.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            continue;
        }
        let begin = start.max(from);
        let times = read_index(&index_of(&path))?;
        if begin > chunk.next {
            let missing = begin - chunk.next;
            let at = times.first().map_or(Timestamp::EPOCH, |(_, at)| *at);
            end_line(&mut chunk.lines);
            let text = format!("[... {missing} bytes of log were left out here ...]\n").into_bytes();
            chunk.lines.push(LogLine { at, text });
        }
        room -= bytes.len() as u64;
        add_lines(&mut chunk.lines, &bytes, begin, &times);
        chunk.next = begin + bytes.len() as u64;
    }
    chunk.complete = room > 0;
    if !chunk.complete && chunk.lines.len() > 1 {
        chunk.next -= chunk.lines.pop_if(|last| !last.text.ends_with(b"\n")).map_or(0, |last| last.text.len() as u64);
    }
    Ok(chunk)
}

/// The files of a log with the offset of their first byte, in order.
fn parts(stem: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut parts = Vec::new();
    let head = head_of(stem);
    if head.exists() {
        parts.push((0, head));
    }
    let (Some(folder), Some(name)) = (stem.parent(), stem.file_name().and_then(|n| n.to_str())) else {
        return Ok(parts);
    };
    let prefix = format!("{name}.tail-");
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let start = entry.file_name().to_str().and_then(|n| n.strip_prefix(&prefix)).and_then(|n| n.parse().ok());
        if let Some(start) = start {
            parts.push((start, entry.path()));
        }
    }
    parts.sort();
    Ok(parts)
}

fn read_from(path: &Path, skip: u64, room: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(skip))?;
    let mut bytes = Vec::new();
    file.take(room).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_index(path: &Path) -> io::Result<Vec<(u64, Timestamp)>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    let number = |half: &[u8]| half.try_into().map(u64::from_le_bytes).unwrap_or_default();
    Ok(entries.iter().map(|e| (number(&e[..8]), Timestamp::from_micros(number(&e[8..]).cast_signed()))).collect())
}

fn add_lines(lines: &mut Vec<LogLine>, bytes: &[u8], begin: u64, times: &[(u64, Timestamp)]) {
    let mut offset = begin;
    let mut entry = 0;
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        while times.get(entry + 1).is_some_and(|(start, _)| *start <= offset) {
            entry += 1;
        }
        offset += piece.len() as u64;
        match lines.last_mut() {
            Some(last) if !last.text.ends_with(b"\n") => last.text.extend_from_slice(piece),
            _ => {
                let at = times.get(entry).map_or(Timestamp::EPOCH, |(_, at)| *at);
                lines.push(LogLine { at, text: piece.to_vec() });
            }
        }
    }
}

fn end_line(lines: &mut [LogLine]) {
    if let Some(last) = lines.last_mut()
        && !last.text.ends_with(b"\n")
    {
        last.text.push(b'\n');
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn head_of(stem: &Path) -> PathBuf {
    with_suffix(stem, ".head")
}

fn tail_of(stem: &Path, start: u64) -> PathBuf {
    with_suffix(stem, &format!(".tail-{start:020}"))
}

fn index_of(part: &Path) -> PathBuf {
    with_suffix(part, ".at")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chunk: &LogChunk) -> String {
        chunk.lines.iter().map(|line| String::from_utf8_lossy(&line.text)).collect()
    }

    #[test]
    fn short_logs_are_whole() {
        let dir = tempfile::tempdir().expect("dir");
        let mut log = LogWriter::create(dir.path(), "c", 1024).expect("log");
        log.write(b"one\ntw", Timestamp::from_seconds(1)).expect("write");
        log.write(b"o\nthree", Timestamp::from_seconds(2)).expect("write");
        let chunk = read(dir.path(), "c", 0).expect("read");
        assert_eq!(text(&chunk), "one\ntwo\nthree");
        assert_eq!(chunk.lines[1].at, Timestamp::from_seconds(1));
        assert_eq!(chunk.lines[2].at, Timestamp::from_seconds(2));
        assert_eq!(text(&read(dir.path(), "c", 8).expect("read")), "three");
        assert!(read(dir.path(), "other", 0).expect("read").lines.is_empty());
    }

    #[test]
    fn long_logs_keep_both_ends() {
        let dir = tempfile::tempdir().expect("dir");
        let mut log = LogWriter::create(dir.path(), "c", 1024).expect("log");
        let mut all = Vec::new();
        for n in 0..2_000 {
            let line = format!("line {n}\n");
            log.write(line.as_bytes(), Timestamp::from_seconds(n)).expect("write");
            all.extend_from_slice(line.as_bytes());
        }
        let chunk = read(dir.path(), "c", 0).expect("read");
        let shown = text(&chunk);
        assert!(shown.starts_with("line 0\n") && shown.ends_with("line 1999\n"), "{shown}");
        assert!(shown.contains("bytes of log were left out here"), "{shown}");
        assert_eq!(chunk.next, all.len() as u64);
        assert!(shown.len() <= 1100, "{}", shown.len());
        let on_disk: u64 =
            fs::read_dir(dir.path()).expect("dir").map(|e| e.expect("entry").metadata().expect("meta").len()).sum();
        assert!(on_disk < 24_000, "{on_disk}");
    }
}
