//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod backup;
mod common;
mod damage;
mod journal;
mod records;
mod runs;
mod schema;
mod schema_4;
mod schema_5;
mod wal;
