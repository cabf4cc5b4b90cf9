//! URLs of objects, and which credential is for which of them: `[[storage.buckets]]` in the configuration.

use std::path::{Path, PathBuf};

use dte_base::secret::Secret;
use dte_protocol_webdav::path::ResourcePath;
use rusty_s3::{Bucket, Credentials, UrlStyle};
use serde::Deserialize;
use url::Url;

use crate::error::{Errno, Error};

/// The section's name.
pub const SECTION: &str = "storage";
/// The region where none is said; stores that are not Amazon's take it.
pub const DEFAULT_REGION: &str = "us-east-1";

/// `[storage]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Object stores that this engine has a credential for.
    pub buckets: Vec<BucketConfig>,
}

/// `[[storage.buckets]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// What it is for, with all that is below it: `s3s://host[:port]/bucket` or `s3s://host/bucket/folder`; `s3` without TLS.
    pub url: String,
    /// A file with the access key.
    pub access_key_file: PathBuf,
    /// A file with the secret key.
    pub secret_key_file: PathBuf,
    #[serde(default = "default_region")]
    pub region: String,
    /// How the server wants to see the bucket's name.
    #[serde(default)]
    pub style: Style,
    /// Accounts whose transfers may use it; nobody else's do.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups whose members' transfers may use it: `/ocean/modellers`.
    #[serde(default)]
    pub groups: Vec<String>,
}

fn default_region() -> String {
    DEFAULT_REGION.to_owned()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// `host/bucket/key`
    #[default]
    Path,
    /// `bucket.host/key`
    Host,
}

/// The URL of an object, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectUrl {
    /// Scheme, host and port, as HTTP has them.
    pub endpoint: Url,
    pub bucket: String,
    /// Below the bucket.
    pub path: ResourcePath,
}

impl ObjectUrl {
    /// Reads `s3s://host[:port]/bucket/key`. None when the scheme is another.
    pub fn parse(text: &str) -> Option<Result<ObjectUrl, Error>> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "s3s" => "https",
            "s3" => "http",
            _ => return None,
        };
        Some(read(text, scheme, rest))
    }

    fn covers(&self, other: &ObjectUrl) -> bool {
        self.endpoint == other.endpoint && self.bucket == other.bucket && other.path.is_within(&self.path)
    }
}

fn read(text: &str, scheme: &str, rest: &str) -> Result<ObjectUrl, Error> {
    let bad = |reason: String| Error::new(Errno::EINVAL, format!("{text:?}: {reason}"));
    if text.contains(['?', '#', '\\']) || text.chars().any(char::is_control) {
        return Err(bad("a query or an odd character in the URL of an object is not accepted".to_owned()));
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = ResourcePath::parse(path).map_err(|reason| bad(reason.to_string()))?;
    let (bucket, path) = path.split_first().ok_or_else(|| bad("it names no bucket".to_owned()))?;
    let endpoint: Url =
        format!("{scheme}://{authority}/").parse().map_err(|error: url::ParseError| bad(error.to_string()))?;
    if authority.contains('@') || authority.is_empty() {
        return Err(bad("a host and perhaps a port stand before the bucket".to_owned()));
    }
    Ok(ObjectUrl { endpoint, bucket: bucket.to_owned(), path })
}

/// A credential, and what it is for.
#[derive(Clone, Debug)]
pub struct BucketAccess {
    /// None: for all object stores.
    below: Option<ObjectUrl>,
    credentials: Credentials,
    region: String,
    style: Style,
    users: Vec<String>,
    groups: Vec<String>,
}

impl BucketAccess {
    /// Reads the files that a section of the configuration names.
    pub fn open(config: &BucketConfig) -> Result<BucketAccess, Error> {
        let wrong = |why: &str| Error::new(Errno::EINVAL, format!("[[storage.buckets]] url = {:?}: {why}", config.url));
        let below = ObjectUrl::parse(&config.url).ok_or_else(|| wrong("write s3s://host/bucket"))??;
        let (key, secret) = (read_secret(&config.access_key_file)?, read_secret(&config.secret_key_file)?);
        let access = BucketAccess {
            credentials: Credentials::new(key.expose(), secret.expose()),
            region: config.region.clone(),
            style: config.style,
            users: config.users.clone(),
            groups: config.groups.iter().map(|group| group.trim_end_matches('/').to_owned()).collect(),
            below: Some(below.clone()),
        };
        access.bucket(&below)?;
        Ok(access)
    }

    /// For whatever object store its holder names.
    pub fn everywhere(access_key: &str, secret_key: &Secret, session: Option<&Secret>, region: &str) -> BucketAccess {
        let credentials = match session {
            Some(token) => Credentials::new_with_token(access_key, secret_key.expose(), token.expose()),
            None => Credentials::new(access_key, secret_key.expose()),
        };
        let region = region.to_owned();
        let (users, groups) = (Vec::new(), Vec::new());
        BucketAccess { below: None, credentials, region, style: Style::Path, users, groups }
    }

    /// Whether the transfers of an account in these groups may use it.
    pub fn permits(&self, account: &str, groups: &[String]) -> bool {
        self.users.iter().any(|user| user == account) || groups.iter().any(|group| self.groups.contains(group))
    }

    pub(crate) fn bucket(&self, url: &ObjectUrl) -> Result<Bucket, Error> {
        let style = match self.style {
            Style::Path => UrlStyle::Path,
            Style::Host => UrlStyle::VirtualHost,
        };
        Bucket::new(url.endpoint.clone(), style, url.bucket.clone(), self.region.clone())
            .map_err(|error| Error::new(Errno::EINVAL, format!("{}{}: {error}", url.endpoint, url.bucket)))
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    fn covers(&self, url: &ObjectUrl) -> bool {
        self.below.as_ref().is_none_or(|below| below.covers(url))
    }

    fn depth(&self) -> usize {
        self.below.as_ref().map_or(0, |below| below.path.components().len() + 1)
    }
}

/// The credential that is for this URL, the innermost of several.
pub fn access_to<'a>(known: &'a [BucketAccess], url: &ObjectUrl) -> Option<&'a BucketAccess> {
    known.iter().filter(|access| access.covers(url)).max_by_key(|access| access.depth())
}

