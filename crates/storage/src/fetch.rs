//! Fetching a file to this machine so that a try that broke off is gone on with, by this process or a later one.
//!
//! What has come lies beside the target under a hidden name that says which version of which source it is of. The target
//! gets its name when all of it is there and right.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::range::ByteRange;
use futures_util::StreamExt as _;
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno as Os;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};

use crate::byte_store::{PART_PREFIX, Stat};
use crate::checksum::Checksums;
use crate::error::{Errno, Error, Side};
use crate::resolve::Location;
use crate::transfer::{Copied, CopyOrder};

/// Tries in a row that bring no byte before it is given up.
const MOST_VAIN_TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Read or written in one go.
const CHUNK: usize = 1 << 20;
/// Of a checksum, in the name of a part.
const NAME_BYTES: usize = 8;

/// Fetches `source` to the file `target`, and looks whether it is what the order and the source say that it is.
///
/// What an earlier call left is gone on with as long as the source has the same length and time of change.
pub async fn fetch(source: &Location, target: &Path, order: &CopyOrder) -> Result<Copied, Error> {
    let to = Side::Destination;
    if !order.overwrite && tokio::fs::symlink_metadata(target).await.is_ok() {
        let text = format!("{}: The destination file exists and overwrite is not enabled", target.display());
        return Err(Error::new(Errno::EEXIST, text).at(to));
    }
    let stat = look(source, order).await?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tokio::fs::create_dir_all(folder).await.map_err(|error| os(&error, folder).at(to))?;
    let mut part = Part::open(folder, source, &stat, order).await.map_err(|error| error.at(to))?;
    let copied = match fill(&mut part, source, &stat, order).await {
        Err(error) if error.errno == Errno::ECHECKSUM && part.is_older => {
            // Perhaps only the rest of the earlier try was wrong.
            part.empty(order).await.map_err(|error| error.at(to))?;
            fill(&mut part, source, &stat, order).await
        }
        other => other,
    };
    match copied {
        Ok(copied) => part.commit(target, order.overwrite).await.map(|()| copied).map_err(|error| error.at(to)),
        Err(error) => {
            if error.errno == Errno::ECHECKSUM {
                part.discard().await;
            }
            Err(error)
        }
    }
}

async fn look(source: &Location, order: &CopyOrder) -> Result<Stat, Error> {
    let stat = source.store.stat(&source.path).await.map_err(|error| error.at(Side::Source))?;
    if stat.is_folder {
        return Err(Error::new(Errno::EISDIR, source.to_string()).at(Side::Source));
    }
    match (order.bytes, stat.bytes) {
        (Some(expected), Some(bytes)) if expected != bytes => {
            let text = format!("{source} has {bytes} bytes instead of {expected}");
            Err(Error::new(Errno::ECHECKSUM, text).at(Side::Source))
        }
        _ => Ok(Stat { bytes: stat.bytes.or(order.bytes), ..stat }),
    }
}

/// Brings what is missing, try by try, and judges the whole.
async fn fill(part: &mut Part, source: &Location, stat: &Stat, order: &CopyOrder) -> Result<Copied, Error> {
    let waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut stated = Vec::new();
    let mut vain = 0;
    // A length that is not known cannot be gone on towards, nor does every server give less than the whole.
    let mut may_go_on = stat.bytes.is_some();
    let mut is_read = false;
    // Also what is said to be empty is asked for: not every server that says so is right.
    while !is_read && (part.sums.bytes() == 0 || stat.bytes != Some(part.sums.bytes())) {
        if !may_go_on {
            part.empty(order).await.map_err(|error| error.at(Side::Destination))?;
        }
        let before = part.sums.bytes();
        let outcome = bring(part, source, stat, order).await;
        part.file.flush().await.map_err(|error| os(&error, &part.path).at(Side::Destination))?;
        match outcome {
            Ok(said) => (stated, is_read) = (said, true),
            Err(error) if before > 0 && error.errno == Errno::ENOSYS => {
                tracing::debug!(%source, at = before, %error, "a download begins anew");
                may_go_on = false;
            }
            Err(error) if may_try_again(&error) => {
                vain = if may_go_on && part.sums.bytes() > before { 0 } else { vain + 1 };
                if vain >= MOST_VAIN_TRIES {
                    return Err(error);
                }
                tracing::debug!(%source, at = part.sums.bytes(), %error, "a download broke off and is tried again");
                tokio::time::sleep(waits.wait(vain)).await;
            }
            Err(error) => return Err(error),
        }
    }
    judge(part, source, stat, &stated, order).await
}

