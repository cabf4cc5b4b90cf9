//! Pods as jobs of a batch system.
//!
//! ```text
//! engine ── submit ── batch system ── node ── exec dte pod-shim FOLDER ── as on every site
//!    └─ asked once in an interval, for all jobs together
//! ```
//!
//! A job's description is written by us alone, from checked values, and starts the runner. What is in a pod reaches the node in
//! `spec.json`, which no shell reads. What became of a pod stands in its run folder, which engine and node share; the batch
//! system is asked for what the folder cannot say: why it waits, and what ended it if the runner could not (`state`). A job
//! carries its pod's UID, so that one whose number was lost is found again; and as a runner takes a run folder only once, a
//! pod runs once even if it had two jobs. Pods that ask for the same may be tasks of one array (`array`): then each remembers,
//! before the array is handed over, which task of it would be its own.
//!
//! Commands and folders are those of a [place](crate::place), of this machine or of a login node. What differs between batch
//! systems is [`BatchSystem`].

mod adopt;
mod array;
mod control;
mod exec;
pub(crate) mod index;
mod jobs;
mod poll;
pub(crate) mod resources;
pub mod runtime;
mod settings;
pub(crate) mod settle;
mod site;
pub(crate) mod state;
mod submit;
pub(crate) mod system;
pub(crate) mod transfer;

pub use settings::{Settings, WallsSetting};
pub use site::BatchSite;
pub use system::BatchSystem;
