//! Uploads: in one piece, or in many that become an object together. The server holds each against its checksum.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use dte_base::backoff::Backoff;
use dte_http::{Reply, RequestBuilder};
use futures_util::StreamExt as _;
use http::Method;
use md5::{Digest as _, Md5};
use rusty_s3::actions::CreateMultipartUpload;

use super::S3Store;
use super::call::PATIENCE;
use crate::byte_store::{ByteStream, Content, Written};
use crate::checksum::Checksums;
use crate::error::{Errno, Error};

const MIB: u64 = 1 << 20;
/// The usual piece. What fits into one is not cut. S3 takes no smaller ones than 5 MiB, but the last.
const PIECE: u64 = 8 * MIB;
/// A piece where it is not known how many there will be.
const PIECE_OF_UNKNOWN: u64 = 16 * MIB;
/// Pieces are in memory while they are sent.
const LARGEST_PIECE: u64 = 64 * MIB;
/// S3 takes no more.
const MOST_PIECES: u64 = 10_000;
/// A piece is sent this often when that may help.
const MOST_TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How large the pieces of a file are.
fn piece_of(bytes: Option<u64>) -> Result<usize, Error> {
    let piece = match bytes {
        None => PIECE_OF_UNKNOWN,
        Some(bytes) => bytes.div_ceil(MOST_PIECES).next_multiple_of(MIB).max(PIECE),
    };
    if piece > LARGEST_PIECE {
        let text = format!("files of more than {} GiB cannot be uploaded", (LARGEST_PIECE * MOST_PIECES) >> 30);
        return Err(Error::new(Errno::ENOSPC, text));
    }
    usize::try_from(piece).map_err(|_| Error::new(Errno::EINVAL, "the file is too large"))
}