/// What went wrong with the file here leaves it unknown what it holds.
fn may_try_again(error: &Error) -> bool {
    error.is_recoverable() && error.side != Some(Side::Destination)
}

/// One request for what is missing; what the source says of its checksum.
async fn bring(part: &mut Part, source: &Location, stat: &Stat, order: &CopyOrder) -> Result<Vec<Digest>, Error> {
    let at = part.sums.bytes();
    let range = stat.bytes.filter(|total| at > 0 && at < *total).map(|total| ByteRange { first: at, last: total - 1 });
    let mut reading = source.store.read(&source.path, range).await.map_err(|error| error.at(Side::Source))?;
    if at == 0 && !reading.stated.is_empty() {
        // Nothing has passed yet, so what the source says can be held against all that will.
        let all: Vec<Digest> = order.digests.iter().chain(&reading.stated).cloned().collect();
        part.sums = Checksums::for_comparing(&all);
    }
    loop {
        let next = tokio::time::timeout(order.stall, reading.stream.next()).await.map_err(|_| {
            let text = format!("{source}: operation timeout, no byte moved for {} s", order.stall.as_secs());
            Error::new(Errno::ETIMEDOUT, text).at(Side::Transfer)
        })?;
        let Some(piece) = next.transpose().map_err(|error| error.at(Side::Source))? else { break };
        if let Some(total) = stat.bytes.filter(|total| part.sums.bytes() + piece.len() as u64 > *total) {
            let text = format!("{source}: more than {total} bytes came");
            return Err(Error::new(Errno::ECHECKSUM, text).at(Side::Source));
        }
        part.file.write_all(&piece).await.map_err(|error| os(&error, &part.path).at(Side::Destination))?;
        part.sums.update(&piece);
        order.progress.store(part.sums.bytes(), Ordering::Relaxed);
    }
    let total = stat.bytes.or(reading.bytes);
    if let Some(total) = total.filter(|total| part.sums.bytes() != *total) {
        let text = format!("{source}: {} of {total} bytes came", part.sums.bytes());
        return Err(Error::new(Errno::ECONN, text).at(Side::Source));
    }
    Ok(reading.stated)
}

async fn judge(
    part: &Part,
    source: &Location,
    stat: &Stat,
    stated: &[Digest],
    order: &CopyOrder,
) -> Result<Copied, Error> {
    let mut wanted = order.digests.clone();
    // What was not computed says nothing of what came.
    wanted.extend(stated.iter().filter(|digest| part.sums.get(digest.algorithm()).is_some()).cloned());
    if !wanted.iter().any(|digest| digest.algorithm() == Algorithm::Adler32) {
        let said = source.store.checksum(&source.path, Algorithm::Adler32).await;
        wanted.extend(said.map_err(|error| error.at(Side::Source))?);
    }
    if let Some((expected, found)) = part.sums.contradicts(&wanted) {
        let text = format!("{source}: {found} was read instead of {expected}");
        return Err(Error::new(Errno::ECHECKSUM, text).at(Side::Source));
    }
    // Without a word on its content, a file that was put together from two tries must still be the one that it was.
    if wanted.is_empty() && look(source, order).await? != *stat {
        return Err(
            Error::new(Errno::ECHECKSUM, format!("{source}: it was changed while it was read")).at(Side::Source)
        );
    }
    Ok(Copied { bytes: part.sums.bytes(), adler32: part.sums.adler32().unwrap_or(1) })
}

fn os(error: &std::io::Error, what: &Path) -> Error {
    match Os::from_io_error(error) {
        Some(number) => Error::from_os(number, what.display()),
        None => Error::new(Errno::EIO, format!("{}: {error}", what.display())),
    }
}

