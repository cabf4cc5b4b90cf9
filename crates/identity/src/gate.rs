//! The gate before each handler: finds the token (or a session, or a certificate), verifies it, compares with what the route requires, refuses in the
//! protocol's own words, counts.

use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Request};
use axum::response::Response;
use dte_http::metrics::RouteMetrics;
use dte_http::{ClientCertificate, UntrustedCertificate};
use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use crate::Identity;
use crate::audit::{Denied, VOID};
use crate::certificate;
use crate::model::denial::{Denial, DenialKind};
use crate::model::principal::{Principal, UserRef};
use crate::model::token;
use crate::routes::{Erased, Require, TokenSource};
use crate::stay::CameBy;

/// Fetch metadata: how the page that asks is related to us.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The `Allow` header of a path.
pub(crate) fn allowed(gates: &[Gate]) -> String {
    let mut names: Vec<&str> = gates.iter().filter_map(|gate| gate.method.as_ref()).map(Method::as_str).collect();
    if names.contains(&"GET") && !names.contains(&"HEAD") {
        names.push("HEAD");
    }
    names.join(", ")
}

/// What all gates of a mount share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) identity: Identity,
    pub(crate) service: &'static str,
    pub(crate) on_denied: fn(Denial) -> Response,
    pub(crate) token_source: Option<TokenSource>,
    pub(crate) takes_sessions: bool,
}

/// One path with its methods.
pub(crate) struct Point {
    pub(crate) door: Door,
    pub(crate) path: String,
    pub(crate) allow: String,
    pub(crate) gates: Vec<Gate>,
}

/// One method of one path.
pub(crate) struct Gate {
    pub(crate) method: Option<Method>,
    pub(crate) require: Require,
    pub(crate) body_limit: Option<usize>,
    pub(crate) handler: Erased,
    pub(crate) metrics: RouteMetrics,
}

impl Point {
    fn gate(&self, method: &Method) -> Option<&Gate> {
        let exact = |wanted: &Method| self.gates.iter().find(|gate| gate.method.as_ref() == Some(wanted));
        exact(method)
            .or_else(|| if *method == Method::HEAD { exact(&Method::GET) } else { None })
            .or_else(|| self.gates.iter().find(|gate| gate.method.is_none()))
    }

    pub(crate) async fn pass(&self, request: Request) -> Response {
        let started = Instant::now();
        let known = METHODS.contains(&request.method().as_str());
        let Some(gate) = self.gate(request.method()).filter(|_| known) else {
            let mut denial = Denial::new(DenialKind::NoMethod, "no-method", "this path has no such method");
            denial.allow = Some(self.allow.clone());
            return (self.door.on_denied)(denial);
        };
        let response = self.enter(gate, request).await;
        gate.metrics.observe(response.status(), started.elapsed());
        response
    }

