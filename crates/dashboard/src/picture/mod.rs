//! The pictures: SVG drawn by ourselves, so that every stroke has a class (colours live in the style sheet, for light and
//! dark), every figure has a text for those who do not see it, and nothing needs a script.
//!
//! * [`scale`]: numbers to places, and where the ticks go.
//! * [`chart`]: the frame of a plot: axes, grid, lines, bands.
//! * [`newest`], [`record`], [`skill`]: the three plots of a twin. [`lineage`]: its graph.

pub mod chart;
pub mod lineage;
pub mod newest;
pub mod record;
pub mod scale;
pub mod skill;
