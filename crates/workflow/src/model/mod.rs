//! What a twin is: plain types and pure rules; no SQL, no HTTP, no clock, no IO.

pub mod alert;
pub mod check;
pub mod document;
pub mod forecast;
pub mod gate;
pub mod mistake;
pub mod month;
pub mod names;
pub mod number;
pub mod pod;
pub mod run;
pub mod skill;
