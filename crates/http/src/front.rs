//! All services behind one door: assembly under prefixes, and what happens to every request before its service sees it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri};
use tower::ServiceExt;
use tracing::Instrument;

use crate::config::HttpConfig;
use crate::host::{HostRefusal, Hosts};
use crate::metrics;
use crate::problem::Problem;
use crate::request::{CURRENT, Context, HOP_LIMIT, RequestId, X_REQUEST_ID, hops_of};

/// The longest value of a header, in bytes.
pub const LONGEST_HEADER: usize = 16 * 1024;

/// Routes that the front answers by itself, for the list of all routes: method, path, why anybody may ask.
pub const OWN_ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/healthz", "liveness: says only that the process answers"),
    ("GET", "/readyz", "readiness: says only which part is not ready"),
    ("GET", "/metrics", "counters without names of people or things"),
];

/// A service's router and where it goes. The router sees paths without the prefix.
#[derive(Clone, Debug)]
pub struct Mounted {
    pub service: &'static str,
    /// `/rucio`; begins with a slash and does not end in one.
    pub prefix: &'static str,
    pub router: Router,
}

type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Collects what goes behind the door.
#[derive(Default)]
pub struct Assembly {
    mounts: Vec<Mounted>,
    checks: Vec<(&'static str, Check)>,
    home: Option<&'static str>,
}

/// What cannot be put together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AssemblyError {
    #[error("two services want the prefix {0}")]
    Twice(&'static str),
    #[error("{0:?} is not a prefix such as /rucio")]
    NotAPrefix(&'static str),
    #[error("{0} is answered by the engine itself")]
    Reserved(&'static str),
}

impl Assembly {
    pub fn new() -> Self {
        Assembly::default()
    }

    pub fn mount(mut self, mounted: Mounted) -> Self {
        self.mounts.push(mounted);
        self
    }

    /// A part that must be well before `/readyz` says so.
    pub fn ready_check<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks.push((name, Box::new(move || Box::pin(check()))));
        self
    }

    /// Where a browser that asks for `/` is sent.
    pub fn home(mut self, path: &'static str) -> Self {
        self.home = Some(path);
        self
    }

    pub fn build(mut self, config: &HttpConfig) -> Result<Front, AssemblyError> {
        // The longest prefix first, so that the first that fits is the right one.
        self.mounts.sort_by(|a, b| b.prefix.len().cmp(&a.prefix.len()).then(a.prefix.cmp(b.prefix)));
        for mounted in &self.mounts {
            let prefix = mounted.prefix;
            if !prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains("//") {
                return Err(AssemblyError::NotAPrefix(prefix));
            }
            if OWN_ROUTES.iter().any(|(_, path, _)| *path == prefix) {
                return Err(AssemblyError::Reserved(prefix));
            }
        }
        if let Some(pair) = self.mounts.windows(2).find(|pair| pair[0].prefix == pair[1].prefix) {
            return Err(AssemblyError::Twice(pair[0].prefix));
        }
        Ok(Front(Arc::new(Inner {
            mounts: self.mounts,
            checks: self.checks,
            home: self.home,
            body_limit: usize::try_from(config.body_limit.0).unwrap_or(usize::MAX),
            ready: AtomicBool::new(false),
        })))
    }
}

/// Which part of the front a listener shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Everything under its prefix.
    All,
    /// One mount at the root path.
    Mount(usize),
}

/// All services behind one door. Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    mounts: Vec<Mounted>,
    checks: Vec<(&'static str, Check)>,
    home: Option<&'static str>,
    body_limit: usize,
    ready: AtomicBool,
}

impl Front {
    /// The entrance for `[listen] NAME`: a mount by its prefix without the slash, else by its service.
    pub fn entrance(&self, name: &str) -> Option<Entrance> {
        let mounts = &self.0.mounts;
        let by_prefix = mounts.iter().position(|mounted| &mounted.prefix[1..] == name);
        by_prefix.or_else(|| mounts.iter().position(|mounted| mounted.service == name)).map(Entrance::Mount)
    }

    /// The names that `[listen]` may use.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.mounts.iter().map(|mounted| &mounted.prefix[1..]).collect()
    }

