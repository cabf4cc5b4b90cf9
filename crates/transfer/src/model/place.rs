//! Where a file is: a storage URL, checked as FTS checks it.

use percent_encoding::percent_decode_str;
use url::Url;

/// What this mover can carry.
const SCHEMES: [&str; 6] = ["https", "http", "davs", "dav", "s3s", "s3"];
/// Those of object stores. Their URLs begin like those of other servers; who speaks to them speaks S3.
const OBJECT_SCHEMES: [&str; 2] = ["s3s", "s3"];
/// Longer URLs are refused by the storages of the field.
const LONGEST: usize = 2048;
/// Below this path our edges show their areas.
const EDGE_PREFIX: &str = "/dav/";

/// A URL of a file on a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageUrl {
    /// As the submitter wrote it, without blanks around it.
    text: String,
    /// The same with `https` for `davs` and `s3s`, `http` for `dav` and `s3`.
    address: Url,
    /// Its scheme, if it is that of an object store.
    object_scheme: Option<&'static str>,
}

/// Why a text is not the URL of a file on a storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("Missing scheme ({0})")]
    NoScheme(String),
    #[error("Can not transfer local files ({0})")]
    Local(String),
    #[error("Missing path ({0})")]
    NoPath(String),
    #[error("Missing host ({0})")]
    NoHost(String),
    #[error("Protocol not supported ({0})")]
    Protocol(String),
    #[error("Credentials in the URL are not accepted")]
    Credentials,
    #[error("URL too long ({0} characters)")]
    TooLong(usize),
    #[error("Malformed URL ({0})")]
    Malformed(String),
}

impl StorageUrl {
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(BadUrl::TooLong(text.len()));
        }
        let said = || text.to_owned();
        // What opens a URL leaves out line breaks and takes a backslash for a slash; what was checked would not be what is opened.
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err(BadUrl::Malformed(text.escape_debug().to_string()));
        }
        let (scheme, rest) =
            text.split_once(':').filter(|(s, _)| is_scheme(s)).ok_or_else(|| BadUrl::NoScheme(said()))?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "file" {
            return Err(BadUrl::Local(said()));
        }
        let rest = rest.strip_prefix("//").unwrap_or_default();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let path = &after[..after.find(['?', '#']).unwrap_or(after.len())];
        if path.is_empty() || (path == "/" && !after.contains('?')) {
            return Err(BadUrl::NoPath(said()));
        }
        if authority.is_empty() {
            return Err(BadUrl::NoHost(said()));
        }
        if !SCHEMES.contains(&scheme.as_str()) {
            return Err(BadUrl::Protocol(said()));
        }
        if authority.contains('@') {
            return Err(BadUrl::Credentials);
        }
        let plain = if scheme.ends_with('s') { "https" } else { "http" };
        let address = Url::parse(&format!("{plain}://{rest}")).map_err(|_| BadUrl::Malformed(said()))?;
        // `https:///…//user@host/`: the host begins only after all slashes.
        if !address.username().is_empty() || address.password().is_some() {
            return Err(BadUrl::Credentials);
        }
        let object_scheme = OBJECT_SCHEMES.into_iter().find(|known| *known == scheme);
        Ok(StorageUrl { text: text.to_owned(), address, object_scheme })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is in an object store, which knows no tokens and makes no copies by itself.
    pub fn is_object(&self) -> bool {
        self.object_scheme.is_some()
    }

    /// Where requests go.
    pub fn address(&self) -> &Url {
        &self.address
    }

    /// The storage element, by the name under which lines, rules and bans know it ([`storage_key`]), without its port.
    pub fn storage_element(&self) -> String {
        format!("{}://{}", self.object_scheme.unwrap_or(self.address.scheme()), self.host())
    }

    /// `scheme://hostname`: the storage element as the submitter wrote it.
    pub fn storage_as_written(&self) -> String {
        let scheme = self.text.split(':').next().unwrap_or_default().to_ascii_lowercase();
        format!("{scheme}://{}", self.address.host_str().unwrap_or_default())
    }

    fn host(&self) -> &str {
        self.address.host_str().unwrap_or_default().trim_end_matches('.')
    }

    /// `host:port/area`: one end of a link, the unit of fairness between transfers.
    pub fn link_end(&self) -> String {
        let host = self.host();
        let port = self.address.port_or_known_default().unwrap_or_default();
        let path = self.address.path();
        let below = path.strip_prefix(EDGE_PREFIX).unwrap_or_else(|| path.trim_start_matches('/'));
        format!("{host}:{port}/{}", below.split('/').next().unwrap_or_default())
    }

    /// The decoded path as seen below `/dav`, if it is there.
    pub fn edge_path(&self) -> Option<String> {
        let below = self.address.path().strip_prefix(EDGE_PREFIX.trim_end_matches('/'))?;
        below.starts_with('/').then(|| percent_decode_str(below).decode_utf8_lossy().into_owned())
    }

    /// The path that a storage scope names, percent-encoded as scopes are: below `/dav` at our edges and their like, else
    /// the whole path.
    pub fn scope_path(&self) -> &str {
        let path = self.address.path();
        path.strip_prefix(EDGE_PREFIX.trim_end_matches('/')).filter(|below| below.starts_with('/')).unwrap_or(path)
    }

    /// The folder of [`StorageUrl::scope_path`], for storages where a copy goes by way of a name beside the final one.
    pub fn scope_folder(&self) -> &str {
        let path = self.scope_path().trim_end_matches('/');
        match path.rfind('/') {
            Some(0) | None => "/",
            Some(slash) => &path[..slash],
        }
    }

    /// Whether requests to this URL may carry a token: over TLS, or without leaving the machine.
    pub fn may_carry_token(&self) -> bool {
        if self.is_object() {
            return false;
        }
        self.address.scheme() == "https"
            || match self.address.host() {
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost",
                None => false,
            }
    }
}

