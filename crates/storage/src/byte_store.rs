//! What a store of bytes can do.

use bytes::Bytes;
use dte_base::time::Timestamp;
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::range::ByteRange;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::error::Error;

/// Content on its way.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// The answer of an operation.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// What is known of a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub is_folder: bool,
    /// Zero for folders; none when the store does not say.
    pub bytes: Option<u64>,
    pub modified: Option<Timestamp>,
}

/// A member of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// One that cannot be part of a path is given as far as it can be shown; [`ResourcePath::child`] refuses it.
    pub name: String,
    pub stat: Stat,
}

/// An opened file.
pub struct Reading {
    /// Length of what follows, if the store says so.
    pub bytes: Option<u64>,
    /// Checksums that the store says of the whole file.
    pub stated: Vec<Digest>,
    pub stream: ByteStream,
}

/// What is to be written.
pub struct Content {
    pub stream: ByteStream,
    /// Its length, if it is known; fewer or more bytes are then an error.
    pub bytes: Option<u64>,
    /// Checksums that the store shall hold the content against.
    pub digests: Vec<Digest>,
    /// Whether an existing file may be replaced; [`Errno::EEXIST`](crate::Errno::EEXIST) otherwise.
    pub overwrite: bool,
}

/// What a store says of a file that it has just taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub stated: Vec<Digest>,
}

/// A place that keeps bytes under paths.
///
/// Paths are relative to the store's own root. No operation follows a path out of it.
pub trait ByteStore: Send + Sync {
    fn stat<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Stat>;

    /// The members of a folder, in no order, without hidden temporary files of this engine.
    fn list<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Vec<Entry>>;

    /// Opens a file, or a stretch of it.
    fn read<'a>(&'a self, path: &'a ResourcePath, range: Option<ByteRange>) -> Answer<'a, Reading>;

    /// Writes a file. Missing folders above are made.
    fn write<'a>(&'a self, path: &'a ResourcePath, content: Content) -> Answer<'a, Written>;

    /// Gives a file or folder another name in the same store.
    fn rename<'a>(&'a self, from: &'a ResourcePath, to: &'a ResourcePath, overwrite: bool) -> Answer<'a, ()>;

    /// Deletes a file or an empty folder.
    fn delete<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()>;

    /// Makes a folder and those above it. One that exists is fine.
    fn make_folder<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()>;

    /// The store's own word on a file's checksum; `None` when it cannot say.
    fn checksum<'a>(&'a self, path: &'a ResourcePath, algorithm: Algorithm) -> Answer<'a, Option<Digest>>;

    /// Whether [`ByteStore::write`] shows the file only when it is whole. Otherwise a copy goes by way of a temporary name.
    fn writes_atomically(&self) -> bool;
}

/// Begins the name of what is not yet a whole file.
pub const PART_PREFIX: &str = ".dte-part-";