fn name_part(parts: &[&str]) -> String {
    let sum = Sha256::digest(parts.join("\n").as_bytes());
    sum.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// What has come so far.
struct Part {
    path: PathBuf,
    file: BufWriter<tokio::fs::File>,
    sums: Checksums,
    /// Whether an earlier call began it.
    is_older: bool,
}

impl Part {
    /// Opens what there is of this version of the source, or begins anew; takes away what is of other versions.
    async fn open(folder: &Path, source: &Location, stat: &Stat, order: &CopyOrder) -> Result<Part, Error> {
        let of_source = format!("{PART_PREFIX}{}-", name_part(&[&source.to_string()]));
        // A source without a time of change is never gone on with: this name is no other's.
        let version = stat.modified.map_or_else(|| dte_base::id::new_id().to_string(), |time| time.to_string());
        let length = stat.bytes.map_or_else(String::new, |bytes| bytes.to_string());
        let name = format!("{of_source}{}", name_part(&[&length, &version]));
        let path = folder.join(&name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o666))
            .map_err(|error| Error::from_os(error, path.display()))?;
        rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::new(Errno::EEXIST, format!("{}: another process is fetching it", path.display())))?;
        forget_others(folder, &of_source, &name).await;
        let file = BufWriter::with_capacity(CHUNK, tokio::fs::File::from_std(file.into()));
        let sums = Checksums::for_comparing(&order.digests);
        let mut part = Part { path, file, sums, is_older: false };
        part.take_up(stat, order).await?;
        Ok(part)
    }

    /// Reads what is there already.
    async fn take_up(&mut self, stat: &Stat, order: &CopyOrder) -> Result<(), Error> {
        let wrong = |error: std::io::Error| os(&error, &self.path);
        let length = self.file.get_ref().metadata().await.map_err(wrong)?.len();
        if stat.bytes.is_none_or(|bytes| length > bytes) {
            return self.empty(order).await;
        }
        let mut buffer = vec![0; CHUNK];
        while self.sums.bytes() < length {
            let read = self.file.get_mut().read(&mut buffer).await.map_err(wrong)?;
            if read == 0 {
                break;
            }
            self.sums.update(&buffer[..read]);
        }
        self.is_older = self.sums.bytes() > 0;
        order.progress.store(self.sums.bytes(), Ordering::Relaxed);
        Ok(())
    }

    async fn empty(&mut self, order: &CopyOrder) -> Result<(), Error> {
        let wrong = |error: std::io::Error| os(&error, &self.path);
        self.file.flush().await.map_err(wrong)?;
        self.file.get_mut().set_len(0).await.map_err(wrong)?;
        self.file.rewind().await.map_err(wrong)?;
        self.sums = Checksums::for_comparing(&order.digests);
        self.is_older = false;
        Ok(())
    }

    async fn commit(mut self, target: &Path, overwrite: bool) -> Result<(), Error> {
        let wrong = |error: std::io::Error| os(&error, target);
        self.file.flush().await.map_err(wrong)?;
        self.file.get_ref().sync_all().await.map_err(wrong)?;
        let length = self.file.get_ref().metadata().await.map_err(wrong)?.len();
        if length != self.sums.bytes() {
            let text = format!("{}: {} bytes were written, it has {length}", self.path.display(), self.sums.bytes());
            return Err(Error::new(Errno::EIO, text));
        }
        let (from, to) = (self.path.clone(), target.to_owned());
        let renamed = tokio::task::spawn_blocking(move || rename(&from, &to, overwrite)).await;
        let renamed = renamed.map_err(|_| Error::new(Errno::ECANCELED, "file work was cut short"))?;
        renamed.map_err(|error| Error::from_os(error, target.display()))
    }

    async fn discard(self) {
        if let Err(error) = tokio::fs::remove_file(&self.path).await {
            tracing::warn!(file = %self.path.display(), %error, "a temporary file could not be removed");
        }
    }
}

fn rename(from: &Path, to: &Path, overwrite: bool) -> rustix::io::Result<()> {
    let here = rustix::fs::CWD;
    if overwrite {
        rustix::fs::rename(from, to)?;
    } else {
        match rustix::fs::renameat_with(here, from, here, to, RenameFlags::NOREPLACE) {
            // Some filesystems cannot do this; a link is refused likewise where something has the name.
            Err(Os::INVAL | Os::NOSYS) => {
                rustix::fs::link(from, to)?;
                rustix::fs::unlink(from)?;
            }
            other => other?,
        }
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fsync(folder)
}

/// Deletes parts of other versions of the source, as far as nobody writes them.
async fn forget_others(folder: &Path, of_source: &str, kept: &str) {
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with(of_source) || name == kept {
            continue;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(entry.path(), flags, Mode::empty()) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let Err(error) = tokio::fs::remove_file(entry.path()).await
        {
            tracing::warn!(file = %entry.path().display(), %error, "the rest of an earlier download stays behind");
        }
    }
}
