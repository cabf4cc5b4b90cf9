//! What guards the pages of people who are not signed in yet: the cookie of the sign-in form, where a form comes from, and
//! where somebody may be sent on to.
//!
//! The sign-in form cannot carry a session's token, so it carries one of a cookie that this browser got with the form
//! (double submit, keyed by us): another site's page can send neither. `Origin` and the fetch metadata are looked at
//! besides.

use axum::extract::Extension;
use axum::response::{IntoResponse, Redirect, Response};
use dte_http::PeerAddress;
use http::header::{HOST, HeaderName, HeaderValue, ORIGIN, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use super::refusal;
use crate::Identity;
use crate::accounts::sign_in::Caller;
use crate::session::cookie;

/// Where people go who did not say where.
pub(super) const HOME: &str = "/ui";
/// Longer places are not remembered.
const LONGEST_NEXT: usize = 4_096;
const SECRET_DIGITS: usize = 64;
/// How long a browser is known.
const KNOWN_FOR: u64 = 180 * 86_400;

pub(super) type Peer = Option<Extension<PeerAddress>>;

/// Where to go after signing in: a path of ours, whatever was asked for.
pub(crate) fn own_path(next: &str) -> &str {
    if is_own_path(next) { next } else { HOME }
}

/// Whether every browser takes this for a path of the page's own origin, however it reads it.
fn is_own_path(next: &str) -> bool {
    if next.len() > LONGEST_NEXT || !next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return false;
    }
    let path = next.split(['?', '#']).next().unwrap_or_default();
    let Some(inside) = path.strip_prefix('/') else { return false };
    if path.contains("//") || path.starts_with("/oidc/login") {
        return false;
    }
    inside.split('/').all(|part| {
        let Ok(decoded) = percent_decode_str(part).decode_utf8() else { return false };
        let is_dots = decoded == "." || decoded == "..";
        !is_dots && !decoded.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
    })
}

/// The secret of the sign-in form's cookie.
pub(super) struct Browser {
    pub(super) secret: String,
    is_new: bool,
}

impl Browser {
    /// The one that this browser has, or a new one.
    pub(super) fn of(identity: &Identity, headers: &HeaderMap) -> Browser {
        match Browser::known(identity, headers) {
            Some(secret) => Browser { secret, is_new: false },
            None => Browser { secret: hex::encode(rand::random::<[u8; SECRET_DIGITS / 2]>()), is_new: true },
        }
    }

    pub(super) fn known(identity: &Identity, headers: &HeaderMap) -> Option<String> {
        let secret = cookie(headers, &door_cookie(identity))?;
        (secret.len() == SECRET_DIGITS && secret.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(secret)
    }

    /// What the form carries.
    pub(super) fn token(&self, identity: &Identity) -> String {
        identity.session_form_token(&self.secret)
    }

    /// Gives the browser its cookie with this answer, if it has none.
    pub(super) fn with(&self, identity: &Identity, response: Response) -> Response {
        if !self.is_new {
            return response;
        }
        set_cookie(identity, response, &format!("{}={}", door_cookie(identity), self.secret))
    }
}

fn is_https(identity: &Identity) -> bool {
    identity.0.client.public_url().scheme() == "https"
}

/// Cookies do not tell ports apart; with TLS the prefix keeps neighbouring hosts from setting it.
fn door_cookie(identity: &Identity) -> String {
    let port = identity.0.client.public_url().port_or_known_default().unwrap_or_default();
    format!("{}dte_login_{port}", if is_https(identity) { "__Host-" } else { "" })
}

fn known_cookie(identity: &Identity) -> String {
    let port = identity.0.client.public_url().port_or_known_default().unwrap_or_default();
    format!("{}dte_known_{port}", if is_https(identity) { "__Host-" } else { "" })
}

fn set_cookie(identity: &Identity, mut response: Response, pair: &str) -> Response {
    let secure = if is_https(identity) { "; Secure" } else { "" };
    // Everything in it is of our own making and plain.
    if let Ok(mut value) = HeaderValue::from_str(&format!("{pair}; Path=/; HttpOnly; SameSite=Lax{secure}")) {
        value.set_sensitive(true);
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

/// The answer that signs `name` in, and remembers this browser as one of theirs.
pub(super) fn signed_in(identity: &Identity, response: Response, name: &str, secret: &str) -> Response {
    let known = format!("{}={}; Max-Age={KNOWN_FOR}", known_cookie(identity), identity.new_known_browser(name));
    let response = set_cookie(identity, response, &known);
    set_cookie(identity, response, &format!("{}={secret}", identity.session_cookie_name()))
}

/// Takes the session's cookie away.
pub(super) fn signed_out(identity: &Identity, response: Response) -> Response {
    set_cookie(identity, response, &format!("{}=; Max-Age=0", identity.session_cookie_name()))
}

pub(super) fn caller(identity: &Identity, headers: &HeaderMap, peer: &Peer) -> Caller {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Caller {
        address: peer.as_ref().map(|Extension(PeerAddress(address))| *address),
        agent: agent.to_owned(),
        known_browser: cookie(headers, &known_cookie(identity)),
        session: identity.session_secret(headers),
    }
}

/// Whether a form may come from a page of ours: what a browser says of where it is from must be us. Programs that are no
/// browsers say nothing; they have no cookies to abuse.
pub(super) fn is_from_us(headers: &HeaderMap, public_url: &str) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let origin_is_ours = text(ORIGIN).is_none_or(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        // The listener has checked that the host is a name of ours.
        (authority.is_some() && authority == text(HOST)) || origin == public_url.trim_end_matches('/')
    });
    site.is_none_or(|site| site == "same-origin") && origin_is_ours
}

/// The browser that sent a form of the sign-in pages; nothing when it is not from there ([`foreign_form`]).
pub(super) fn door_form(identity: &Identity, headers: &HeaderMap, csrf: &str) -> Option<Browser> {
    Browser::known(identity, headers).map(|secret| Browser { secret, is_new: false }).filter(|browser| {
        let wanted = browser.token(identity);
        bool::from(wanted.as_bytes().ct_eq(csrf.as_bytes()))
            && is_from_us(headers, identity.0.client.public_url().as_str())
    })
}

/// Says why such a form is not taken.
pub(super) fn foreign_form() -> Response {
    let detail = "This form does not come from the sign-in page of this browser. Cookies must be on. Begin again.";
    refusal(StatusCode::FORBIDDEN, "Not accepted", detail, None)
}

/// Sends the browser on with a GET.
pub(super) fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use url::Url;

