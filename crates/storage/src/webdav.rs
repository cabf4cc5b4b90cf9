//! The plugin for HTTP and WebDAV servers.

use axum::body::Body;
use dte_http::ClientError;
use dte_protocol_webdav::client::{self, Upload, WebdavClient};
use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_protocol_webdav::multistatus::Resource;
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::range::ByteRange;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{Method, StatusCode};
use url::Url;

use crate::byte_store::{Answer, ByteStore, Content, Entry, PART_PREFIX, Reading, Stat, Written};
use crate::error::{Errno, Error};

/// A server as a store, with the credential of one user. Paths are the server's own.
pub struct WebdavStore {
    client: WebdavClient,
    origin: Url,
    atomic: bool,
}

impl WebdavStore {
    /// The server at the scheme, host and port of `url`. Our own edge is known to show whole files only.
    pub fn new(client: WebdavClient, url: &Url) -> WebdavStore {
        let mut origin = url.clone();
        origin.set_query(None);
        origin.set_fragment(None);
        let atomic = client.http().is_own(origin.as_str()) || origin.origin() == client.http().public_url().origin();
        origin.set_path("/");
        WebdavStore { client, origin, atomic }
    }

    fn url(&self, path: &ResourcePath) -> Url {
        let mut url = self.origin.clone();
        url.set_path(&path.encoded());
        url
    }
}

/// From an HTTP failure to the category that gfal2 puts it in; a full server is told apart.
fn explain(error: client::Error) -> Error {
    let method = error.method().clone();
    let errno = match &error {
        client::Error::Answer { .. } => Errno::EIO,
        client::Error::NoRange { .. } => Errno::ENOSYS,
        client::Error::Http { source, .. } => category(source, &method),
    };
    Error::new(errno, error.to_string())
}

/// The category of an HTTP failure.
pub(crate) fn category(error: &ClientError, method: &Method) -> Errno {
    match error {
        ClientError::Status { status, .. } => errno_of(*status, method, method.as_str() == "MKCOL"),
        ClientError::Timeout { .. } => Errno::ETIMEDOUT,
        ClientError::Unreachable { .. } | ClientError::Broken(_) => Errno::ECONN,
        ClientError::Refused(_) => Errno::EACCES,
        ClientError::BadUrl(_) | ClientError::Request(_) => Errno::EINVAL,
        ClientError::Loop(_) | ClientError::Redirects | ClientError::TooLarge(_) | ClientError::Json(_) => Errno::EIO,
    }
}

pub(crate) fn errno_of(status: StatusCode, method: &Method, is_mkcol: bool) -> Errno {
    match status.as_u16() {
        401 | 402 | 403 | 407 | 423 => Errno::EACCES,
        404 | 410 => Errno::ENOENT,
        405 if is_mkcol => Errno::EEXIST,
        405 => Errno::EACCES,
        408 | 504 => Errno::ETIMEDOUT,
        409 if is_mkcol => Errno::ENOENT,
        409 if method == Method::DELETE => Errno::ENOTEMPTY,
        409 => Errno::EEXIST,
        // We set conditions only where an existing file must stay.
        412 if method == Method::DELETE => Errno::ENOTEMPTY,
        412 => Errno::EEXIST,
        429 | 502 | 503 => Errno::ECONN,
        501 => Errno::ENOSYS,
        507 => Errno::ENOSPC,
        _ => Errno::EIO,
    }
}

fn stat_of(resource: &Resource) -> Stat {
    Stat {
        is_folder: resource.is_collection,
        bytes: if resource.is_collection { Some(0) } else { resource.size },
        modified: resource.modified,
    }
}

impl ByteStore for WebdavStore {
    fn stat<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Stat> {
        Box::pin(async move { Ok(stat_of(&self.client.stat(&self.url(path)).await.map_err(explain)?)) })
    }

