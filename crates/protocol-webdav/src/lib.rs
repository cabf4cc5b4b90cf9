//! WebDAV and HTTP storage as clients and servers speak it: the shapes on the wire, and a typed client.
//!
//! Nothing here opens a file or decides who may do what. What is here is
//!
//! * [`path`]: a percent-encoded URL path taken apart once, with everything refused that could lead out of a tree;
//! * [`header`]: `Depth`, `Overwrite`, HTTP dates (RFC 4918 section 10, RFC 9110 section 5.6.7);
//! * [`etag`]: entity tags and the conditions made of them (RFC 9110 section 13);
//! * [`range`]: byte ranges (RFC 9110 section 14);
//! * [`digest`]: `Digest`, `Want-Digest` (RFC 3230), `Repr-Digest`, `Want-Repr-Digest` (RFC 9530) and `Content-MD5`;
//! * [`propfind`] and [`multistatus`]: property requests and their answers (RFC 4918 sections 9.1, 13, 14);
//! * [`fragment`]: XML that clients leave with a resource, kept so that it means the same anywhere;
//! * [`lock`] and [`if_header`]: locks, and the conditions that name them (RFC 4918 sections 6, 9.10, 10.4);
//! * [`markers`]: what the active party of a third-party copy tells while it copies;
//! * [`client`]: get, put, stat, list, make folders, move and delete over [`dte_http::Client`].

pub mod client;
pub mod digest;
pub mod etag;
pub mod fragment;
pub mod header;
pub mod if_header;
pub mod lock;
pub mod markers;
pub mod multistatus;
pub mod path;
pub mod propfind;
pub mod range;
pub mod xml;

/// The namespace of WebDAV's own properties.
pub const DAV: &str = "DAV:";
/// Where StoRM WebDAV keeps `Checksum` (adler32 in hex); newer rclone and StoRM's clients ask for it.
pub const STORM: &str = "http://storm.italiangrid.org/2014/webdav";
/// Where dCache keeps `Checksums` (`algorithm=value`, comma-separated).
pub const DCACHE: &str = "http://www.dcache.org/2013/webdav";
/// Where davix looks for the POSIX `mode` (octal).
pub const LCGDM: &str = "LCGDM:";
