//! The only way to build a router. A route cannot be added without saying what it requires, and every request passes the
//! gate before its handler runs; so there is no way around.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use dte_http::metrics::RouteMetrics;
use http::Method;
use http::request::Parts;
use serde::Serialize;

use crate::Identity;
use crate::gate::{Door, Gate, Point, allowed};
use crate::model::denial::{Denial, DenialKind};

/// What a route demands before its handler runs.
///
/// One rule for all: a token that names capabilities is confined to them. It opens a route that asks for one of its scopes, and
/// places in storage that one of them names; it opens nothing else, whoever it was given to. A token that names none has all
/// rights of a local account, and what the operator grants to a guest. A client of the issuer has what its scopes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    /// Anybody; the text says why that is right. A good token, if one is shown, still becomes an `Option<Principal>`.
    Public(&'static str),
    /// Somebody with a good token that is not confined to capabilities.
    Authenticated,
    /// Somebody with this scope (see [`Principal::may`](crate::Principal::may)).
    Scope(&'static str),
    /// Somebody with one of these scopes; the handler checks the rest, and the text says what.
    OneOf(&'static [&'static str], &'static str),
    Admin,
    /// Somebody with a good token that is not confined to capabilities; the handler checks the rest, and the text says what.
    HandlerChecks(&'static str),
    /// Somebody with a good token; the handler asks [`Principal::may_storage`](crate::Principal::may_storage) of each path.
    Storage(&'static str),
}

impl std::fmt::Display for Require {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Require::Public(why) => write!(f, "public: {why}"),
            Require::Authenticated => f.write_str("authenticated"),
            Require::Scope(scope) => write!(f, "scope {scope}"),
            Require::OneOf(scopes, what) => write!(f, "scope {}; handler checks: {what}", scopes.join(" or ")),
            Require::Admin => f.write_str("admin"),
            Require::HandlerChecks(what) => write!(f, "authenticated; handler checks: {what}"),
            Require::Storage(what) => write!(f, "storage scopes: {what}"),
        }
    }
}

/// One route, as `dte auth routes` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RouteInfo {
    pub service: String,
    /// `*` for any.
    pub method: String,
    /// With the prefix.
    pub path: String,
    pub requirement: String,
}

/// Finds the token in a request, for protocols that carry it elsewhere than in `Authorization: Bearer`.
pub type TokenSource = fn(&Parts) -> Option<String>;

pub(crate) type Erased = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;
type Unbound<S> = Box<dyn FnOnce(S) -> Erased + Send + Sync>;

struct Entry<S> {
    /// `None` is any method.
    method: Option<Method>,
    path: String,
    require: Require,
    body_limit: Option<usize>,
    handler: Unbound<S>,
}

/// The routes of one mount of a service, with what each requires.
pub struct Routes<S = ()> {
    service: &'static str,
    entries: Vec<Entry<S>>,
    on_denied: fn(Denial) -> Response,
    token_source: Option<TokenSource>,
    takes_sessions: bool,
    body_limit: Option<usize>,
}