    fn list<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, Vec<Entry>> {
        Box::pin(async move {
            let folder = path.clone().as_collection(true);
            let listing = self.client.list_all(&self.url(&folder)).await.map_err(explain)?;
            let found = &listing.resources;
            let is_self = |resource: &&Resource| resource.path.components() == folder.components();
            if found.iter().find(is_self).is_some_and(|resource| !resource.is_collection) {
                return Err(Error::new(Errno::ENOTDIR, folder.plain()));
            }
            let is_member = |path: &ResourcePath| {
                path.is_within(&folder) && path.components().len() == folder.components().len() + 1
            };
            let mut entries = Vec::new();
            for resource in found.iter().filter(|resource| !is_self(resource)) {
                let name = match resource.path.name().filter(|_| is_member(&resource.path)) {
                    Some(name) => name.to_owned(),
                    // Whose member it is cannot be told: a name with slashes is none that can be used.
                    None => resource.path.plain(),
                };
                entries.push(Entry { name, stat: stat_of(resource) });
            }
            entries.retain(|entry| !entry.name.starts_with(PART_PREFIX));
            let unknown = Stat { is_folder: false, bytes: None, modified: None };
            entries.extend(listing.unreadable.into_iter().map(|name| Entry { name, stat: unknown.clone() }));
            Ok(entries)
        })
    }

    fn read<'a>(&'a self, path: &'a ResourcePath, range: Option<ByteRange>) -> Answer<'a, Reading> {
        Box::pin(async move {
            let url = self.url(path);
            let download = self.client.get(&url, range).await.map_err(explain)?;
            let bytes = download.range.map(|(range, _)| range.length()).or(download.head.size);
            let shown = url.to_string();
            let stream = download
                .body
                .into_data_stream()
                .map_err(move |error| Error::new(Errno::ECONN, format!("GET {shown}: the answer broke off: {error}")));
            Ok(Reading { bytes, stated: download.head.digests, stream: stream.boxed() })
        })
    }

    fn write<'a>(&'a self, path: &'a ResourcePath, content: Content) -> Answer<'a, Written> {
        Box::pin(async move {
            let upload = Upload {
                body: Body::from_stream(content.stream),
                size: content.bytes,
                digests: content.digests,
                overwrite: content.overwrite,
            };
            let url = self.url(path);
            let stated = self.client.put(&url, upload).await.map_err(explain)?;
            Ok(Written { stated })
        })
    }

    fn rename<'a>(&'a self, from: &'a ResourcePath, to: &'a ResourcePath, overwrite: bool) -> Answer<'a, ()> {
        Box::pin(async move { self.client.rename(&self.url(from), &self.url(to), overwrite).await.map_err(explain) })
    }

    fn delete<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        Box::pin(async move { self.client.delete(&self.url(path)).await.map_err(explain) })
    }

    fn make_folder<'a>(&'a self, path: &'a ResourcePath) -> Answer<'a, ()> {
        let folder = path.clone().as_collection(true);
        Box::pin(async move { self.client.mkcol_with_parents(&self.url(&folder)).await.map_err(explain) })
    }

    fn checksum<'a>(&'a self, path: &'a ResourcePath, algorithm: Algorithm) -> Answer<'a, Option<Digest>> {
        Box::pin(async move {
            let head = self.client.head(&self.url(path), Some(algorithm)).await.map_err(explain)?;
            Ok(head.digests.into_iter().find(|digest| digest.algorithm() == algorithm))
        })
    }

    fn writes_atomically(&self) -> bool {
        self.atomic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories() {
        let of = |code: u16, method: &str| {
            let method = Method::from_bytes(method.as_bytes()).expect("method");
            errno_of(StatusCode::from_u16(code).expect("status"), &method, method.as_str() == "MKCOL")
        };
        assert_eq!(of(404, "GET"), Errno::ENOENT);
        assert_eq!(of(401, "PUT"), Errno::EACCES);
        assert_eq!(of(412, "PUT"), Errno::EEXIST);
        assert_eq!(of(409, "MKCOL"), Errno::ENOENT);
        assert_eq!(of(507, "PUT"), Errno::ENOSPC);
        assert_eq!(of(503, "GET"), Errno::ECONN);
        assert_eq!(of(500, "GET"), Errno::EIO);
    }
}
