//! Provenance as data: what a run was, and the W3C PROV statements about it. No database, no network, no clock.

pub mod check;
pub mod document;
pub mod merge;
pub mod notation;
pub mod run;
pub mod subgraph;
