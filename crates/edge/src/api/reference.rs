//! Places that headers name: a URL of our own, or a path.

use dte_http::Problem;
use dte_protocol_webdav::path::{BadPath, ResourcePath};
use url::Url;

use super::asked::{Asked, Place, place_of};
use super::refusal::bad_path;

/// What a header names.
pub enum Reference {
    Here(Place),
    /// At another server.
    Elsewhere,
}

/// Finds what a header names.
pub fn resolve(asked: &Asked, text: &str) -> Result<Reference, Problem> {
    let raw = match text.split_once("://") {
        None => text,
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
            if !is_own(asked, scheme, authority) {
                return Ok(Reference::Elsewhere);
            }
            path
        }
    };
    let inner = raw.strip_prefix(&asked.prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let inner = inner.ok_or_else(|| Problem::bad_request("the destination is not in this storage"))?;
    // Some clients do not encode what they put here, so a percent sign that begins no escape is taken as it stands. What
    // can be decoded and is refused stays refused.
    let inner = inner.split(['?', '#']).next().unwrap_or_default();
    let path = match ResourcePath::parse(inner) {
        Err(BadPath::BadEscape) => ResourcePath::from_plain(inner),
        other => other,
    };
    place_of(&asked.edge, &path.map_err(bad_path)?).map(Reference::Here)
}

/// Whether an authority is one under which clients reach us: the public one, or the one that this client used.
pub fn is_own(asked: &Asked, scheme: &str, authority: &str) -> bool {
    let web = match scheme.to_ascii_lowercase().as_str() {
        "http" | "dav" => "http",
        "https" | "davs" => "https",
        _ => return false,
    };
    let used = asked.headers.get("host").and_then(|host| host.to_str().ok());
    if used.is_some_and(|used| used.eq_ignore_ascii_case(authority)) {
        return true;
    }
    let Ok(url) = format!("{web}://{authority}/").parse::<Url>() else { return false };
    let public = &asked.edge.public_url;
    url.host_str() == public.host_str() && url.port_or_known_default() == public.port_or_known_default()
}
