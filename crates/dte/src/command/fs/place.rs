//! From what was typed to a file or folder on some storage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dte_base::secret::Secret;
use dte_base::tasks::Tasks;
use dte_http::{Client, HttpConfig};
use dte_protocol_webdav::path::ResourcePath;
use dte_storage::file::FileStore;
use dte_storage::s3::access::{BucketAccess, DEFAULT_REGION, ObjectUrl};
use dte_storage::{ByteStore, Errno, Error, Location, Storages};
use url::Url;

use super::renewed::{Renewed, YOUNG};
use super::said;
use super::tokens::{Token, Tokens};
use crate::cli::Common;
use crate::failure::Failure;
use crate::remote::Remote;

/// The storages that can be reached, and with which tokens.
pub struct Reach {
    storages: Storages,
    machine: Arc<FileStore>,
    common: Common,
    tokens: Tokens,
    /// What goes on for a moment after a copy was interrupted.
    tasks: Tasks,
}

/// How long the rest of an interrupted upload may take to be taken away.
const LAST_WORK: Duration = Duration::from_secs(10);

/// Whether a link at the end of a path of this machine means itself or what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    Followed,
    Themselves,
}

/// A file or folder.
#[derive(Clone)]
pub struct Place {
    pub location: Location,
    /// As people write it.
    pub shown: String,
    /// On this machine.
    pub file: Option<PathBuf>,
    /// Tells storages apart.
    pub storage: String,
}

impl Reach {
    pub fn new(common: &Common, tokens: &[(Url, PathBuf)]) -> Result<Reach, Failure> {
        let nobody = Url::parse("http://nobody.invalid")?;
        let machine = FileStore::open(Path::new("/")).map_err(|error| said(&error))?;
        let tasks = Tasks::new();
        // What a person types here may lead anywhere that they can reach.
        let storages = Storages::new(Client::new(&HttpConfig::default(), nobody));
        Ok(Reach {
            storages: storages.with_buckets(bucket_access(), tasks.clone()),
            tasks,
            machine: Arc::new(machine),
            common: common.clone(),
            tokens: Tokens::new(common, tokens)?,
        })
    }

    /// What `text` means.
    pub async fn place(&self, text: &str, links: Links) -> Result<Place, Failure> {
        if let Some(path) = local_path(text).map_err(|error| said(&error))? {
            return self.here(&path, links).map_err(|error| said(&error));
        }
        let token = match address(text) {
            Some(url) => self.tokens.of(&url).await?,
            None => Token::None,
        };
        let mut location = self.storages.resolve(text, token.secret()).map_err(|error| said(&error))?;
        if let Token::Own(_) = token {
            location.store = Arc::new(self.renewed(location.store.clone(), text));
        }
        let storage = match (address(text), ObjectUrl::parse(text)) {
            (Some(url), _) => url.origin().ascii_serialization(),
            (None, Some(Ok(object))) => format!("s3 {}{}", object.endpoint, object.bucket),
            _ => String::new(),
        };
        Ok(Place { location, shown: text.to_owned(), file: None, storage })
    }

    /// The storage of `text` in our own engine, for longer than a token lives.
    fn renewed(&self, first: Arc<dyn ByteStore>, text: &str) -> Renewed {
        let (common, storages, text) = (self.common.clone(), self.storages.clone(), text.to_owned());
        let make = move || {
            let (common, storages, text) = (common.clone(), storages.clone(), text.clone());
            async move {
                let found = Remote::find(&common).await;
                let token = found.map_err(|failure| Error::new(Errno::EACCES, format!("{text}: {failure}")))?.token;
                storages.resolve(&text, Some(&token)).map(|location| location.store)
            }
        };
        Renewed::new(first, YOUNG, Box::new(move || Box::pin(make())))
    }

    /// What a link at the end of a path of this machine leads to, under its own name; all else as it is.
    pub fn followed(&self, place: &Place) -> Result<Place, Failure> {
        let Some(file) = place.file.as_ref().filter(|file| file.is_symlink()) else { return Ok(place.clone()) };
        let wrong = |errno, why: &str| said(&Error::new(errno, format!("{}: {why}", place.shown)));
        let meta = std::fs::metadata(file).map_err(|error| wrong(Errno::ENOENT, &format!("a link: {error}")))?;
        if meta.is_dir() {
            return Err(wrong(Errno::EISDIR, "a link to a folder is not followed"));
        }
        let real = self.here(file, Links::Followed).map_err(|error| said(&error))?;
        let location = Location::new(real.location.store, real.location.path, place.shown.clone());
        Ok(Place { location, shown: place.shown.clone(), ..real })
    }

    /// Waits for what is still to be put in order.
    pub async fn end(&self) {
        if !self.tasks.stop_and_wait(LAST_WORK).await {
            eprintln!("dte: the rest of an interrupted upload may have stayed behind");
        }
    }

