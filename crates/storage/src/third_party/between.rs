//! A copy between two other servers: one of them is told to make it, and tells how far it is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_http::Reply;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::markers::{Reader, Told, Trailer};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::address::shown;
use super::party::{Looked, Party};
use super::rest::{Before, Rest};
use crate::checksum::Checksums;
use crate::error::{Errno, Error, Side};
use crate::transfer::{Copied, CopyOrder};
use crate::webdav::errno_of;

/// How long a server may take to begin to answer.
const PATIENCE: Duration = Duration::from_secs(180);

/// Which of the two servers makes the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// The destination fetches the file.
    Destination,
    /// The source brings it.
    Source,
}

/// Why there is no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// The server that should make it cannot do such a thing at all; nothing has happened.
    Unsupported(Error),
    /// It does not make this one, which says nothing of others; nothing has happened.
    Declined(Error),
    Failed(Error),
}

impl Undone {
    /// Whether the server said that it did nothing, as opposed to being silent or breaking down.
    fn is_refusal(&self) -> bool {
        match self {
            Undone::Unsupported(_) | Undone::Declined(_) => true,
            Undone::Failed(error) => matches!(error.errno, Errno::EACCES | Errno::ENOENT | Errno::EEXIST),
        }
    }
}

impl From<Error> for Undone {
    fn from(error: Error) -> Undone {
        Undone::Failed(error)
    }
}

/// Whether the server says that it makes third-party copies.
pub async fn offers_copies(party: &Party) -> Result<bool, Error> {
    let reply = party.must(&Method::OPTIONS, &HeaderMap::new()).await?;
    let allowed = reply.headers.get_all("allow").iter().filter_map(|value| value.to_str().ok());
    Ok(allowed.flat_map(|text| text.split(',')).any(|method| method.trim().eq_ignore_ascii_case("COPY")))
}

/// Has the file copied from `source` to `destination`, and looks whether it arrived as it was.
///
/// Letting go of this lets go of the connection, at which servers end a copy; one of `tasks` then takes away the part that they may
/// have left.
pub async fn copy_between(
    source: &Party,
    destination: &Party,
    active: Active,
    order: &CopyOrder,
    tasks: &Tasks,
) -> Result<Copied, Undone> {
    let from = source.look(Some(Algorithm::Adler32)).await.map_err(|error| error.at(Side::Source))?;
    let expected = expectation(source, &from, order)?;
    let before = Before::look(destination).await.map_err(|error| error.at(Side::Destination))?;
    if before.is_something() && !order.overwrite {
        let text = format!("{destination}: The destination file exists and overwrite is not enabled");
        return Err(Error::new(Errno::EEXIST, text).at(Side::Destination).into());
    }
    let mut part = Part { before: Some(before), party: destination.clone(), bytes: from.bytes, tasks: tasks.clone() };
    let reply = match command(source, destination, active, order).await {
        Ok(reply) => reply,
        Err(undone) => {
            if undone.is_refusal() {
                part.before = None;
            }
            return Err(undone);
        }
    };
    let (outcome, rest) = match follow(reply, active, order).await {
        Ok(()) => {
            let outcome = verify(destination, &from, expected, order).await;
            let is_wrong = outcome.as_ref().is_err_and(|error| error.errno == Errno::ECHECKSUM);
            (outcome, if is_wrong { Rest::Wrong } else { Rest::Part(from.bytes) })
        }
        Err(error) => (Err(error), Rest::Part(from.bytes)),
    };
    if let Err(error) = &outcome
        && error.errno != Errno::EEXIST
        && let Some(before) = &part.before
    {
        before.restore(destination, rest).await;
    }
    part.before = None;
    Ok(outcome?)
}

/// What an unfinished copy may have left.
struct Part {
    /// None when there is nothing to take away any more.
    before: Option<Before>,
    party: Party,
    bytes: Option<u64>,
    tasks: Tasks,
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            let (party, bytes, tasks) = (self.party.clone(), self.bytes, self.tasks.clone());
            let stopping = self.tasks.clone();
            tasks.spawn("the rest of a third-party copy", async move {
                tokio::select! {
                    () = before.restore_late(&party, bytes) => {}
                    () = stopping.stopping() => {}
                }
            });
        }
    }
}

/// What the file must turn out to have: as the order says, else as the source says. A contradiction ends it here.
fn expectation(source: &Party, from: &Looked, order: &CopyOrder) -> Result<Option<Digest>, Error> {
    if let (Some(expected), Some(found)) = (order.bytes, from.bytes)
        && expected != found
    {
        let text = format!("{source} has {found} bytes instead of {expected}");
        return Err(Error::new(Errno::ECHECKSUM, text).at(Side::Source));
    }
    let is_adler = |digest: &&Digest| digest.algorithm() == Algorithm::Adler32;
    let (wanted, stated) = (order.digests.iter().find(is_adler), from.digests.iter().find(is_adler));
    match (wanted, stated) {
        (Some(wanted), Some(stated)) if wanted != stated => {
            let text = format!("{source} is said to have {stated} instead of {wanted}");
            Err(Error::new(Errno::ECHECKSUM, text).at(Side::Source))
        }
        (wanted, stated) => Ok(wanted.or(stated).cloned()),
    }
}

