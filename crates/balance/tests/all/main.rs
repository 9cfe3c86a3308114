//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod exact;
mod interleavings;
mod properties;

/// `account.rs` is compiled here a second time, and finds these where the crate has those of the standard library.
use interleavings::atomic;
