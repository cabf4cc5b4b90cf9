//! The pages as HTML. Everything that comes from outside passes through maud, which escapes it; nothing here decides
//! anything.
//!
//! * [`frame`]: what every page has. [`words`]: times, sizes and counts as people read them.
//! * [`twin`], [`engine`]: a twin, and the engine; [`sites`], [`pods`], [`pod`]: where work runs. [`door`]: signing in and out, and errors.

pub mod console;
pub mod door;
pub mod engine;
pub mod frame;
pub mod pod;
pub mod pods;
pub mod sites;
pub mod twin;
mod twin_parts;
pub mod words;
