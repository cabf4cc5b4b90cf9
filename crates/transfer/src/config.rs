//! `[transfer]` in the configuration.

use std::time::Duration;

use dte_base::backoff::Backoff;
use dte_base::units::Span;
use serde::Deserialize;

use crate::model::retry::RetryRule;

/// The section's name.
pub const SECTION: &str = "transfer";

/// How much is moved at once, for how long, and what is remembered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Copies at once in this process.
    pub concurrency: usize,
    /// Copies at once from one storage area to another, over all processes.
    pub per_link: usize,
    /// Files of one job.
    pub max_files: usize,
    /// How often a file is tried again when its job leaves that to the server.
    pub retry: u32,
    /// The wait before the first further try when its job leaves that to the server; it doubles from try to try …
    pub retry_delay: Span,
    /// … up to this.
    pub retry_delay_max: Span,
    /// A copy of which no byte moves for this long is given up (and tried again).
    pub stall: Span,
    /// Whether files go through this process where neither storage can copy to or from another one by itself.
    pub streamed: bool,
    /// A copy of a file of unknown size is given up after this long.
    pub max_duration: Span,
    /// How often it is decided anew how many files each configured link is given at once.
    pub optimise_every: Span,
    /// Jobs that ended longer ago are forgotten.
    pub retention: Span,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = |count| Span(Duration::from_secs(count));
        Settings {
            concurrency: 32,
            per_link: 16,
            max_files: 10_000,
            retry: 3,
            retry_delay: seconds(1),
            retry_delay_max: seconds(120),
            stall: seconds(60),
            streamed: true,
            max_duration: seconds(6 * 3_600),
            optimise_every: seconds(60),
            retention: seconds(7 * 86_400),
        }
    }
}

/// FTS: ten minutes and two seconds for each MiB.
const BASE_TIMEOUT: u64 = 600;
const SECONDS_PER_MIB: u64 = 2;

impl Settings {
    pub(crate) fn retry_rule(&self) -> RetryRule {
        RetryRule {
            default_count: self.retry,
            backoff: Backoff::new(self.retry_delay.0, self.retry_delay_max.0.max(self.retry_delay.0)),
        }
    }

    /// How long one copy may take: as the job says, else by the file's size.
    pub(crate) fn time_limit(&self, wanted: Option<u64>, bytes: Option<u64>) -> Duration {
        match (wanted, bytes) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, Some(bytes)) => Duration::from_secs(BASE_TIMEOUT + SECONDS_PER_MIB * (bytes >> 20)),
            (None, None) => self.max_duration.0,
        }
    }
}