pub async fn upload(store: &S3Store, key: &str, mut content: Content) -> Result<Written, Error> {
    let size = piece_of(content.bytes)?;
    let mut sums = Checksums::for_comparing(&content.digests);
    let mut rest = Bytes::new();
    let first = next_piece(&mut content.stream, &mut rest, size, &mut sums).await?;
    if first.len() < size {
        check(key, &sums, &content)?;
        let action = store.bucket.put_object(Some(&store.credentials), key);
        send_piece(store, key, &first, || {
            let request = store.request(Method::PUT, &action);
            if content.overwrite { request } else { request.header("if-none-match", "*") }
        })
        .await?;
        return Ok(Written::default());
    }
    let mut upload = Upload::begin(store, key).await?;
    let outcome = async {
        let mut piece = first;
        while !piece.is_empty() {
            upload.add(&piece).await?;
            piece = next_piece(&mut content.stream, &mut rest, size, &mut sums).await?;
        }
        check(key, &sums, &content)?;
        upload.commit(content.overwrite).await
    };
    match outcome.await {
        Ok(()) => Ok(Written::default()),
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

/// As much as a piece holds; less at the end. `rest` is what was read beyond it.
async fn next_piece(
    stream: &mut ByteStream,
    rest: &mut Bytes,
    size: usize,
    sums: &mut Checksums,
) -> Result<Bytes, Error> {
    let mut piece = BytesMut::new();
    loop {
        let taken = rest.split_to(rest.len().min(size - piece.len()));
        sums.update(&taken);
        piece.extend_from_slice(&taken);
        if piece.len() == size {
            return Ok(piece.freeze());
        }
        match stream.next().await {
            Some(more) => *rest = more?,
            None => return Ok(piece.freeze()),
        }
    }
}

/// Looks at the whole before it becomes visible.
fn check(key: &str, sums: &Checksums, content: &Content) -> Result<(), Error> {
    if let Some(expected) = content.bytes
        && expected != sums.bytes()
    {
        let text = format!("{key}: {} bytes came instead of {expected}", sums.bytes());
        return Err(Error::new(Errno::ECONN, text));
    }
    match sums.contradicts(&content.digests) {
        Some((stated, found)) => Err(Error::new(Errno::ECHECKSUM, format!("{key}: {found} came instead of {stated}"))),
        None => Ok(()),
    }
}

/// Sends a piece, again where that may help.
async fn send_piece(
    store: &S3Store,
    key: &str,
    piece: &Bytes,
    request: impl Fn() -> RequestBuilder,
) -> Result<Reply, Error> {
    let sum = BASE64.encode(Md5::digest(piece));
    let waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut failures = 0;
    loop {
        let request = request().header("content-md5", &sum).header("content-length", piece.len());
        match store.send(Method::PUT, key, request.bytes(piece.clone())).await {
            Err(error) if error.is_recoverable() && failures + 1 < MOST_TRIES => {
                failures += 1;
                tokio::time::sleep(waits.wait(failures)).await;
            }
            other => return other,
        }
    }
}

/// An upload in pieces. Without [`Upload::commit`] the server is told to forget it.
struct Upload {
    store: S3Store,
    key: String,
    id: Option<String>,
    tags: Vec<String>,
}

impl Upload {
    async fn begin(store: &S3Store, key: &str) -> Result<Upload, Error> {
        let action = store.bucket.create_multipart_upload(Some(&store.credentials), key);
        let request = store.request(Method::POST, &action).header("content-length", 0);
        let reply = store.send(Method::POST, key, request).await?;
        let text = store.said_so(reply, key).await?;
        let wrong = |error| Error::new(Errno::EIO, format!("{key}: the server's answer is not understood: {error}"));
        let answer = CreateMultipartUpload::parse_response(&text).map_err(wrong)?;
        let id = Some(answer.upload_id().to_owned());
        Ok(Upload { store: store.clone(), key: key.to_owned(), id, tags: Vec::new() })
    }

    fn id(&self) -> Result<&str, Error> {
        self.id.as_deref().ok_or_else(|| Error::new(Errno::EIO, format!("{}: the upload has ended", self.key)))
    }

    async fn add(&mut self, piece: &Bytes) -> Result<(), Error> {
        let number = u16::try_from(self.tags.len() + 1).unwrap_or(u16::MAX);
        if u64::from(number) > MOST_PIECES {
            return Err(Error::new(Errno::ENOSPC, format!("{}: the file is too large", self.key)));
        }
        let (store, key) = (&self.store, self.key.as_str());
        let action = store.bucket.upload_part(Some(&store.credentials), key, number, self.id()?);
        let reply = send_piece(store, key, piece, || store.request(Method::PUT, &action)).await?;
        let tag = reply.header("etag").map(str::to_owned);
        let tag = tag.ok_or_else(|| Error::new(Errno::EIO, format!("{key}: the server names no tag of a piece")))?;
        self.tags.push(tag);
        Ok(())
    }

    async fn commit(&mut self, overwrite: bool) -> Result<(), Error> {
        let (store, key) = (&self.store, self.key.as_str());
        let tags = self.tags.iter().map(String::as_str);
        let action = store.bucket.complete_multipart_upload(Some(&store.credentials), key, self.id()?, tags);
        // Putting much together takes its time.
        let patience = PATIENCE + Duration::from_secs(self.tags.len() as u64);
        let mut request = store.request(Method::POST, &action).timeout(patience);
        if !overwrite {
            request = request.header("if-none-match", "*");
        }
        let reply = store.send(Method::POST, key, request.bytes(action.body())).await?;
        store.said_so(reply, key).await?;
        self.id = None;
        Ok(())
    }

    async fn abort(&mut self) {
        if let Some(id) = self.id.take() {
            forget(&self.store, &self.key, &id).await;
        }
    }
}

async fn forget(store: &S3Store, key: &str, id: &str) {
    let action = store.bucket.abort_multipart_upload(Some(&store.credentials), key, id);
    if let Err(error) = store.send(Method::DELETE, key, store.request(Method::DELETE, &action)).await {
        tracing::warn!(key, %error, "pieces of an upload stay behind");
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let (store, key) = (self.store.clone(), std::mem::take(&mut self.key));
            self.store.tasks.spawn("the rest of an upload", async move { forget(&store, &key, &id).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[test]
    fn pieces_fit() {
        assert_eq!(piece_of(Some(0)).map(|n| n as u64), Ok(PIECE));
        assert_eq!(piece_of(None).map(|n| n as u64), Ok(PIECE_OF_UNKNOWN));
        let large = 200 << 30;
        let piece = piece_of(Some(large)).expect("fits") as u64;
        assert!(large.div_ceil(piece) <= MOST_PIECES && piece <= LARGEST_PIECE);
        assert_eq!(piece_of(Some(1 << 40)).expect_err("too large").errno, Errno::ENOSPC);
    }

    #[tokio::test]
    async fn a_stream_in_pieces() {
        let parts = ["1234", "", "567", "89"].map(|text| Ok(Bytes::from_static(text.as_bytes())));
        let mut stream: ByteStream = stream::iter(parts).boxed();
        let (mut rest, mut sums) = (Bytes::new(), Checksums::for_comparing(&[]));
        let mut pieces = Vec::new();
        loop {
            let piece = next_piece(&mut stream, &mut rest, 4, &mut sums).await.expect("a piece");
            if piece.is_empty() {
                break;
            }
            pieces.push(String::from_utf8(piece.to_vec()).expect("text"));
        }
        assert_eq!(pieces, ["1234", "5678", "9"]);
        assert_eq!((sums.bytes(), sums.adler32()), (9, Some(0x091e_01de)));
    }
}
