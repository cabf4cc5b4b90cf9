//! All SQL of this service.

pub mod dead;
pub mod files;
pub mod published;
pub mod subscriptions;
pub mod watches;

use dte_store::Migration;

pub const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("0001.sql") }];

/// `?2, ?3, …` for `count` values after `before` others.
fn marks(before: usize, count: usize) -> String {
    (1..=count).map(|n| format!("?{}", before + n)).collect::<Vec<_>>().join(", ")
}