    async fn enter(&self, gate: &Gate, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let identity = &self.door.identity;
        let principal = match self.identify(gate, &parts).await {
            Ok(principal) => principal,
            Err(denial) => {
                let (who, certificate) = self.holder_of_void(&parts, &denial);
                let denied = self.denied(&parts, None, &denial);
                identity.audit().denied(Denied { who, certificate, ..denied });
                return (self.door.on_denied)(denial);
            }
        };
        let way = if principal.is_some() { self.way_of(&parts) } else { CameBy::default() };
        if let Some(principal) = &principal {
            let verdict = match gate.require {
                Require::Public(_) | Require::Storage(_) => Ok(()),
                Require::Authenticated | Require::HandlerChecks(_) => principal.must_not_be_confined(),
                Require::Scope(scope) => principal.may(scope),
                Require::OneOf(scopes, _) => principal.may_one_of(scopes),
                Require::Admin => principal.must_be_admin(),
            };
            if let Err(denial) = verdict {
                identity.audit().denied(self.denied(&parts, Some(principal), &denial));
                return (self.door.on_denied)(denial);
            }
            if let Some(denial) = identity.aup_denial(principal, &parts.method, gate.require, self.door.service) {
                identity.audit().denied(self.denied(&parts, Some(principal), &denial));
                return (self.door.on_denied)(denial);
            }
            parts.extensions.insert(principal.clone());
        }
        // A refusal of the handler itself is audited too; keep what is needed only where a handler decides.
        let note = principal.map(|principal| (principal, parts.method.clone(), parts.uri.clone()));
        let mut request = Request::from_parts(parts, body);
        if let Some(limit) = gate.body_limit {
            DefaultBodyLimit::max(limit).apply(&mut request);
        }
        let work = (gate.handler)(request);
        let response = match &note {
            Some((principal, method, uri)) => match identity.attend(principal, way, work).await {
                Ok(response) => response,
                Err(denial) => {
                    identity.audit().denied(Denied {
                        who: Some(principal.user_ref()),
                        certificate: None,
                        reason: denial.reason,
                        service: self.door.service,
                        method: method.to_string(),
                        object: uri.path().to_owned(),
                    });
                    return (self.door.on_denied)(denial);
                }
            },
            None => work.await,
        };
        if let Some((principal, method, uri)) = &note
            && is_permit(gate.require, response.status())
        {
            identity.audit().permitted(principal, self.door.service, method, &self.path, uri.path());
        }
        if matches!(response.status(), StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)
            && let Some((principal, method, uri)) = note
        {
            identity.audit().denied(Denied {
                who: Some(principal.user_ref()),
                certificate: None,
                reason: "handler",
                service: self.door.service,
                method: method.to_string(),
                object: uri.path().to_owned(),
            });
        }
        response
    }

    fn token_of(&self, parts: &Parts) -> Option<String> {
        let own = self.door.token_source.and_then(|source| source(parts));
        own.or_else(|| bearer(&parts.headers).map(str::to_owned))
    }

    /// The session or the certificate by which somebody is let in, if it is not by a token.
    fn way_of(&self, parts: &Parts) -> CameBy {
        if self.token_of(parts).is_some() {
            return CameBy::default();
        }
        if self.door.takes_sessions {
            return CameBy { session: self.door.identity.session_secret(&parts.headers), certificate: None };
        }
        CameBy { session: None, certificate: parts.extensions.get::<ClientCertificate>().cloned() }
    }

    /// Whose token was refused after its signature was found good, or whose certificate: the trail must say who is still trying.
    fn holder_of_void(&self, parts: &Parts, denial: &Denial) -> (Option<UserRef>, Option<String>) {
        if !VOID.contains(&denial.reason) {
            return (None, None);
        }
        if let Some(text) = self.token_of(parts) {
            return (subject_of(&text), None);
        }
        match parts.extensions.get::<ClientCertificate>().filter(|_| !self.door.takes_sessions) {
            Some(shown) => (certificate::holder_of(shown), Some(certificate::id_of(shown))),
            None => (None, None),
        }
    }

    async fn identify(&self, gate: &Gate, parts: &Parts) -> Result<Option<Principal>, Denial> {
        let token = self.token_of(parts);
        let token = token.as_deref();
        if token.is_none() && self.door.takes_sessions {
            return self.identify_session(gate, parts).await;
        }
        match (gate.require, token) {
            (Require::Public(_), None) => Ok(self.identify_certificate(parts).unwrap_or_default()),
            (Require::Public(_), Some(token)) => Ok(self.door.identity.verify(token).await.ok()),
            (_, None) => self.identify_certificate(parts)?.ok_or_else(Denial::no_token).map(Some),
            (_, Some(token)) => match self.door.identity.verify(token).await {
                Ok(principal) => Ok(Some(principal)),
                Err(reject) => Err(Denial::bad_token(reject.id(), reject.to_string())),
            },
        }
    }

    /// Whoever the connection's certificate stands for, if it has one.
    fn identify_certificate(&self, parts: &Parts) -> Result<Option<Principal>, Denial> {
        let Some(shown) = parts.extensions.get::<ClientCertificate>() else {
            // One that is not trusted counts as none, and whoever has nothing else hears why.
            return match parts.extensions.get::<UntrustedCertificate>() {
                Some(untrusted) => {
                    Err(Denial::new(DenialKind::NoToken, "certificate-untrusted", format!("{untrusted}; show a token")))
                }
                None => Ok(None),
            };
        };
        if !is_of_no_other_page(parts) {
            return Err(Denial::new(DenialKind::Insufficient, "foreign-page", "another site's page asked for this"));
        }
        self.door.identity.of_certificate(shown).map(Some)
    }