async fn command(source: &Party, destination: &Party, active: Active, order: &CopyOrder) -> Result<Reply, Undone> {
    let (maker, other, name) = match active {
        Active::Destination => (destination, source, "source"),
        Active::Source => (source, destination, "destination"),
    };
    let bad = |_| Error::new(Errno::EINVAL, "a header of a third-party copy has impossible characters");
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static(name), HeaderValue::try_from(other.url.as_str()).map_err(bad)?);
    headers.insert("overwrite", HeaderValue::from_static(if order.overwrite { "T" } else { "F" }));
    headers.insert("credential", HeaderValue::from_static("none"));
    // We look ourselves, at both ends.
    headers.insert("requirechecksumverification", HeaderValue::from_static("false"));
    for (name, value) in &other.headers {
        let passed = HeaderName::try_from(format!("transferheader{name}"));
        headers.append(passed.map_err(|_| Error::new(Errno::EINVAL, "a header cannot be passed on"))?, value.clone());
    }
    // XRootD 5.5 knows TransferHeaderAuthorization in just these capitals, which our client cannot write; and this instead.
    if let Some(credential) = other.headers.get(AUTHORIZATION) {
        let text = HeaderValue::from_bytes(&[b"Authorization: ", credential.as_bytes()].concat());
        let mut text = text.map_err(|_| Error::new(Errno::EINVAL, "a credential fits into no header"))?;
        text.set_sensitive(true);
        headers.insert(HeaderName::from_static("copy-header"), text);
    }
    let method = Method::from_bytes(b"COPY").unwrap_or_default();
    let sending = maker.send_to(&maker.url, &method, &headers, axum::body::Body::empty(), |_| {});
    let side = if active == Active::Destination { Side::Destination } else { Side::Source };
    let reply = tokio::time::timeout(PATIENCE, sending).await.map_err(|_| {
        let text = format!("COPY {maker}: operation timeout, no answer within {} s", PATIENCE.as_secs());
        Error::new(Errno::ETIMEDOUT, text).at(side)
    })?;
    let reply = reply.map_err(|error| error.at(side))?;
    let cannot =
        matches!(reply.status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED | StatusCode::BAD_GATEWAY);
    // The credential of the other server goes no further than where it was sent.
    let elsewhere = reply.status.is_redirection();
    if cannot || elsewhere {
        let what = if elsewhere { "is redirected" } else { "is not supported" };
        let text = format!("COPY {}: a third-party copy {what} ({})", shown(&maker.url), reply.status.as_u16());
        let error = Error::new(Errno::ENOSYS, text).at(side);
        // 405 is about the one resource: a folder answers so too.
        let is_lasting = reply.status == StatusCode::NOT_IMPLEMENTED;
        return Err(if is_lasting { Undone::Unsupported(error) } else { Undone::Declined(error) });
    }
    Ok(reply.ok().await.map_err(|error| maker.explain(&method, &maker.url, error).at(side))?)
}

/// Reads how far the copy is, until it has ended.
async fn follow(reply: Reply, active: Active, order: &CopyOrder) -> Result<(), Error> {
    let mut reader = Reader::default();
    let mut stripes: Vec<u64> = Vec::new();
    let mut body = reply.body.into_data_stream();
    let mut moved = tokio::time::Instant::now();
    let late = |what: &str| {
        let text = format!("{what} for {} s (performance marker)", order.stall.as_secs());
        Error::new(Errno::ETIMEDOUT, format!("operation timeout, {text}")).at(Side::Transfer)
    };
    loop {
        let piece = tokio::time::timeout(order.stall, body.next()).await.map_err(|_| late("nothing was heard"))?;
        let told = match piece {
            Some(Ok(piece)) => reader.push(&piece),
            // A connection that breaks and one that ends are the same here: the last word counts.
            Some(Err(_)) | None => {
                let last = std::mem::take(&mut reader).finish();
                return last
                    .map_or_else(|| Err(no_word()), |told| ended(told, active).unwrap_or_else(|| Err(no_word())));
            }
        };
        for told in told {
            if let Told::Marker(marker) = &told {
                note(&mut stripes, marker.stripe, marker.bytes);
                let sum = stripes.iter().sum();
                if order.progress.swap(sum, Ordering::Relaxed) != sum {
                    moved = tokio::time::Instant::now();
                }
            } else if let Some(end) = ended(told, active) {
                return end;
            }
        }
        if moved.elapsed() > order.stall {
            return Err(late("no byte moved"));
        }
    }
}

/// Stripes that are counted; a server that speaks of more is not believed.
const MOST_STRIPES: u64 = 1024;

fn note(stripes: &mut Vec<u64>, stripe: u64, bytes: u64) {
    if stripe < MOST_STRIPES {
        let index = usize::try_from(stripe).unwrap_or(0);
        if stripes.len() <= index {
            stripes.resize(index + 1, 0);
        }
        stripes[index] = bytes;
    }
}

fn no_word() -> Error {
    let text = "Connection terminated abruptly; Status of TPC request unknown (performance marker)";
    Error::new(Errno::ECONN, text).at(Side::Transfer)
}

