//! Copying from one store to another, so that what becomes visible is whole and right.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dte_base::id::new_id;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::oneshot;

use crate::byte_store::{ByteStream, Content, PART_PREFIX, Reading};
use crate::checksum::Checksums;
use crate::error::{Errno, Error, Side};
use crate::resolve::Location;

/// Without a byte in this time a copy is given up.
pub const STALL: Duration = Duration::from_secs(60);
/// When everything was handed over, a destination may take longer, by its size, to put it safely away: at this many bytes
/// a second, and never longer than [`PUT_AWAY`].
const SLOWEST_PUT_AWAY: u64 = 50_000_000;
const PUT_AWAY: Duration = Duration::from_secs(1800);
/// How often progress is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of a copy before it starts, and how it shall be done.
#[derive(Clone, Debug)]
pub struct CopyOrder {
    /// The length that the file must have.
    pub bytes: Option<u64>,
    /// Checksums that the file must have.
    pub digests: Vec<Digest>,
    /// Whether an existing destination may be replaced.
    pub overwrite: bool,
    /// Names the temporary file, so that a later attempt of the same copy replaces the rest of an earlier one.
    pub part: Option<String>,
    /// Counts the bytes while they pass.
    pub progress: Arc<AtomicU64>,
    /// Without a byte in this time the copy fails.
    pub stall: Duration,
}

impl Default for CopyOrder {
    fn default() -> Self {
        CopyOrder {
            bytes: None,
            digests: Vec::new(),
            overwrite: false,
            part: None,
            progress: Arc::default(),
            stall: STALL,
        }
    }
}

/// What was copied, as read by ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    pub bytes: u64,
    pub adler32: u32,
}

impl Copied {
    pub fn digest(self) -> Digest {
        Digest::adler32(self.adler32)
    }
}

/// Copies `source` to `destination`.
///
/// Every byte is read here once, and the adler32 of what was read is compared with what the order expects, with what the
/// source says of itself, and with what the destination says of what it took in. The last piece is held back until the
/// content is known to be right, so that a destination that shows whole files only never shows a wrong one. At any other
/// destination the content goes to a temporary name beside the final one, which it gets when it was verified.
pub async fn copy_verified(source: &Location, destination: &Location, order: &CopyOrder) -> Result<Copied, Error> {
    let to = Side::Destination;
    if !order.overwrite {
        match destination.store.stat(&destination.path).await {
            Ok(_) => {
                let text = "The destination file exists and overwrite is not enabled";
                return Err(Error::new(Errno::EEXIST, format!("{destination}: {text}")).at(to));
            }
            Err(error) if error.errno == Errno::ENOENT => {}
            Err(error) => return Err(error.at(to)),
        }
    }
    copy_to_free(source, destination, order).await
}

/// The same without looking first whether the destination exists, for a caller that has looked. The destination hears all the
/// same whether it may replace a file.
pub(crate) async fn copy_to_free(
    source: &Location,
    destination: &Location,
    order: &CopyOrder,
) -> Result<Copied, Error> {
    let reading = source.store.read(&source.path, None).await.map_err(|error| error.at(Side::Source))?;
    let promise = Promise::of(source, &reading, order)?;
    let (guard, verdict) = Guard::over(reading.stream, promise.clone(), order.progress.clone()).await?;
    let content = Content {
        stream: guard.boxed(),
        bytes: promise.bytes,
        digests: promise.digests.iter().filter(|d| d.algorithm() == Algorithm::Adler32).take(1).cloned().collect(),
        overwrite: order.overwrite,
    };
    if destination.store.writes_atomically() {
        let copied = deliver(destination, content, verdict, order).await?;
        return match check_destination(destination, copied, None).await {
            Err(error) if error.errno == Errno::ECHECKSUM => Err(clean_up(destination, error).await),
            other => other.map(|()| copied),
        };
    }
    let part = destination.at(part_path(&destination.path, order)?);
    let temporary = Content { overwrite: true, ..content };
    let outcome = async {
        let copied = deliver(&part, temporary, verdict, order).await?;
        check_destination(&part, copied, Some(destination)).await?;
        let named = part.store.rename(&part.path, &destination.path, order.overwrite).await;
        named.map_err(|error| error.at(Side::Destination))?;
        Ok(copied)
    };
    match outcome.await {
        Ok(copied) => Ok(copied),
        Err(error) => Err(clean_up(&part, error).await),
    }
}

/// Removes what must not stay, and gives the error back that led here.
async fn clean_up(what: &Location, error: Error) -> Error {
    match what.store.delete(&what.path).await {
        Err(cause) if cause.errno != Errno::ENOENT => tracing::warn!(%what, %cause, "the rest of a copy stays behind"),
        _ => {}
    }
    error
}

