//! What a place that keeps bytes is, and the ways to reach one.
//!
//! * [`ByteStore`]: stat, list, read a range, write, rename, delete, make a folder, tell a checksum;
//! * its plugins: [`mod@file`] (a folder, opened beneath its root), [`webdav`] (HTTP and WebDAV servers) and
//!   [`s3`] (object stores);
//! * [`resolve`]: from a URL to the plugin that serves it;
//! * [`checksum`]: several checksums over one passing stream;
//! * [`transfer`]: [`copy_verified`], which moves bytes from one store to another and never leaves a half-written or wrong
//!   file visible;
//! * [`fetch`](mod@fetch): a download to this machine that goes on where an earlier try broke off;
//! * [`third_party`]: the active party of an HTTP third-party copy;
//! * [`beneath`]: a folder handle below which paths are opened and from which none leads out.
//!
//! Errors carry the category that the field's clients and FTS reason by ([`Errno`]) and say whether trying again may help.

pub mod beneath;
pub mod byte_store;
pub mod checksum;
pub mod error;
pub mod fetch;
pub mod file;
pub mod resolve;
pub mod s3;
pub mod third_party;
pub mod transfer;
pub mod webdav;

pub use byte_store::{ByteStore, ByteStream, Content, Entry, Reading, Stat, Written};
pub use checksum::Checksums;
pub use error::{Errno, Error, Side};
pub use fetch::fetch;
pub use resolve::{Location, Storages};
pub use transfer::{Copied, CopyOrder, copy_verified};
