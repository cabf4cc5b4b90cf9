//! The FTS3 REST protocol: what goes over the wire, and a client.
//!
//! Spoken by `transfer` (the server) and by whoever wants bytes moved: `lake`, and any service that has to bring a file from one
//! storage to another. The shapes are those of FTS 3.13/3.14, so that the server here and an FTS elsewhere can
//! stand in for one another.
//!
//! * [`Submission`]: what a client asks for; [`Job`] and [`File`]: what it is told; [`Whoami`]: as whom.
//! * [`JobState`], [`FileState`], [`JobType`]: the words of the state machines (the rules live in the server).
//! * [`identifier`]: deterministic job identifiers. A caller that commits its `sid` before it submits may submit again after a
//!   crash: [`FtsClient::submit`] answers the same identifier and the job exists once.
//! * [`FtsTime`]: the protocol's zoneless UTC times.
//!
//! ```no_run
//! # async fn example(client: dte_http::Client, url: url::Url, token: dte_base::secret::Secret) -> Result<(), dte_protocol_fts::FtsError> {
//! use dte_protocol_fts::{FtsClient, Submission};
//! let fts = FtsClient::new(client, url, token);
//! let submission = Submission::copy("https://a.example/dav/x", "https://b.example/dav/x").deterministic("rule 7, file x");
//! let job_id = fts.submit(&submission).await?;
//! let done = fts.job(job_id).await?.job_state.is_terminal();
//! # Ok(()) }
//! ```

mod client;
pub mod identifier;
mod object;
mod state;
mod submission;
mod time;

pub use client::{FtsClient, FtsError};
pub use object::{ErrorBody, File, Job, JobStatus, Retry, Submitted, Whoami};
pub use state::{FileState, JobState, JobType, SelectionStrategy, VerifyChecksum};
pub use submission::{FileSubmission, IdGenerator, Params, Submission};
pub use time::FtsTime;
