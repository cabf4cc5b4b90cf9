//! Servers behind a socket of this machine. A URL has no place for a socket's path, so [`url()`] writes it in hexadecimal digits
//! where the host stands: `http+unix://2f72756e2f732e736f636b/`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use http::Uri;
use http::header::HeaderValue;
use url::Url;

const SCHEME: &str = "http+unix";
/// The longest path that the address of a socket holds.
const LONGEST_PATH: usize = 107;
/// What `Host` says where there is no host.
pub(super) const HOST_NAME: HeaderValue = HeaderValue::from_static("unix");

/// The URL of a server that listens at the socket `path`; `None` for paths that no socket can have.
pub fn url(path: &Path) -> Option<Url> {
    let bytes = path.as_os_str().as_bytes();
    if !path.is_absolute() || bytes.len() > LONGEST_PATH {
        return None;
    }
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Url::parse(&format!("{SCHEME}://{digits}/")).ok()
}

/// The socket that a URL of [`url`] names.
pub(super) fn socket_of(uri: &Uri) -> Option<PathBuf> {
    if uri.scheme_str() != Some(SCHEME) {
        return None;
    }
    let digits = uri.host()?.as_bytes();
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = pairs.map(byte).collect::<Option<Vec<u8>>>()?;
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let path = Path::new("/run/a b/s.sock");
        let joined = format!("{}status", url(path).expect("a URL"));
        assert_eq!(socket_of(&joined.parse().expect("a URI")).as_deref(), Some(path));
        assert_eq!(url(Path::new("relative.sock")), None);
        assert_eq!(url(&Path::new("/").join("x".repeat(LONGEST_PATH))), None);
        assert_eq!(socket_of(&"http://2f/".parse().expect("a URI")), None);
        assert_eq!(socket_of(&"http+unix://2f7/".parse().expect("a URI")), None);
    }
}
