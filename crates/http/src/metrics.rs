//! Counters of requests. A route resolves its counters once, so that counting costs a few additions.

use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    dte_base::telemetry::counter(
        "dte_http_requests_total",
        "Requests by service, method, route and class of status.",
        &["service", "method", "route", "status"],
    )
});

static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    dte_base::telemetry::histogram(
        "dte_http_request_seconds",
        "Time from the request's head to the response's head.",
        &["service", "method", "route"],
    )
});

static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    dte_base::telemetry::counter("dte_http_refused_total", "Requests that reached no service.", &["reason"])
});

static CONNECTIONS: LazyLock<IntGauge> = LazyLock::new(|| {
    dte_base::telemetry::gauge("dte_http_connections", "Open connections.", &[]).with_label_values::<&str>(&[])
});

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of one route.
#[derive(Clone)]
pub struct RouteMetrics {
    by_class: [IntCounter; 5],
    seconds: Histogram,
}

impl RouteMetrics {
    /// `route` is the pattern (`/dids/{scope}`), never a path that a client sent.
    pub fn new(service: &str, method: &str, route: &str) -> Self {
        RouteMetrics {
            by_class: CLASSES.map(|class| REQUESTS.with_label_values(&[service, method, route, class])),
            seconds: SECONDS.with_label_values(&[service, method, route]),
        }
    }

    /// Notes one answered request.
    pub fn observe(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.by_class[class].inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

/// Counts a request that reached no service.
pub(crate) fn refused(reason: &'static str) {
    REFUSED.with_label_values(&[reason]).inc();
}

/// Counts one open connection until it is dropped.
pub(crate) struct OpenConnection(());

impl OpenConnection {
    pub(crate) fn new() -> Self {
        CONNECTIONS.inc();
        OpenConnection(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        CONNECTIONS.dec();
    }
}
