//! The tables of the issuer. What changes often lies here and not in the directory: registrations, codes, grants.

pub(crate) mod clients;
pub(crate) mod codes;
pub(crate) mod grants;
pub(crate) mod keys;
pub(crate) mod person;
pub(crate) mod revoked;

use dte_store::Migration;

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, sql: include_str!("0001.sql") }, Migration { version: 2, sql: include_str!("0002.sql") }];
