//! All SQL of this service.

pub mod documents;
pub mod lineage;
pub mod runs;

use dte_store::{Migration, Value};

pub const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("0001.sql") }];

/// Keys compared in one statement.
const AT_ONCE: usize = 400;

/// Whose things are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// An administrator sees all.
    All,
    /// Others see their own.
    Of(String),
}

impl Scope {
    pub fn covers(&self, owner: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Of(name) => name == owner,
        }
    }
}

/// `?3, ?4, …` for `count` values after `before` others.
fn marks(before: usize, count: usize) -> String {
    (1..=count).map(|n| format!("?{}", before + n)).collect::<Vec<_>>().join(", ")
}

fn keys(numbers: &[i64]) -> Vec<Value> {
    numbers.iter().map(|number| Value::from(*number)).collect()
}
