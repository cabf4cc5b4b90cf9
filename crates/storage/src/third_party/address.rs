//! URLs of other servers: which are taken, where a redirect may lead, and how they are shown.

use dte_http::Reply;
use http::StatusCode;
use http::header::LOCATION;
use url::Url;

use super::party::BadParty;
use crate::error::{Errno, Error};

/// Presigned URLs are long.
const LONGEST_URL: usize = 8192;

/// Where a redirect leads; none when the answer is none.
pub(super) fn next_hop(here: &Url, reply: &Reply) -> Result<Option<Url>, Error> {
    let moves = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !moves.contains(&reply.status) {
        return Ok(None);
    }
    let bad = |why: &str| Error::new(Errno::EIO, format!("{}: the server redirects {why}", shown(here)));
    let target = reply.header(LOCATION).ok_or_else(|| bad("to nowhere"))?;
    let there = here.join(target).map_err(|_| bad("to what is not a URL"))?;
    match (here.scheme(), there.scheme()) {
        ("https", "http") => Err(bad("from TLS to a connection without it")),
        (_, "http" | "https") if there.username().is_empty() && there.password().is_none() => Ok(Some(there)),
        _ => Err(bad("to what cannot be followed")),
    }
}

pub(super) fn read_url(text: &str) -> Result<Url, BadParty> {
    let bad = |why: &str| BadParty::Url(why.to_owned());
    let text = text.trim();
    if text.len() > LONGEST_URL {
        return Err(bad("it is too long"));
    }
    // What opens a URL leaves out line breaks and takes a backslash for a slash.
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err(bad("it has characters that no URL has"));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "https" | "davs" => "https",
        "http" | "dav" => "http",
        _ => return Err(bad("its scheme is none of https, http, davs, dav")),
    };
    if rest.starts_with('/') || rest.is_empty() {
        return Err(bad("it has no host"));
    }
    let mut url: Url =
        format!("{scheme}://{rest}").parse().map_err(|error: url::ParseError| bad(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadParty::Credentials);
    }
    if matches!(url.path(), "" | "/") && url.query().is_none() {
        return Err(bad("it has no path"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Whether the URL carries its own credential.
pub(super) fn is_presigned(url: &Url) -> bool {
    let signatures = ["x-amz-signature", "x-goog-signature", "signature"];
    url.query_pairs().any(|(name, _)| signatures.contains(&name.to_ascii_lowercase().as_str()))
}

/// A URL for messages: without query, which may carry a signature or token.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::HeaderMap;
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn redirects() {
        let here: Url = "https://h/a".parse().expect("a URL");
        let to = |status: u16, target: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::try_from(target).expect("a header"));
            let reply = Reply { status: StatusCode::from_u16(status).expect("a status"), headers, body: Body::empty() };
            next_hop(&here, &reply)
        };
        assert_eq!(to(200, "/b"), Ok(None));
        assert_eq!(to(307, "/b").expect("leads").expect("there").as_str(), "https://h/b");
        assert!(to(302, "http://h/a").is_err());
        assert!(to(302, "file:///etc/passwd").is_err());
    }
}