fn part_path(path: &ResourcePath, order: &CopyOrder) -> Result<ResourcePath, Error> {
    let bad = |reason: String| Error::new(Errno::EINVAL, reason).at(Side::Destination);
    let folder = path.parent().ok_or_else(|| bad(format!("{path} cannot be written")))?;
    let id = order.part.clone().unwrap_or_else(|| new_id().to_string());
    folder.child(&format!("{PART_PREFIX}{id}")).map_err(|reason| bad(reason.to_string()))
}

/// Hands the content over, watching that bytes move, and hears what passed.
async fn deliver(to: &Location, content: Content, mut verdict: Verdict, order: &CopyOrder) -> Result<Copied, Error> {
    if !to.store.writes_atomically() {
        // Only our edge makes missing folders by itself.
        let folder = to.path.parent().unwrap_or_default();
        to.store.make_folder(&folder).await.map_err(|error| error.at(Side::Destination))?;
    }
    let total = content.bytes;
    let writing = to.store.write(&to.path, content);
    let outcome = tokio::select! {
        written = writing => written,
        () = stalled(&order.progress, total, order.stall) => {
            let text = format!("{to}: operation timeout, no byte moved for {} s", order.stall.as_secs());
            return Err(Error::new(Errno::ETIMEDOUT, text).at(Side::Transfer));
        }
    };
    // The reader's own findings come first: the destination only sees a body that breaks off.
    // (Not polled: a task that has used up its turn would be told that nothing is there yet.)
    match (verdict.try_recv(), outcome) {
        (Ok(Err(error)), _) => Err(error),
        (_, Err(error)) => Err(error.at(Side::Destination)),
        (Ok(Ok(copied)), Ok(written)) => match written.stated.iter().find(|d| contradicts(d, copied)) {
            Some(stated) => Err(mismatch(Side::Destination, to, stated, copied)),
            None => Ok(copied),
        },
        (_, Ok(_)) => {
            let text = format!("{to}: the destination was content before it had everything");
            Err(Error::new(Errno::EIO, text).at(Side::Destination))
        }
    }
}

fn contradicts(stated: &Digest, copied: Copied) -> bool {
    stated.algorithm() == Algorithm::Adler32 && *stated != copied.digest()
}

fn mismatch(side: Side, place: &Location, stated: &Digest, copied: Copied) -> Error {
    let text = format!("{place} is said to have {stated}, {} was read", copied.digest());
    Error::new(Errno::ECHECKSUM, text).at(side)
}

/// Resolves when the count has not moved for `limit`; once it has reached the total there is more patience.
async fn stalled(progress: &AtomicU64, total: Option<u64>, limit: Duration) {
    let look = LOOK.min(limit);
    let mut seen = progress.load(Ordering::Relaxed);
    let mut quiet = Duration::ZERO;
    loop {
        tokio::time::sleep(look).await;
        let now = progress.load(Ordering::Relaxed);
        quiet = if now == seen { quiet + look } else { Duration::ZERO };
        seen = now;
        let patience = match total {
            Some(total) if total == now => limit + Duration::from_secs(total / SLOWEST_PUT_AWAY).min(PUT_AWAY),
            _ => limit,
        };
        if quiet >= patience {
            return;
        }
    }
}

/// Compares what was read with what the destination says; by length where it knows no checksum.
async fn check_destination(place: &Location, copied: Copied, named: Option<&Location>) -> Result<(), Error> {
    let side = Side::Destination;
    let shown = named.unwrap_or(place);
    match place.store.checksum(&place.path, Algorithm::Adler32).await.map_err(|error| error.at(side))? {
        Some(stated) if contradicts(&stated, copied) => Err(mismatch(side, shown, &stated, copied)),
        Some(_) => Ok(()),
        None => {
            let stat = place.store.stat(&place.path).await.map_err(|error| error.at(side))?;
            let text = match stat.bytes {
                Some(bytes) if bytes == copied.bytes => return Ok(()),
                Some(bytes) => format!("{shown} has {bytes} bytes, {} were read", copied.bytes),
                None => format!(
                    "{shown}: the server says neither a checksum nor a length, so nothing shows that it is right"
                ),
            };
            Err(Error::new(Errno::ECHECKSUM, text).at(side))
        }
    }
}

/// What the content must turn out to be.
#[derive(Clone)]
struct Promise {
    bytes: Option<u64>,
    digests: Vec<Digest>,
    shown: String,
}