macro_rules! methods {
    ($($name:ident = $method:ident;)*) => { $(
        #[doc = concat!("Adds a route for `", stringify!($method), "`.")]
        #[must_use]
        pub fn $name<H, T>(self, path: &str, require: Require, handler: H) -> Self
        where
            H: Handler<T, S> + Sync,
            T: 'static,
        {
            self.add(Some(Method::$method), path, require, handler)
        }
    )* };
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub fn new(service: &'static str) -> Self {
        Routes {
            service,
            entries: Vec::new(),
            on_denied: IntoResponse::into_response,
            token_source: None,
            takes_sessions: false,
            body_limit: None,
        }
    }

    methods! {
        get = GET;
        post = POST;
        put = PUT;
        patch = PATCH;
        delete = DELETE;
        head = HEAD;
        options = OPTIONS;
    }

    /// Adds a route for one method, also of WebDAV: `Method::from_bytes(b"PROPFIND")`.
    #[must_use]
    pub fn method<H, T>(self, method: Method, path: &str, require: Require, handler: H) -> Self
    where
        H: Handler<T, S> + Sync,
        T: 'static,
    {
        self.add(Some(method), path, require, handler)
    }

    /// Adds a route for every method that has no route of its own at this path.
    #[must_use]
    pub fn any<H, T>(self, path: &str, require: Require, handler: H) -> Self
    where
        H: Handler<T, S> + Sync,
        T: 'static,
    {
        self.add(None, path, require, handler)
    }

    /// How a refusal looks in this protocol; also for unknown paths (404) and methods (405). Default: problem details.
    #[must_use]
    pub fn on_denied(mut self, render: fn(Denial) -> Response) -> Self {
        self.on_denied = render;
        self
    }

    /// Where this protocol carries the token. Looked at first; then `Authorization: Bearer` as everywhere.
    #[must_use]
    pub fn token_from(mut self, source: TokenSource) -> Self {
        self.token_source = Some(source);
        self
    }

    /// Takes browser sessions too (the cookie of [`crate::session`]): for pages only.
    #[must_use]
    pub fn sessions(mut self) -> Self {
        self.takes_sessions = true;
        self
    }

    /// The largest body that handlers of the routes added *after* this take as a whole. Streams have no limit.
    #[must_use]
    pub fn body_limit(mut self, limit: dte_base::units::Bytes) -> Self {
        self.body_limit = Some(usize::try_from(limit.0).unwrap_or(usize::MAX));
        self
    }

    fn add<H, T>(mut self, method: Option<Method>, path: &str, require: Require, handler: H) -> Self
    where
        H: Handler<T, S> + Sync,
        T: 'static,
    {
        let handler: Unbound<S> = Box::new(move |state: S| {
            Arc::new(move |request| {
                let (handler, state) = (handler.clone(), state.clone());
                Box::pin(handler.call(request, state)) as Pin<Box<dyn Future<Output = Response> + Send>>
            })
        });
        self.entries.push(Entry { method, path: path.to_owned(), require, body_limit: self.body_limit, handler });
        self
    }

    /// Gives the handlers their state. Call it last.
    #[must_use]
    pub fn with_state(self, state: S) -> Routes<()> {
        let bind = |entry: Entry<S>| {
            let erased = (entry.handler)(state.clone());
            Entry {
                method: entry.method,
                path: entry.path,
                require: entry.require,
                body_limit: entry.body_limit,
                handler: Box::new(move |()| erased) as Unbound<()>,
            }
        };
        Routes {
            service: self.service,
            entries: self.entries.into_iter().map(bind).collect(),
            on_denied: self.on_denied,
            token_source: self.token_source,
            takes_sessions: self.takes_sessions,
            body_limit: self.body_limit,
        }
    }

    pub fn service(&self) -> &'static str {
        self.service
    }

    /// What is here, with paths as added (without the mount's prefix).
    pub fn table(&self) -> Vec<RouteInfo> {
        let row = |entry: &Entry<S>| RouteInfo {
            service: self.service.to_owned(),
            method: entry.method.as_ref().map_or("*", Method::as_str).to_owned(),
            path: entry.path.clone(),
            requirement: entry.require.to_string(),
        };
        self.entries.iter().map(row).collect()
    }
}

impl Routes<()> {
    /// The router, each route behind its gate.
    pub(crate) fn into_router(self, identity: &Identity) -> Router {
        let mut paths: Vec<(String, Vec<Gate>)> = Vec::new();
        for entry in self.entries {
            let method_name = entry.method.as_ref().map_or("*", Method::as_str).to_owned();
            let gate = Gate {
                metrics: RouteMetrics::new(self.service, &method_name, &entry.path),
                method: entry.method,
                require: entry.require,
                body_limit: entry.body_limit,
                handler: (entry.handler)(()),
            };
            match paths.iter_mut().find(|(path, _)| *path == entry.path) {
                Some((_, gates)) => gates.push(gate),
                None => paths.push((entry.path, vec![gate])),
            }
        }
        let door = Door {
            identity: identity.clone(),
            service: self.service,
            on_denied: self.on_denied,
            token_source: self.token_source,
            takes_sessions: self.takes_sessions,
        };
        let mut router = Router::new();
        for (path, gates) in paths {
            let point = Arc::new(Point { door: door.clone(), path: path.clone(), allow: allowed(&gates), gates });
            router = router.route_service(
                &path,
                tower::service_fn(move |request: Request| {
                    let point = Arc::clone(&point);
                    async move { Ok::<_, std::convert::Infallible>(point.pass(request).await) }
                }),
            );
        }
        let render = self.on_denied;
        router.fallback(move || async move {
            render(Denial::new(DenialKind::NoRoute, "no-route", "there is nothing at this path"))
        })
    }
}

/// Where a mount's routes go.
pub struct Mount {
    /// `/rucio`
    pub prefix: &'static str,
    pub routes: Routes,
}