fn ended(told: Told, active: Active) -> Option<Result<(), Error>> {
    match told {
        Told::Marker(_) => None,
        Told::End(Trailer::Success(_)) => Some(Ok(())),
        Told::End(Trailer::Aborted(text)) => {
            Some(Err(Error::new(Errno::ECONN, format!("the server ended the copy: {text}")).at(Side::Transfer)))
        }
        Told::End(Trailer::Failure(text)) => Some(Err(understand(text, active))),
    }
}

/// From what a server says of its failure to the category, as far as the words tell.
fn understand(text: String, active: Active) -> Error {
    let (passive, method) = match active {
        Active::Destination => (Side::Source, Method::GET),
        Active::Source => (Side::Destination, Method::PUT),
    };
    let lower = text.to_ascii_lowercase();
    let code = lower.split("status code").nth(1).and_then(|rest| {
        let digits: String = rest.trim_start_matches([':', ' ']).chars().take_while(char::is_ascii_digit).collect();
        StatusCode::from_bytes(digits.as_bytes()).ok()
    });
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let (errno, side) = match code {
        Some(code) => (errno_of(code, &method, false), passive),
        None if has(&["checksum", "digest"]) => (Errno::ECHECKSUM, Side::Transfer),
        None if has(&["file exists", "already exists", "destination exists", "(412)"]) => {
            (Errno::EEXIST, Side::Destination)
        }
        None if has(&["no space", "quota"]) => (Errno::ENOSPC, Side::Destination),
        None if has(&["timeout", "timed out"]) => (Errno::ETIMEDOUT, Side::Transfer),
        None if has(&["connect", "resolve"]) => (Errno::ECONN, passive),
        None => (Errno::EIO, Side::Transfer),
    };
    Error::new(errno, format!("the server that copied says: {text}")).at(side)
}

/// Looks whether what arrived is what was expected. A destination that tells no checksum is read.
async fn verify(
    destination: &Party,
    from: &Looked,
    expected: Option<Digest>,
    order: &CopyOrder,
) -> Result<Copied, Error> {
    let at = |error: Error| error.at(Side::Destination);
    let there = destination.look(Some(Algorithm::Adler32)).await.map_err(at)?;
    let wrong = |text: String| Error::new(Errno::ECHECKSUM, text).at(Side::Destination);
    if let (Some(wanted), Some(found)) = (order.bytes.or(from.bytes), there.bytes)
        && wanted != found
    {
        return Err(wrong(format!("{destination} has {found} bytes, the source {wanted}")));
    }
    let told = there.digests.into_iter().find(|digest| digest.algorithm() == Algorithm::Adler32);
    let others = order.digests.iter().any(|digest| digest.algorithm() != Algorithm::Adler32);
    let (bytes, digest) = match (told, there.bytes) {
        (Some(digest), Some(bytes)) if !others => (bytes, digest),
        (told, _) => {
            let sums = read_back(destination, &order.digests).await.map_err(at)?;
            if let Some((stated, found)) = sums.contradicts(&order.digests) {
                return Err(wrong(format!("{destination} has {found} instead of {stated}")));
            }
            let read = Digest::adler32(sums.adler32().unwrap_or(1));
            (sums.bytes(), told.unwrap_or(read))
        }
    };
    if let Some(expected) = expected
        && expected != digest
    {
        return Err(wrong(format!("{destination} is said to have {digest} instead of {expected}")));
    }
    let value: [u8; 4] = digest.value().try_into().map_err(|_| wrong(format!("{digest} is no adler32")))?;
    order.progress.store(bytes, Ordering::Relaxed);
    Ok(Copied { bytes, adler32: u32::from_be_bytes(value) })
}

async fn read_back(destination: &Party, digests: &[Digest]) -> Result<Checksums, Error> {
    let mut sums = Checksums::for_comparing(digests);
    let mut reading = destination.open().await?;
    while let Some(piece) = reading.stream.try_next().await? {
        sums.update(&piece);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say() {
        let of = |text: &str, active| {
            let error = understand(text.to_owned(), active);
            (error.errno, error.side)
        };
        let remote = "Remote side failed with status code 404; error message: \"x\"";
        assert_eq!(of(remote, Active::Destination), (Errno::ENOENT, Some(Side::Source)));
        assert_eq!(of("rejected GET: status code: 403", Active::Destination), (Errno::EACCES, Some(Side::Source)));
        let full = "PUT failed with status code 507";
        assert_eq!(of(full, Active::Source), (Errno::ENOSPC, Some(Side::Destination)));
        assert_eq!(of("Couldn't connect to server", Active::Source), (Errno::ECONN, Some(Side::Destination)));
        assert_eq!(of("Checksum mismatch", Active::Source), (Errno::ECHECKSUM, Some(Side::Transfer)));
        assert_eq!(of("?", Active::Source), (Errno::EIO, Some(Side::Transfer)));
        let mut stripes = Vec::new();
        note(&mut stripes, 2, 5);
        note(&mut stripes, u64::MAX, 5);
        assert_eq!(stripes, [0, 0, 5]);
    }
}
