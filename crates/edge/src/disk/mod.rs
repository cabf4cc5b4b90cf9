//! The only place that touches the filesystem. Everything here may wait for a disk, so callers are on a thread that may,
//! unless a function says that it never waits.

pub mod area;
pub mod body;
pub mod durable;
pub mod fault;
pub mod hidden;
pub mod intake;
pub mod kept;
pub mod lock_file;
pub mod locks;
pub mod opened;
pub mod part;
pub mod store;
pub mod sums;
pub mod tree;
pub mod usage;
pub mod workers;

pub use area::Area;
pub use fault::Fault;

/// Runs file work on a thread that may wait for the disk.
pub async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Fault::CutShort),
    }
}
