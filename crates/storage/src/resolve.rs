//! From a URL to the store that serves it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dte_base::secret::Secret;
use dte_base::tasks::Tasks;
use dte_http::Client;
use dte_protocol_webdav::client::WebdavClient;
use dte_protocol_webdav::path::ResourcePath;
use url::Url;

use crate::byte_store::ByteStore;
use crate::error::{Errno, Error};
use crate::file::FileStore;
use crate::s3::S3Store;
use crate::s3::access::{BucketAccess, ObjectUrl, access_to};
use crate::webdav::WebdavStore;

/// The longest URL that is taken.
const LONGEST_URL: usize = 2048;

/// A file or folder in some store.
#[derive(Clone)]
pub struct Location {
    pub store: Arc<dyn ByteStore>,
    pub path: ResourcePath,
    shown: String,
}

impl Location {
    pub fn new(store: Arc<dyn ByteStore>, path: ResourcePath, shown: impl Into<String>) -> Location {
        Location { store, path, shown: shown.into() }
    }

    /// The same store and another path.
    pub fn at(&self, path: ResourcePath) -> Location {
        Location { store: self.store.clone(), shown: format!("{} (as {path})", self.shown), path }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({})", self.shown)
    }
}

/// The stores that URLs may name: `https`, `http`, `davs`, `dav`; `s3s`, `s3` where there is a credential; and `file` below
/// configured roots.
#[derive(Clone)]
pub struct Storages {
    client: Client,
    roots: Vec<(PathBuf, Arc<FileStore>)>,
    buckets: Arc<[BucketAccess]>,
    tasks: Tasks,
}

impl Storages {
    /// Servers are reached through `client`. Give [`Client::untrusted`] when the URLs arrive in requests.
    pub fn new(client: Client) -> Storages {
        Storages { client, roots: Vec::new(), buckets: Arc::default(), tasks: Tasks::new() }
    }

    /// Allows URLs of objects for which there is a credential. Uploads that are let go of are ended by one of `tasks`.
    #[must_use]
    pub fn with_buckets(self, buckets: Vec<BucketAccess>, tasks: Tasks) -> Storages {
        Storages { buckets: buckets.into(), tasks, ..self }
    }

    /// The credential for an object's URL. None for URLs of other storages.
    pub fn bucket_access(&self, url: &str) -> Option<Result<&BucketAccess, Error>> {
        let none = || Error::new(Errno::EACCES, format!("{url:?}: there is no credential for this object store"));
        let read = ObjectUrl::parse(url)?;
        Some(read.and_then(|object| access_to(&self.buckets, &object).ok_or_else(none)))
    }

    /// Allows `file` URLs below `folder`, which must exist.
    pub fn with_file_root(mut self, folder: &Path) -> Result<Storages, Error> {
        let wrong = |error| Error::new(Errno::EINVAL, format!("{}: {error}", folder.display()));
        let folder = folder.canonicalize().map_err(wrong)?;
        let store = Arc::new(FileStore::open(&folder)?);
        self.roots.push((folder, store));
        // The innermost root that fits is the right one.
        self.roots.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.components().count()));
        Ok(self)
    }

    /// Finds the store for `url`, to be used with `bearer`.
    pub fn resolve(&self, url: &str, bearer: Option<&Secret>) -> Result<Location, Error> {
        let bad = |reason: &str| Error::new(Errno::EINVAL, format!("{url:?}: {reason}"));
        if url.len() > LONGEST_URL {
            return Err(Error::new(Errno::EINVAL, "the URL is too long"));
        }
        if let Some(access) = self.bucket_access(url) {
            return self.resolve_object(url, access?);
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("not a URL such as davs://host/path"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" | "davs" => "https",
            "http" | "dav" => "http",
            "file" => "file",
            _ => return Err(Error::new(Errno::ENOSYS, format!("{url:?}: Protocol not supported or path/url invalid"))),
        };
        // The URL parser would silently remove "..", so the path is looked at before.
        let raw_path = rest.find('/').map_or("/", |at| &rest[at..]);
        let raw_path = raw_path.split(['?', '#']).next().unwrap_or("/");
        let path = ResourcePath::parse(raw_path).map_err(|reason| bad(&reason.to_string()))?;
        if scheme == "file" {
            return self.resolve_file(url, path);
        }
        let parsed: Url =
            format!("{scheme}://{rest}").parse().map_err(|error: url::ParseError| bad(&error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(bad("user and password in a URL are not accepted"));
        }
        if parsed.query().is_some() {
            return Err(bad("a query in a storage URL is not accepted"));
        }
        let client = WebdavClient::new(self.client.clone(), bearer.cloned());
        Ok(Location::new(Arc::new(WebdavStore::new(client, &parsed)), path, parsed))
    }

    fn resolve_object(&self, url: &str, access: &BucketAccess) -> Result<Location, Error> {
        let nothing = || Error::new(Errno::EINVAL, format!("{url:?}: not the URL of an object"));
        let object = ObjectUrl::parse(url).ok_or_else(nothing)??;
        let (bucket, credentials) = (access.bucket(&object)?, access.credentials().clone());
        let store = S3Store::new(self.client.clone(), bucket, credentials, self.tasks.clone());
        Ok(Location::new(Arc::new(store), object.path, url))
    }

    fn resolve_file(&self, url: &str, path: ResourcePath) -> Result<Location, Error> {
        let absolute = PathBuf::from(path.plain());
        for (root, store) in &self.roots {
            let Ok(below) = absolute.strip_prefix(root) else { continue };
            let Some(below) = below.to_str() else { continue };
            let inner = ResourcePath::from_plain(&format!("/{below}"))
                .map_err(|reason| Error::new(Errno::EINVAL, format!("{url:?}: {reason}")))?;
            return Ok(Location::new(store.clone(), inner, url));
        }
        Err(Error::new(Errno::EACCES, format!("{url:?}: not below a configured folder")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storages() -> Storages {
        let url: Url = "http://127.0.0.1:8990".parse().expect("a URL");
        Storages::new(Client::new(&dte_http::HttpConfig::default(), url))
    }

    #[tokio::test]
    async fn urls() {
        let temp = tempfile::tempdir().expect("temp");
        let folder = temp.path().canonicalize().expect("path");
        let storages = storages().with_file_root(&folder).expect("opens");
        let own = storages.resolve("dav://127.0.0.1:8990/dav/local/a%20b", None).expect("resolves");
        assert_eq!((own.path.plain().as_str(), own.store.writes_atomically()), ("/dav/local/a b", true));
        let other = storages.resolve("davs://se.example.org/f", None).expect("resolves");
        assert!(!other.store.writes_atomically());
        assert_eq!(other.to_string(), "https://se.example.org/f");
        let file = storages.resolve(&format!("file://{}/x/y", folder.display()), None).expect("resolves");
        assert_eq!(file.path.plain(), "/x/y");
        for (url, errno) in [
            ("file:///etc/passwd", Errno::EACCES),
            ("srm://h/x", Errno::ENOSYS),
            ("s3s://h/bucket/x", Errno::EACCES),
            ("https://h/a/../b", Errno::EINVAL),
            ("https://h/a/%2e%2e/b", Errno::EINVAL),
            ("https://user:pw@h/a", Errno::EINVAL),
            ("https://h/a?x=y", Errno::EINVAL),
            ("nonsense", Errno::EINVAL),
        ] {
            assert_eq!(storages.resolve(url, None).expect_err(url).errno, errno, "{url}");
        }
    }
}
