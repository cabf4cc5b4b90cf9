//! From a PFN to a storage that is used as a pod's owner, with a token that is good for that one file.

use dte_storage::{Errno, Error, Location};
use url::Url;

use crate::model::failure::Failure;
use crate::shared::Shared;
use crate::store::PodRow;

/// Below this path our edges show their areas.
const EDGE_PREFIX: &str = "/dav";

/// What is to be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    /// Write it, if it is not there.
    Create,
    /// Write it, also over another.
    Replace,
}

/// The storage behind `pfn`.
pub fn open(shared: &Shared, pod: &PodRow, pfn: &str, purpose: Use) -> Result<Location, Failure> {
    let bad = |error: String| Failure::lasting("BadPFN", format!("{pfn}: {error}"));
    let address = web_address(pfn).ok_or_else(|| bad("not a URL".into()))?;
    // Another process of this engine may serve the address.
    let is_own = shared.client.is_own(address.as_str()) || address.origin() == shared.client.public_url().origin();
    let path = address.path();
    let path = match path.strip_prefix(EDGE_PREFIX) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    };
    let mut scopes = vec![format!("storage.read:{path}")];
    if purpose != Use::Read {
        // Elsewhere a file is written under a temporary name beside the final one.
        let place = if is_own { path } else { path.rsplit_once('/').map_or("/", |(folder, _)| folder) };
        scopes.push(format!("storage.create:{place}"));
        if purpose == Use::Replace || !is_own {
            scopes.push(format!("storage.modify:{place}"));
        }
    }
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let origin = address.origin().ascii_serialization();
    // A token that is shown to another storage is good there only, and is never shown in the clear.
    let token = match (is_own, address.scheme()) {
        (true, _) => Some(shared.token(pod, &scopes, None)?),
        (false, "https") => Some(shared.token(pod, &scopes, Some(&origin))?),
        _ => None,
    };
    shared.storages.resolve(pfn, token.as_ref()).map_err(|error| bad(error.to_string()))
}

fn web_address(pfn: &str) -> Option<Url> {
    let (scheme, rest) = pfn.split_once("://")?;
    let scheme = match scheme {
        "davs" | "https" => "https",
        "dav" | "http" => "http",
        _ => return None,
    };
    format!("{scheme}://{rest}").parse().ok()
}

/// Whether and how a failure of a storage ends the try. `what` begins the reason: `Input` or `Output`.
pub fn failure(what: Direction, error: &Error) -> Failure {
    let text = error.to_string();
    match (error.errno, what) {
        (Errno::ECHECKSUM, Direction::Input) => Failure::passing("InputChecksumMismatch", text),
        (Errno::ECHECKSUM, Direction::Output) => Failure::passing("OutputChecksumMismatch", text),
        (Errno::EACCES, Direction::Input) => Failure::lasting("InputForbidden", text),
        (Errno::EACCES, Direction::Output) => Failure::lasting("OutputForbidden", text),
        (Errno::EINVAL | Errno::ENOSYS, Direction::Input) => Failure::lasting("InputUnreadable", text),
        (Errno::EINVAL | Errno::ENOSYS, Direction::Output) => Failure::lasting("OutputUnwritable", text),
        (Errno::ENOSPC, Direction::Output) => Failure::passing("OutputNoSpace", text),
        (_, Direction::Input) => Failure::passing("InputUnavailable", text),
        (_, Direction::Output) => Failure::passing("OutputUnavailable", text),
    }
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Input,
    Output,
}

/// The same for a failure of the data lake.
pub fn lake_failure(what: Direction, error: &dte_protocol_rucio::LakeError) -> Failure {
    let text = error.to_string();
    let status = match error {
        dte_protocol_rucio::LakeError::Exception(exception) => exception.status.as_u16(),
        _ => 0,
    };
    match (status, what) {
        (401 | 403, Direction::Input) => Failure::lasting("InputForbidden", text),
        (401 | 403, Direction::Output) => Failure::lasting("OutputForbidden", text),
        _ if error.is_transient() => Failure::passing("LakeUnavailable", text),
        (_, Direction::Input) => Failure::lasting("InputUnknown", text),
        (_, Direction::Output) => Failure::lasting("OutputRefused", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let of = |pfn: &str| web_address(pfn).map(String::from);
        assert_eq!(of("davs://h/dav/a").as_deref(), Some("https://h/dav/a"));
        assert_eq!(of("http://h:1/dav/a").as_deref(), Some("http://h:1/dav/a"));
        assert_eq!(of("file:///etc/passwd"), None);
        assert_eq!(of("nonsense"), None);
    }
}
