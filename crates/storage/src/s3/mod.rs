//! The plugin for object stores that speak S3.
//!
//! Keys are taken for paths: `a/b` is the file `b` in the folder `a`, which is there as long as a key begins with `a/`. A folder
//! of its own is an empty object whose key ends with `/`, as other clients of the field make it. An object appears whole
//! or not at all.
//!
//! Rooms: [`access`] (URLs, and which credential is for which), `call` (signed requests), `upload` (in one piece or many).

pub mod access;
mod call;
mod upload;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_http::{Client, Reply};
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::header::parse_http_date;
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::range::{ByteRange, parse_content_range};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::Method;
use rusty_s3::actions::{ListObjectsV2, ListObjectsV2Response};
use rusty_s3::{Bucket, Credentials, S3Action as _};

use crate::byte_store::{Answer, ByteStore, Content, Entry, PART_PREFIX, Reading, Stat, Written};
use crate::error::{Errno, Error};

/// Largest page of a listing that is read.
const LARGEST_PAGE: usize = 16 << 20;
/// Has the server tell the checksums that it keeps.
const CHECKSUM_MODE: (&str, &str) = ("x-amz-checksum-mode", "ENABLED");
/// What the server copies from.
const COPY_SOURCE: &str = "x-amz-copy-source";

/// A bucket as a store, with one credential.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    bucket: Bucket,
    credentials: Credentials,
    tasks: Tasks,
}

/// The key of a file.
fn key_of(path: &ResourcePath) -> String {
    path.components().join("/")
}

/// What the keys in a folder begin with.
fn prefix_of(path: &ResourcePath) -> String {
    if path.is_root() { String::new() } else { format!("{}/", key_of(path)) }
}

impl S3Store {
    /// Requests are made through `client`. Uploads that are let go of are ended by one of `tasks`.
    pub fn new(client: Client, bucket: Bucket, credentials: Credentials, tasks: Tasks) -> S3Store {
        S3Store { client, bucket, credentials, tasks }
    }

    fn missing(&self, path: &ResourcePath) -> Error {
        Error::new(Errno::ENOENT, self.bucket.object_url(&key_of(path)))
    }

    async fn head(&self, key: &str) -> Result<Reply, Error> {
        let mut action = self.bucket.head_object(Some(&self.credentials), key);
        action.headers_mut().insert(CHECKSUM_MODE.0, CHECKSUM_MODE.1);
        let request = self.request(Method::HEAD, &action).header(CHECKSUM_MODE.0, CHECKSUM_MODE.1);
        self.send(Method::HEAD, key, request).await
    }