    async fn identify_session(&self, gate: &Gate, parts: &Parts) -> Result<Option<Principal>, Denial> {
        let identity = &self.door.identity;
        let is_public = matches!(gate.require, Require::Public(_));
        let Some(secret) = identity.session_secret(&parts.headers) else {
            return if is_public { Ok(None) } else { Err(Denial::no_token()) };
        };
        if !is_from_our_page(parts) {
            return Err(Denial::new(DenialKind::Insufficient, "foreign-page", "another site's page asked for this"));
        }
        match identity.session(&secret).await {
            Ok(Some(principal)) => Ok(Some(principal)),
            _ if is_public => Ok(None),
            Ok(None) => Err(Denial::bad_token("session", "the session is over")),
            Err(error) => {
                tracing::error!(%error, "a session cannot be read");
                Err(Denial::bad_token("session", "the session cannot be read now"))
            }
        }
    }

    fn denied(&self, parts: &Parts, principal: Option<&Principal>, denial: &Denial) -> Denied {
        tracing::debug!(service = self.door.service, route = %self.path, reason = denial.reason, "denied");
        Denied {
            who: principal.map(Principal::user_ref),
            certificate: None,
            reason: denial.reason,
            service: self.door.service,
            method: parts.method.to_string(),
            object: parts.uri.path().to_owned(),
        }
    }
}

/// Methods that any service knows; others, whose names anybody may invent, end here and leave no trace.
const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "ACL",
];

/// Whether somebody was let in where not everybody is, and something came of it.
fn is_permit(require: Require, status: StatusCode) -> bool {
    !matches!(require, Require::Public(_)) && !status.is_client_error()
}

/// Whom a token names whose signature was found good.
fn subject_of(text: &str) -> Option<UserRef> {
    let claims = token::parse(text).ok()?.claims;
    let claim = |name: &'static str| claims.text(name).ok().flatten().map(str::to_owned);
    let (issuer, subject) = (claim("iss")?, claim("sub")?);
    Some(UserRef { issuer, name: subject.clone(), subject })
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A cookie proves who, not from where: a change must come from a page of ours, told by `Origin` and the fetch metadata that
/// every browser sends with it. (`SameSite` does not tell two ports of one host apart.)
fn is_from_our_page(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD) || is_of_no_other_page(parts)
}

/// The same for every method: some protocols change things with `GET`.
fn is_of_no_other_page(parts: &Parts) -> bool {
    let text = |name: HeaderName| parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site_is_ours = text(SEC_FETCH_SITE).is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin_is_ours = text(ORIGIN).is_none_or(|origin| {
        let host = text(HOST).or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
        origin.split_once("://").is_some_and(|(_, name)| host.is_some_and(|host| host.eq_ignore_ascii_case(name)))
    });
    site_is_ours && origin_is_ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_from_our_own_pages() {
        let ask = |method: &str, headers: &[(&str, &str)]| {
            let mut request = http::Request::builder().method(method).uri("/x").header("host", "127.0.0.1:8990");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_from_our_page(&request.body(()).expect("a request").into_parts().0)
        };
        assert!(ask("POST", &[("origin", "http://127.0.0.1:8990"), ("sec-fetch-site", "same-origin")]));
        assert!(ask("GET", &[("origin", "http://evil.example")]));
        assert!(ask("POST", &[]), "no browser");
        for bad in ["http://127.0.0.1:9000", "http://evil.example", "null", "http://127.0.0.1:8990.evil.example"] {
            assert!(!ask("POST", &[("origin", bad)]), "{bad}");
            assert!(!ask("DELETE", &[("origin", bad)]), "{bad}");
        }
        assert!(!ask("POST", &[("sec-fetch-site", "cross-site")]));
        assert!(!ask("POST", &[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn bearer_tokens() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().expect("a header"));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(read("bearer  abc ").as_deref(), Some("abc"));
        for other in ["Basic abc", "Bearer", "abc", "Bearerabc x"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