fn read_secret(file: &Path) -> Result<Secret, Error> {
    let wrong = |why: String| Error::new(Errno::EINVAL, format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    if text.trim().is_empty() {
        return Err(wrong("a key is expected in it".to_owned()));
    }
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ObjectUrl {
        ObjectUrl::parse(text).expect("an object's").expect("a URL")
    }

    #[test]
    fn urls_of_objects() {
        let read = url("s3s://host:9000/bucket/a%20b/c");
        assert_eq!((read.endpoint.as_str(), read.bucket.as_str()), ("https://host:9000/", "bucket"));
        assert_eq!(read.path.plain(), "/a b/c");
        assert!(url("S3://h/b").path.is_root());
        assert!(ObjectUrl::parse("https://h/b").is_none());
        for bad in ["s3://h", "s3://h/", "s3:///b", "s3://u:p@h/b", "s3://h/b?x=1", "s3://h/b/../c", "s3://h\\i/b"] {
            assert!(ObjectUrl::parse(bad).is_some_and(|read| read.is_err()), "{bad}");
        }
    }

    #[test]
    fn the_innermost_credential_counts() {
        let access = |text: &str, user: &str| {
            let secret = Secret::new("s");
            let access = BucketAccess::everywhere("k", &secret, None, DEFAULT_REGION);
            BucketAccess { below: Some(url(text)), users: vec![user.to_owned()], groups: vec!["/sea".into()], ..access }
        };
        let known = [access("s3s://h/b", "outer"), access("s3s://h/b/inner", "inner")];
        let whose = |text: &str| access_to(&known, &url(text)).map(|access| access.users[0].clone());
        assert_eq!(whose("s3s://h/b/x").as_deref(), Some("outer"));
        assert_eq!(whose("s3s://h/b/inner/x").as_deref(), Some("inner"));
        assert_eq!(whose("s3s://h/b/innermost").as_deref(), Some("outer"));
        for other in ["s3s://h/bb/x", "s3://h/b/x", "s3s://h:444/b/x", "s3s://h.evil/b/x"] {
            assert_eq!(whose(other), None, "{other}");
        }
        assert!(known[0].permits("outer", &[]) && known[0].permits("other", &["/sea".to_owned()]));
        assert!(!known[0].permits("other", &["/sea/deep".to_owned()]));
    }
}
