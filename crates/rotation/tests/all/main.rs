//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod clocks;
mod common;
mod decisions;
mod journal;
mod manual_steps;
mod migrations;
mod plans;
mod promises;
mod zero;
