//! The service through its public API, with real processes and a small data lake.

mod bench;
mod data;
#[path = "../support/fake.rs"]
mod fake;
mod life;
mod people;
mod quota;
mod secrets;
mod wire;