    /// The file of this name; none when there is none.
    async fn file(&self, path: &ResourcePath) -> Result<Option<Stat>, Error> {
        if path.is_root() {
            return Ok(None);
        }
        match self.head(&key_of(path)).await {
            Ok(reply) => Ok(Some(Stat {
                is_folder: false,
                bytes: reply.header("content-length").and_then(|text| text.parse().ok()),
                modified: reply.header("last-modified").and_then(parse_http_date),
            })),
            Err(error) if error.errno == Errno::ENOENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn page(&self, action: &ListObjectsV2<'_>, prefix: &str) -> Result<ListObjectsV2Response, Error> {
        let reply = self.send(Method::GET, prefix, self.request(Method::GET, action)).await?;
        let broken = |why: String| Error::new(Errno::EIO, format!("{}: {why}", self.bucket.object_url(prefix)));
        let body = reply.bytes(LARGEST_PAGE).await.map_err(|error| broken(error.to_string()))?;
        let text = std::str::from_utf8(&body).map_err(|_| broken("the listing is not UTF-8".to_owned()))?;
        ListObjectsV2::parse_response(text).map_err(|error| broken(format!("the listing is not understood: {error}")))
    }

    /// Up to two keys that begin as those of this folder do: enough to tell whether it is there, and empty.
    async fn some_of(&self, path: &ResourcePath) -> Result<Vec<String>, Error> {
        let prefix = prefix_of(path);
        let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
        action.with_prefix(prefix.as_str());
        action.with_max_keys(2);
        let page = self.page(&action, &prefix).await?;
        Ok(page.contents.into_iter().map(|object| object.key).collect())
    }

    async fn members(&self, path: &ResourcePath) -> Result<Vec<Entry>, Error> {
        let prefix = prefix_of(path);
        let (mut entries, mut is_there, mut after) = (Vec::new(), path.is_root(), None::<String>);
        loop {
            let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
            action.with_prefix(prefix.as_str());
            action.with_delimiter("/");
            if let Some(token) = &after {
                action.with_continuation_token(token.as_str());
            }
            let page = self.page(&action, &prefix).await?;
            is_there |= !page.contents.is_empty() || !page.common_prefixes.is_empty();
            for object in page.contents {
                let modified = object.last_modified.and_then(|text| text.parse::<Timestamp>().ok());
                let stat = Stat { is_folder: false, bytes: object.size, modified };
                entries.extend(entry(&prefix, &object.key, stat));
            }
            for folder in page.common_prefixes {
                let stat = Stat { is_folder: true, bytes: Some(0), modified: None };
                // A key with nothing between two slashes has no path, and is not to be passed over either.
                let folder = folder.prefix.strip_suffix('/').unwrap_or(&folder.prefix);
                let key = if folder == prefix { format!("{prefix}/") } else { folder.to_owned() };
                entries.extend(entry(&prefix, &key, stat));
            }
            after = page.next_continuation_token;
            if after.is_none() {
                break;
            }
        }
        if is_there {
            return Ok(entries);
        }
        match self.file(path).await? {
            Some(_) => Err(Error::new(Errno::ENOTDIR, self.bucket.object_url(&key_of(path)))),
            None => Err(self.missing(path)),
        }
    }

    async fn remove(&self, key: &str) -> Result<(), Error> {
        let action = self.bucket.delete_object(Some(&self.credentials), key);
        self.send(Method::DELETE, key, self.request(Method::DELETE, &action)).await.map(|_| ())
    }

    async fn copy_within(&self, from: &str, to: &str) -> Result<(), Error> {
        let source = format!("/{}{}", self.bucket.name(), object_path(from));
        let mut action = self.bucket.put_object(Some(&self.credentials), to);
        action.headers_mut().insert(COPY_SOURCE, source.as_str());
        let request = self.request(Method::PUT, &action).header(COPY_SOURCE, source.as_str());
        let reply = self.send(Method::PUT, to, request).await?;
        self.said_so(reply, to).await.map(|_| ())
    }
}

/// The path of a key, encoded as in URLs.
fn object_path(key: &str) -> String {
    key.split('/').fold(String::new(), |path, part| path + "/" + &dte_protocol_webdav::path::encode_component(part))
}

/// The member of a folder that a key stands for. The folder's own key stands for none.
fn entry(prefix: &str, key: &str, stat: Stat) -> Option<Entry> {
    let name = key.strip_prefix(prefix)?;
    (!name.is_empty() && !name.starts_with(PART_PREFIX)).then(|| Entry { name: name.to_owned(), stat })
}

/// The checksums of the whole object that the server keeps. One that was made of the checksums of parts (with a hyphen)
/// is none of the content; nor is an entity tag, whatever it looks like.
fn stated(reply: &Reply) -> Vec<Digest> {
    let of = |name: &str, algorithm| {
        let value = BASE64.decode(reply.header(name)?).ok()?;
        Digest::new(algorithm, value)
    };
    let known = [("x-amz-checksum-crc32c", Algorithm::Crc32c), ("x-amz-checksum-sha256", Algorithm::Sha256)];
    known.into_iter().filter_map(|(name, algorithm)| of(name, algorithm)).collect()
}

impl ByteStore for S3Store {
    fn stat<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Stat> {
        Box::pin(async move {
            if let Some(file) = self.file(path).await? {
                return Ok(file);
            }
            if path.is_root() || !self.some_of(path).await?.is_empty() {
                return Ok(Stat { is_folder: true, bytes: Some(0), modified: None });
            }
            Err(self.missing(path))
        })
    }

    fn list<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Vec<Entry>> {
        Box::pin(self.members(path))
    }

    fn read<'a>(&'a self, path: &'a ResourcePath, range: Option<ByteRange>) -> Answer<'a, Reading> {
        Box::pin(async move {
            let key = key_of(path);
            let mut action = self.bucket.get_object(Some(&self.credentials), &key);
            action.headers_mut().insert(CHECKSUM_MODE.0, CHECKSUM_MODE.1);
            let mut request = self.request(Method::GET, &action).header(CHECKSUM_MODE.0, CHECKSUM_MODE.1);
            if let Some(range) = range {
                request = request.header("range", format!("bytes={}-{}", range.first, range.last));
            }
            let reply = self.send(Method::GET, &key, request).await?;
            let answered = reply.header("content-range").and_then(parse_content_range);
            if let Some(wanted) = range
                && answered.is_none_or(|(got, _)| got.first != wanted.first)
            {
                let text = format!("{}: a range was asked for and something else came", self.bucket.object_url(&key));
                return Err(Error::new(Errno::ENOSYS, text));
            }
            let bytes = reply.header("content-length").and_then(|text| text.parse().ok());
            let stated = if range.is_some() { Vec::new() } else { stated(&reply) };
            let shown = self.bucket.object_url(&key);
            let stream = reply
                .body
                .into_data_stream()
                .map_err(move |error| Error::new(Errno::ECONN, format!("GET {shown}: the answer broke off: {error}")));
            Ok(Reading { bytes, stated, stream: stream.boxed() })
        })
    }

    fn write<'a>(&'a self, path: &'a ResourcePath, content: Content) -> Answer<'a, Written> {
        Box::pin(async move {
            if path.is_root() {
                return Err(Error::new(Errno::EISDIR, self.bucket.base_url().as_str()));
            }
            if !content.overwrite && self.file(path).await?.is_some() {
                return Err(Error::new(Errno::EEXIST, self.bucket.object_url(&key_of(path))));
            }
            upload::upload(self, &key_of(path), content).await
        })
    }

    /// By a copy on the server, which object stores have in place of renaming; of files only.
    fn rename<'a>(&'a self, from: &'a ResourcePath, to: &'a ResourcePath, overwrite: bool) -> Answer<'a, ()> {
        Box::pin(async move {
            let Some(before) = self.file(from).await? else {
                let is_folder = !self.some_of(from).await?.is_empty();
                let text = format!("{from}: object stores cannot rename folders");
                return Err(if is_folder { Error::new(Errno::ENOSYS, text) } else { self.missing(from) });
            };
            if !overwrite && self.file(to).await?.is_some() {
                return Err(Error::new(Errno::EEXIST, self.bucket.object_url(&key_of(to))));
            }
            self.copy_within(&key_of(from), &key_of(to)).await?;
            match self.file(to).await? {
                Some(after) if after.bytes == before.bytes => self.remove(&key_of(from)).await,
                _ => Err(Error::new(Errno::EIO, format!("{to}: the server copied something else"))),
            }
        })
    }

