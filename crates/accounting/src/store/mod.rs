//! All SQL of this service.

pub mod records;
pub mod summaries;

use dte_store::Migration;

pub const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("0001.sql") }];