    fn here(&self, path: &Path, links: Links) -> Result<Place, Error> {
        let wrong = |why: String| Error::new(Errno::EINVAL, format!("{}: {why}", path.display()));
        let real = real_path(path, links).map_err(|error| wrong(error.to_string()))?;
        let text = real.to_str().ok_or_else(|| wrong("the name is not UTF-8".to_owned()))?;
        let inner = ResourcePath::from_plain(text).map_err(|reason| wrong(reason.to_string()))?;
        let shown = path.display().to_string();
        let location = Location::new(self.machine.clone(), inner, shown.clone());
        Ok(Place { location, shown, file: Some(real), storage: "file".to_owned() })
    }
}

impl Place {
    /// What is called `name` in this folder.
    pub fn child(&self, name: &str) -> Result<Place, Failure> {
        let wrong = |reason: String| said(&Error::new(Errno::EINVAL, format!("{name:?} in {}: {reason}", self.shown)));
        let path = self.location.path.child(name).map_err(|reason| wrong(reason.to_string()))?;
        let folder = self.shown.trim_end_matches('/');
        let shown = match self.file {
            Some(_) => format!("{folder}/{name}"),
            None => format!("{folder}/{}", dte_protocol_webdav::path::encode_component(name)),
        };
        let location = Location::new(self.location.store.clone(), path, shown.clone());
        let file = self.file.as_ref().map(|file| file.join(name));
        Ok(Place { location, shown, file, storage: self.storage.clone() })
    }

    /// The last name of its path.
    pub fn name(&self) -> Option<&str> {
        self.location.path.name()
    }
}

/// The credential of the environment, as all clients of object stores read it.
fn bucket_access() -> Vec<BucketAccess> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let (Some(access), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) else {
        return Vec::new();
    };
    let session = variable("AWS_SESSION_TOKEN").map(Secret::new);
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let region = region.as_deref().unwrap_or(DEFAULT_REGION);
    vec![BucketAccess::everywhere(&access, &Secret::new(secret), session.as_ref(), region)]
}

/// The address behind a URL whose scheme has one.
fn address(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "https" | "davs" => "https",
        "http" | "dav" => "http",
        _ => return None,
    };
    format!("{scheme}://{rest}").parse().ok()
}

/// The path that `file:///path`, `file:/path` or a bare path means; none for other URLs.
fn local_path(text: &str) -> Result<Option<PathBuf>, Error> {
    let bad = |reason: String| Error::new(Errno::EINVAL, format!("{text:?}: {reason}"));
    if let Some(rest) = text.strip_prefix("file:") {
        let raw = rest.strip_prefix("//").unwrap_or(rest);
        let raw = raw.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(raw);
        let path = ResourcePath::parse(raw).map_err(|reason| bad(reason.to_string()))?;
        return Ok(Some(PathBuf::from(path.plain())));
    }
    if text.contains("://") {
        return Ok(None);
    }
    if text.is_empty() {
        return Err(bad("an empty path".to_owned()));
    }
    Ok(Some(PathBuf::from(text)))
}

/// The path without links, as far as it exists.
fn real_path(path: &Path, links: Links) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    if links == Links::Followed
        && let Ok(real) = path.canonicalize()
    {
        return Ok(real);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path.canonicalize() };
    Ok(real_path(folder, Links::Followed)?.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_machine() {
        let path = |text: &str| local_path(text).expect("is fine");
        assert_eq!(path("a b/c"), Some(PathBuf::from("a b/c")));
        assert_eq!(path("file:///a%20b"), Some(PathBuf::from("/a b")));
        assert_eq!(path("file:/a"), Some(PathBuf::from("/a")));
        assert_eq!(path("file://localhost/a"), Some(PathBuf::from("/a")));
        assert_eq!(path("https://h/a"), None);
        assert!(local_path("").is_err() && local_path("file:///a/../b").is_err());
    }

    #[test]
    fn links_of_this_machine() {
        let temp = tempfile::tempdir().expect("temp");
        let folder = temp.path().canonicalize().expect("path");
        std::fs::create_dir(folder.join("real")).expect("folder");
        std::fs::write(folder.join("real/f"), "x").expect("writes");
        std::os::unix::fs::symlink(folder.join("real"), folder.join("link")).expect("links");
        std::os::unix::fs::symlink(folder.join("real/f"), folder.join("g")).expect("links");
        let real = |name: &str, links| real_path(&folder.join(name), links).expect("a path");
        assert_eq!(real("link/f", Links::Themselves), folder.join("real/f"));
        assert_eq!(real("g", Links::Followed), folder.join("real/f"));
        assert_eq!(real("g", Links::Themselves), folder.join("g"));
        assert_eq!(real("link/none/x", Links::Followed), folder.join("real/none/x"));
    }
}
