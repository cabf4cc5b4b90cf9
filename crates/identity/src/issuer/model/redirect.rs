//! Where a browser may be sent back to (RFC 6749 section 3.1.2, RFC 8252, RFC 9700 section 4.1).

use url::{Host, Url};

const LONGEST: usize = 1_024;
const MOST: usize = 16;

/// What kind of client it says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApplicationType {
    #[default]
    Web,
    Native,
}

/// Why addresses cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRedirect {
    #[error("Custom redirect_uri not allowed for web client")]
    Custom,
    #[error("invalid redirect_uri")]
    Malformed,
    #[error("a redirect_uri of http is for loopback addresses only; use https")]
    Plain,
    #[error("the scheme of a redirect_uri must be https, or contain a dot as in edu.example.app:/redirect")]
    Scheme,
    #[error("there are more than {MOST} redirect_uris")]
    TooMany,
}

impl BadRedirect {
    /// The error of RFC 7591 section 3.2.2; with custom schemes the words on which oidc-agent tries again as a native client.
    pub(crate) fn code(&self) -> &'static str {
        if *self == BadRedirect::Custom { "invalid redirect_uri" } else { "invalid_redirect_uri" }
    }
}

/// Whether a client may register these. They are never fetched.
pub(crate) fn check_all(uris: &[String], kind: ApplicationType) -> Result<(), BadRedirect> {
    if uris.len() > MOST {
        return Err(BadRedirect::TooMany);
    }
    uris.iter().try_for_each(|uri| check(uri, kind))
}

fn check(uri: &str, kind: ApplicationType) -> Result<(), BadRedirect> {
    let plain_text =
        uri.len() <= LONGEST && uri.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'*' | b'\\' | b'"'));
    if !plain_text {
        return Err(BadRedirect::Malformed);
    }
    let url = Url::parse(uri).map_err(|_| BadRedirect::Malformed)?;
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(BadRedirect::Malformed);
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => Err(BadRedirect::Plain),
        // A dot: a name that somebody owns, and none of `javascript`, `data`, `file` and the like.
        scheme if !scheme.contains('.') => Err(BadRedirect::Scheme),
        _ if kind == ApplicationType::Native => Ok(()),
        _ => Err(BadRedirect::Custom),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether `given` is one of those that were registered: the same text; for native clients a loopback address may have any
/// port (RFC 8252 section 7.3).
pub(crate) fn is_registered(given: &str, registered: &[String], kind: ApplicationType) -> bool {
    if registered.iter().any(|known| known == given) {
        return true;
    }
    if kind != ApplicationType::Native || check(given, kind).is_err() {
        return false;
    }
    let Some(given) = without_port(given) else { return false };
    registered.iter().filter_map(|known| without_port(known)).any(|known| known == given)
}

/// A loopback address without its port; nothing for other addresses.
fn without_port(uri: &str) -> Option<Url> {
    let mut url = Url::parse(uri).ok().filter(|url| url.scheme() == "http" && is_loopback(url))?;
    url.set_port(None).ok()?;
    Some(url)
}

/// Whether other programs of the same computer could get what is sent there.
pub(crate) fn is_shared(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|url| url.scheme() != "https")
}

/// Whether a person must see the address before we send them there: nobody has checked whose it is, and it is not on their own
/// computer.
pub(crate) fn must_be_shown(is_checked: bool, uri: &str) -> bool {
    !is_checked && !is_shared(uri)
}

/// The address with the answer in its query.
pub(crate) fn with_answer(uri: &str, answer: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(answer).finish();
    let joint = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{joint}{query}")
}

#[cfg(test)]
mod tests {
    use super::ApplicationType::{Native, Web};
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_may_be_registered() {
        for good in [
            "https://rp.example/cb",
            "https://rp.example/cb?x=1",
            "http://localhost:4242",
            "http://127.0.0.1/",
            "http://[::1]:9/cb",
        ] {
            assert_eq!(check(good, Web), Ok(()), "{good}");
            assert_eq!(check(good, Native), Ok(()), "{good}");
        }
        let custom = "edu.kit.data.oidc-agent:/redirect";
        assert_eq!(check(custom, Native), Ok(()));
        assert_eq!(check(custom, Web), Err(BadRedirect::Custom));
        for bad in [
            "",
            "/cb",
            "rp.example/cb",
            "http://rp.example/cb",
            "http://localhost.evil.example/",
            "https://*.example/cb",
            "https://u:p@rp.example/cb",
            "https://rp.example/cb#x",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc",
            "https://rp.example/a b",
            "https://rp.example\\@evil.example/",
            "http://127.0.0.1.evil.example/",
        ] {
            assert!(check(bad, Native).is_err(), "{bad}");
        }
        assert_eq!(check_all(&texts(&["https://a.example/"; 17]), Web), Err(BadRedirect::TooMany));
    }

    #[test]
    fn the_same_text_and_nothing_like_it() {
        let known = texts(&[
            "https://rp.example/cb",
            "http://localhost:4242",
            "http://127.0.0.1:1/cb",
            "edu.kit.data.oidc-agent:/redirect",
        ]);
        for good in ["https://rp.example/cb", "http://localhost:4242", "edu.kit.data.oidc-agent:/redirect"] {
            assert!(is_registered(good, &known, Web), "{good}");
        }
        for good in ["http://localhost:9", "http://localhost:9/", "http://127.0.0.1:50000/cb"] {
            assert!(is_registered(good, &known, Native), "{good}");
            assert!(!is_registered(good, &known, Web), "{good}");
        }
        for bad in [
            "https://rp.example/cb/",
            "https://rp.example/cb?x",
            "https://rp.example:8443/cb",
            "https://rp.example/CB",
            "https://rp.example.evil.example/cb",
            "https://evil.example/https://rp.example/cb",
            "https://rp.example/cb/../x",
            "http://localhost:9/other",
            "http://127.0.0.2:1/cb",
            "http://localhost.evil.example:4242",
            "http://127.0.0.1:1/cb#f",
            "http://user@localhost:4242",
            "edu.kit.data.oidc-agent:/other",
            "edu.kit.data.oidc-agent:/redirect/x",
        ] {
            assert!(!is_registered(bad, &known, Native), "{bad}");
        }
    }

    #[test]
    fn answers() {
        assert_eq!(
            with_answer("https://a.example/cb", &[("code", "x y"), ("state", "&")]),
            "https://a.example/cb?code=x+y&state=%26"
        );
        assert_eq!(with_answer("https://a.example/cb?k=v", &[("e", "1")]), "https://a.example/cb?k=v&e=1");
        assert!(is_shared("http://localhost:1/") && is_shared("a.b:/x") && !is_shared("https://a.example/"));
    }
}
