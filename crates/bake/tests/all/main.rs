//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::disallowed_methods, reason = "the trees of a test are its own")]
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod bake;
mod base;
mod changelogs;
mod container;
mod customise;
mod fetch;
mod kit;
mod ubuntu;
