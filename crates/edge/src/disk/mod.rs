//! The only place that touches the filesystem. Everything here may wait for a disk, so callers are on a thread that may,
//! unless a function says that it never waits.

pub mod area;
pub mod durable;
pub mod fault;
pub mod hidden;
pub mod opened;
pub mod part;
pub mod sums;
pub mod tree;
pub mod workers;

pub use area::Area;
pub use fault::Fault;
