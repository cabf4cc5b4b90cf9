//! What the pages show, as plain values: no HTTP, no HTML, no clock.
//!
//! * [`period`]: the steps of time that a twin observes in (`1983-01`), on one axis of days.
//! * [`twin`]: a twin as a person wants to see it.
//! * [`view`]: what part of it the viewer has asked for (lead, window, anomalies or values).
//! * [`lineage`]: where the newest forecast came from.
//! * [`engine`]: the engine itself. [`compute`]: its sites and pods.

pub mod compute;
pub mod engine;
pub mod lineage;
pub mod period;
pub mod twin;
pub mod view;