/// The one name of a storage, of the many that people write: `davs://A.example.:443` is `https://a.example`. None for what is
/// not `scheme://host`.
pub fn storage_key(text: &str) -> Option<String> {
    let (scheme, authority) = text.trim().trim_end_matches('/').split_once("://")?;
    if !is_scheme(scheme) || authority.is_empty() || authority.contains(['/', '\\', '?', '#', '@', ' ']) {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let plain = match scheme.as_str() {
        "https" | "davs" | "webdavs" => "https",
        "http" | "dav" | "webdav" => "http",
        _ => return Some(format!("{scheme}://{}", authority.to_ascii_lowercase().trim_end_matches('.'))),
    };
    let url = Url::parse(&format!("{plain}://{authority}/")).ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    (!host.is_empty()).then(|| format!("{plain}://{host}{port}"))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(text: &str) -> String {
        StorageUrl::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn refusals_in_the_words_of_fts() {
        assert_eq!(bad("/tmp/x"), "Missing scheme (/tmp/x)");
        assert_eq!(bad("file:///etc/passwd"), "Can not transfer local files (file:///etc/passwd)");
        assert_eq!(bad("https://host"), "Missing path (https://host)");
        assert_eq!(bad("https://host/"), "Missing path (https://host/)");
        assert_eq!(bad("https:///path"), "Missing host (https:///path)");
        assert_eq!(bad("root://host//path"), "Protocol not supported (root://host//path)");
        assert_eq!(bad("https://me:pw@host/x"), "Credentials in the URL are not accepted");
        assert_eq!(bad("https://ho st/x"), "Malformed URL (https://ho st/x)");
        assert!(bad(&format!("https://host/{}", "x".repeat(3000))).starts_with("URL too long"));
        // What is checked is what is opened: no host that only a forgiving reader finds.
        assert_eq!(
            bad("https://good.example\n@evil.example/x"),
            "Malformed URL (https://good.example\\n@evil.example/x)"
        );
        assert_eq!(
            bad("https://\n//S%K\n@evil.example\nRKccc/c"),
            "Malformed URL (https://\\n//S%K\\n@evil.example\\nRKccc/c)"
        );
        assert_eq!(bad("https://\\/user@evil.example/x"), "Malformed URL (https://\\\\/user@evil.example/x)");
        assert!(StorageUrl::parse("https://host/?id=7").is_ok());
    }

    #[test]
    fn parts() {
        let url = StorageUrl::parse(" davs://host.example:8443/dav/local/a/b%20c/d ").expect("parses");
        assert_eq!(url.as_str(), "davs://host.example:8443/dav/local/a/b%20c/d");
        assert_eq!(url.address().as_str(), "https://host.example:8443/dav/local/a/b%20c/d");
        assert_eq!(url.storage_element(), "https://host.example");
        assert_eq!(url.storage_as_written(), "davs://host.example");
        assert_eq!(url.link_end(), "host.example:8443/local");
        assert_eq!(url.scope_path(), "/local/a/b%20c/d");
        assert_eq!((url.edge_path().as_deref(), url.scope_folder()), (Some("/local/a/b c/d"), "/local/a/b%20c"));
        let other = StorageUrl::parse("http://h/pnfs/x").expect("parses");
        assert_eq!((other.link_end().as_str(), other.scope_path()), ("h:80/pnfs", "/pnfs/x"));
        assert!(!other.may_carry_token());
        assert!(StorageUrl::parse("http://127.0.0.1:1/x").expect("parses").may_carry_token());
    }

    #[test]
    fn objects() {
        let url = StorageUrl::parse("s3s://Store.example:9000/bucket/a/b").expect("parses");
        assert!(url.is_object() && !url.may_carry_token());
        assert_eq!(url.storage_element(), "s3s://store.example");
        assert_eq!(storage_key("S3S://Store.example").as_deref(), Some("s3s://store.example"));
        assert_eq!(
            (url.storage_as_written().as_str(), url.link_end().as_str()),
            ("s3s://store.example", "store.example:9000/bucket")
        );
        assert_eq!(bad("s3://host/"), "Missing path (s3://host/)");
    }

    #[test]
    fn a_storage_has_one_name() {
        for text in ["https://a.example", "DAVS://A.Example.:443/", "webdavs://a.example", " https://a.example. "] {
            assert_eq!(storage_key(text).as_deref(), Some("https://a.example"), "{text}");
        }
        assert_eq!(storage_key("dav://[::1]:80").as_deref(), Some("http://[::1]"));
        assert_eq!(storage_key("http://a:443").as_deref(), Some("http://a:443"));
        assert_eq!(storage_key("root://A.example.").as_deref(), Some("root://a.example"));
        for text in ["a.example", "https://", "https://a/b", "https://u@a", "https://a b", "https://.", "://a"] {
            assert_eq!(storage_key(text), None, "{text}");
        }
        let url = StorageUrl::parse("davs://A.example.:443/x/y").expect("parses");
        assert_eq!((url.storage_element().as_str(), url.link_end().as_str()), ("https://a.example", "a.example:443/x"));
    }
}