impl Promise {
    /// Joins what the order expects with what the source says; a contradiction ends the copy before a byte moves.
    fn of(source: &Location, reading: &Reading, order: &CopyOrder) -> Result<Promise, Error> {
        if let (Some(expected), Some(found)) = (order.bytes, reading.bytes)
            && expected != found
        {
            let text = format!("{source} has {found} bytes instead of {expected}");
            return Err(Error::new(Errno::ECHECKSUM, text).at(Side::Source));
        }
        for expected in &order.digests {
            let stated = reading.stated.iter().find(|stated| stated.algorithm() == expected.algorithm());
            if let Some(stated) = stated.filter(|stated| *stated != expected) {
                let text = format!("{source} is said to have {stated} instead of {expected}");
                return Err(Error::new(Errno::ECHECKSUM, text).at(Side::Source));
            }
        }
        let mut digests = order.digests.clone();
        digests.extend(reading.stated.iter().filter(|stated| !order.digests.contains(stated)).cloned());
        Ok(Promise { bytes: order.bytes.or(reading.bytes), digests, shown: source.to_string() })
    }

    fn check(&self, sums: &Checksums) -> Result<Copied, Error> {
        if let Some(expected) = self.bytes
            && sums.bytes() != expected
        {
            let text = format!("{}: {} bytes came instead of {expected}", self.shown, sums.bytes());
            // Fewer bytes are a broken connection; more are another file.
            let errno = if sums.bytes() < expected { Errno::ECONN } else { Errno::ECHECKSUM };
            return Err(Error::new(errno, text).at(Side::Source));
        }
        if let Some((expected, found)) = sums.contradicts(&self.digests) {
            let text = format!("{}: {found} was read instead of {expected}", self.shown);
            return Err(Error::new(Errno::ECHECKSUM, text).at(Side::Source));
        }
        Ok(Copied { bytes: sums.bytes(), adler32: sums.adler32().unwrap_or(1) })
    }
}

/// What the reader found out.
type Verdict = oneshot::Receiver<Result<Copied, Error>>;

/// Passes a stream on, one piece late, so that the last piece goes out only after everything was found right.
struct Guard {
    source: ByteStream,
    held: Option<Bytes>,
    sums: Checksums,
    promise: Promise,
    progress: Arc<AtomicU64>,
    answer: Option<oneshot::Sender<Result<Copied, Error>>>,
}

impl Guard {
    /// Reads the first piece, so that an empty file is judged before the destination hears of it: it may never ask for what
    /// has no bytes.
    async fn over(source: ByteStream, promise: Promise, progress: Arc<AtomicU64>) -> Result<(Guard, Verdict), Error> {
        // An empty file has ended before the destination asks for it, and not every stream can be asked again.
        let mut source = source.fuse().boxed();
        let sums = Checksums::for_comparing(&promise.digests);
        let (answer, verdict) = oneshot::channel();
        progress.store(0, Ordering::Relaxed);
        let mut guard =
            Guard { source: stream::empty().boxed(), held: None, sums, promise, progress, answer: Some(answer) };
        loop {
            match source.next().await.transpose().map_err(|error| error.at(Side::Source))? {
                Some(piece) if piece.is_empty() => {}
                Some(first) => {
                    guard.sums.update(&first);
                    guard.held = Some(first);
                    break;
                }
                None => {
                    let nothing = guard.promise.check(&guard.sums)?;
                    guard.tell(Ok(nothing));
                    break;
                }
            }
        }
        guard.source = source;
        Ok((guard, verdict))
    }

    /// Tells the verdict, once.
    fn tell(&mut self, verdict: Result<Copied, Error>) {
        if let Some(answer) = self.answer.take() {
            // Nobody listens when the copy was given up; then nobody needs it.
            let _ = answer.send(verdict);
        }
    }
}

impl Stream for Guard {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.answer.is_none() {
            return Poll::Ready(None);
        }
        match self.source.as_mut().poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(next))) => {
                self.sums.update(&next);
                let Some(ready) = self.held.replace(next) else {
                    return Poll::Ready(Some(Ok(Bytes::new())));
                };
                self.progress.fetch_add(ready.len() as u64, Ordering::Relaxed);
                Poll::Ready(Some(Ok(ready)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = error.at(Side::Source);
                self.tell(Err(error.clone()));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                let verdict = self.promise.check(&self.sums);
                let item = match &verdict {
                    Ok(_) => self.held.take().map(Ok),
                    Err(error) => Some(Err(error.clone())),
                };
                if let Some(Ok(last)) = &item {
                    self.progress.fetch_add(last.len() as u64, Ordering::Relaxed);
                }
                self.tell(verdict);
                Poll::Ready(item)
            }
        }
    }
}