    fn delete<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(async move {
            if self.file(path).await?.is_some() {
                return self.remove(&key_of(path)).await;
            }
            let marker = prefix_of(path);
            match self.some_of(path).await?.as_slice() {
                [] => Err(self.missing(path)),
                [only] if *only == marker => self.remove(&marker).await,
                _ => Err(Error::new(Errno::ENOTEMPTY, self.bucket.object_url(&marker))),
            }
        })
    }

    fn make_folder<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(async move {
            if path.is_root() || !self.some_of(path).await?.is_empty() {
                return Ok(());
            }
            let marker = prefix_of(path);
            let action = self.bucket.put_object(Some(&self.credentials), &marker);
            let request = self.request(Method::PUT, &action).header("content-length", 0);
            self.send(Method::PUT, &marker, request).await.map(|_| ())
        })
    }

    fn checksum<'a>(&'a self, path: &'a ResourcePath, algorithm: Algorithm) -> Answer<'a, Option<Digest>> {
        Box::pin(async move {
            let reply = self.head(&key_of(path)).await?;
            Ok(stated(&reply).into_iter().find(|digest| digest.algorithm() == algorithm))
        })
    }

    fn writes_atomically(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_paths() {
        let path = |text: &str| ResourcePath::from_plain(text).expect("a path");
        assert_eq!((key_of(&path("/a/b c")), prefix_of(&path("/a/b"))), ("a/b c".to_owned(), "a/b/".to_owned()));
        assert_eq!(prefix_of(&path("/")), "");
        assert_eq!(object_path("a/b c"), "/a/b%20c");
        let stat = Stat { is_folder: false, bytes: Some(1), modified: None };
        let name = |key: &str| entry("a/", key, stat.clone()).map(|entry| entry.name);
        assert_eq!(name("a/b").as_deref(), Some("b"));
        assert_eq!(name("a/..").as_deref(), Some(".."));
        for odd in ["a/", "b/c", "a/.dte-part-1"] {
            assert_eq!(name(odd), None, "{odd}");
        }
    }
}
