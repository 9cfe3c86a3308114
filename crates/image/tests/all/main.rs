//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bake;
mod base;
mod changelogs;
mod custom;
mod disk;
mod emit;
mod emit_boot;
mod fetch;
mod kit;
mod oracle;
mod store;
mod ubuntu;
