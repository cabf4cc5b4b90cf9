//! The pages as HTML. Everything that comes from outside passes through maud, which escapes it; nothing here decides
//! anything.
//!
//! * [`frame`]: what every page has. [`words`]: times, sizes and counts as people read them.
//! * [`twin`], [`engine`]: the two pages. [`door`]: signing in and out, and errors.

pub mod door;
pub mod engine;
pub mod frame;
pub mod twin;
mod twin_parts;
pub mod words;