    /// Everything has started: `/readyz` may say so from now on.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Release);
    }

    /// Whether `path` is served here.
    pub fn serves(&self, entrance: Entrance, path: &str) -> bool {
        self.mount_for(entrance, path).is_some()
    }

    fn mount_for(&self, entrance: Entrance, path: &str) -> Option<(&Mounted, usize)> {
        match entrance {
            Entrance::Mount(index) => self.0.mounts.get(index).map(|mounted| (mounted, 0)),
            Entrance::All => self
                .0
                .mounts
                .iter()
                .find(|mounted| {
                    path.strip_prefix(mounted.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
                .map(|mounted| (mounted, mounted.prefix.len())),
        }
    }

    /// Serves a request that came over a socket.
    pub(crate) async fn serve(&self, request: Request<Body>, entrance: Entrance, hosts: &Hosts) -> Response {
        if let Err(refusal) = hosts.check(&request) {
            let id = RequestId::accept(request.headers());
            return with_id(refuse_host(refusal), &id);
        }
        self.call(request, entrance).await
    }

    /// Serves a request, from a socket or from within.
    pub(crate) async fn call(&self, request: Request<Body>, entrance: Entrance) -> Response {
        let started = Instant::now();
        let context = Context { id: RequestId::accept(request.headers()), hops: hops_of(request.headers()) };
        let id = context.id.clone();
        let span = tracing::info_span!("request", id = id.as_str());
        let log = tracing::enabled!(tracing::Level::DEBUG).then(|| (request.method().clone(), request.uri().clone()));
        let work = AssertUnwindSafe(self.dispatch(request, entrance)).catch_unwind();
        let outcome = async {
            let response = work.await.unwrap_or_else(|_| {
                // The panic hook has written where; here only which request.
                tracing::error!("a handler panicked");
                metrics::refused("panic");
                Problem::internal("the engine made a mistake; the log has it under this request id").into_response()
            });
            if let Some((method, uri)) = log {
                let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                tracing::debug!(%method, path = uri.path(), status = response.status().as_u16(), micros, "served");
            }
            response
        };
        let response = CURRENT.scope(context, outcome).instrument(span).await;
        with_id(response, &id)
    }

    async fn dispatch(&self, mut request: Request<Body>, entrance: Entrance) -> Response {
        if CURRENT.with(|context| context.hops) > HOP_LIMIT {
            metrics::refused("loop");
            return Problem::new(StatusCode::LOOP_DETECTED, "this request came through too many services")
                .into_response();
        }
        if request.headers().values().any(|value| value.len() > LONGEST_HEADER) {
            metrics::refused("header size");
            let detail = format!("a header is longer than {LONGEST_HEADER} bytes");
            return Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail).into_response();
        }
        let Some((mounted, cut)) = self.mount_for(entrance, request.uri().path()) else {
            return self.own(request.method(), request.uri().path()).await;
        };
        if cut > 0 {
            let Some(inner) = without_prefix(request.uri(), cut) else {
                return Problem::bad_request("the path cannot be read").into_response();
            };
            let original = std::mem::replace(request.uri_mut(), inner);
            request.extensions_mut().insert(OriginalUri(original));
        }
        DefaultBodyLimit::max(self.0.body_limit).apply(&mut request);
        match mounted.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Paths that belong to no service.
    async fn own(&self, method: &Method, path: &str) -> Response {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match path {
            "/healthz" if reads => "ok\n".into_response(),
            "/readyz" if reads => self.readiness().await,
            "/metrics" if reads => {
                let kind = [(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))];
                (kind, dte_base::telemetry::render()).into_response()
            }
            "/" if reads && self.0.home.is_some() => {
                (StatusCode::SEE_OTHER, [(LOCATION, self.0.home.unwrap_or("/"))]).into_response()
            }
            "/healthz" | "/readyz" | "/metrics" => {
                Problem::method_not_allowed("only GET is answered here").into_response()
            }
            _ => {
                metrics::refused("no such path");
                Problem::not_found("no service is mounted at this path").into_response()
            }
        }
    }

    async fn readiness(&self) -> Response {
        if !self.0.ready.load(Ordering::Acquire) {
            return Problem::unavailable("the engine is starting or stopping").into_response();
        }
        for (name, check) in &self.0.checks {
            if let Err(reason) = check().await {
                return Problem::unavailable(format!("{name}: {reason}")).with("part", *name).into_response();
            }
        }
        "ready\n".into_response()
    }
}

fn with_id(mut response: Response, id: &RequestId) -> Response {
    response.headers_mut().insert(X_REQUEST_ID, id.header());
    response
}

fn refuse_host(refusal: HostRefusal) -> Response {
    metrics::refused("host");
    match refusal {
        HostRefusal::Missing => Problem::bad_request("the request must name one host").into_response(),
        HostRefusal::Foreign => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this engine does not serve that host name; add it to [http] hosts if it should",
        )
        .into_response(),
    }
}

/// The URI with the first `cut` bytes of its path removed.
fn without_prefix(uri: &Uri, cut: usize) -> Option<Uri> {
    let rest = &uri.path_and_query()?.as_str()[cut..];
    let path =
        if rest.starts_with('/') { PathAndQuery::try_from(rest) } else { PathAndQuery::try_from(format!("/{rest}")) };
    path.ok().map(Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_cut() {
        let cut = |uri: &str, prefix: &str| {
            without_prefix(&uri.parse().expect("a URI"), prefix.len()).expect("a URI").to_string()
        };
        assert_eq!(cut("/rucio/dids/a?x=1", "/rucio"), "/dids/a?x=1");
        assert_eq!(cut("/dav", "/dav"), "/");
        assert_eq!(cut("/dav/", "/dav"), "/");
        assert_eq!(cut("/dav?x", "/dav"), "/?x");
        assert_eq!(cut("http://h:1/dav/a%2Fb", "/dav"), "/a%2Fb");
    }

    #[test]
    fn prefixes_that_cannot_be() {
        let mounted = |prefix| Mounted { service: "x", prefix, router: Router::new() };
        let build = |prefixes: &[&'static str]| {
            let assembly = prefixes.iter().fold(Assembly::new(), |assembly, prefix| assembly.mount(mounted(prefix)));
            assembly.build(&HttpConfig::default()).map(|_| ())
        };
        assert_eq!(build(&["/a", "/a/b"]), Ok(()));
        assert_eq!(build(&["/a", "/a"]), Err(AssemblyError::Twice("/a")));
        assert_eq!(build(&["a"]), Err(AssemblyError::NotAPrefix("a")));
        assert_eq!(build(&["/"]), Err(AssemblyError::NotAPrefix("/")));
        assert_eq!(build(&["/metrics"]), Err(AssemblyError::Reserved("/metrics")));
    }
}
