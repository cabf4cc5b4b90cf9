//! Logs and counters.
//!
//! Logs go to standard error: one line a record, or JSON for machines. Counters are Prometheus collectors in the
//! process-wide default registry; a crate makes its own with [`counter`], [`gauge`] and [`histogram`] and
//! `GET /metrics` prints them all.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, TextEncoder};
use tracing_subscriber::EnvFilter;

/// How log records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging for this process. `filter` uses the directives of `RUST_LOG`, for example `info,dte_lake=debug`.
/// A second call changes nothing, so tests may all call it.
pub fn init(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(outcome);
}

/// A counter with labels, registered once per process.
pub fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(IntCounterVec::new(Opts::new(name, help), labels))
}

/// A gauge with labels, registered once per process.
pub fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(IntGaugeVec::new(Opts::new(name, help), labels))
}

/// A histogram of seconds with labels; buckets from 100 µs to 100 s.
pub fn histogram(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let buckets = prometheus::exponential_buckets(1e-4, 10f64.sqrt(), 13).unwrap_or_default();
    register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
}

/// A histogram of counts (batch sizes and the like) without labels; buckets are powers of two up to 4096.
pub fn size_histogram(name: &str, help: &str) -> Histogram {
    let buckets = prometheus::exponential_buckets(1.0, 2.0, 13).unwrap_or_default();
    register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
}

/// Registers a collector. The names are constants of this program, so a failure is a programming error that the first
/// test run shows.
fn register<C: prometheus::core::Collector + Clone + 'static>(made: prometheus::Result<C>) -> C {
    match made {
        Ok(collector) => {
            if let Err(error) = prometheus::register(Box::new(collector.clone())) {
                tracing::error!(%error, "a metric is registered twice");
            }
            collector
        }
        Err(error) => panic!("a metric has an impossible description: {error}"),
    }
}

/// All counters in the Prometheus text format.
pub fn render() -> String {
    TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap_or_default()
}