    #[test]
    fn only_to_paths_of_ours() {
        for good in [
            "/ui",
            "/",
            "/oidc/authorize?client_id=x&redirect_uri=https%3A%2F%2Fclient.example%2Fcb&state=%2F%2F",
            "/ui/twins/enso?from=2020-01-01#record",
            "/a%20b",
        ] {
            assert_eq!(own_path(good), good);
        }
        for bad in [
            "",
            "ui",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/ui\\..\\x",
            "http:evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            " /ui",
            "/ui\r\nset-cookie:x",
            "/\t/evil.example",
            "/%2fevil.example",
            "/%2F%2Fevil.example",
            "/%5Cevil.example",
            "/%5c%5cevil",
            "/x/..//evil.example",
            "/./evil",
            "/..",
            "/%2e%2e/x",
            "/a//b",
            "/%0d%0aset-cookie:x",
            "/%00",
            "/é",
            "/%ff",
            "/oidc/login?next=/ui",
            "@evil.example",
            "?next=//evil",
            "/\u{202e}",
        ] {
            assert_eq!(own_path(bad), HOME, "{bad:?}");
        }
        assert_eq!(own_path(&format!("/{}", "x".repeat(LONGEST_NEXT))), HOME);
    }

    proptest! {
        #[test]
        fn a_browser_stays_with_us(next in "[/\\\\.a-z:@?#%25fF \t\r\n]{0,24}") {
            let page = Url::parse("https://twin.example/oidc/login").expect("a URL");
            let there = page.join(own_path(&next)).expect("a URL");
            prop_assert_eq!(there.origin(), page.origin());
        }
    }

    #[test]
    fn where_forms_come_from() {
        let from = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                let name = HeaderName::try_from(*name).expect("a name");
                headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            }
            is_from_us(&headers, "https://twin.example/")
        };
        let host = ("host", "127.0.0.1:8990");
        assert!(from(&[host, ("origin", "http://127.0.0.1:8990"), ("sec-fetch-site", "same-origin")]));
        assert!(from(&[("origin", "https://twin.example")]));
        assert!(from(&[host]));
        for bad in
            ["null", "http://evil.example", "http://127.0.0.1:8991", "127.0.0.1:8990", "https://twin.example.evil"]
        {
            assert!(!from(&[host, ("origin", bad)]), "{bad}");
        }
        for site in ["cross-site", "same-site", "none"] {
            assert!(!from(&[host, ("sec-fetch-site", site)]), "{site}");
        }
    }
}
