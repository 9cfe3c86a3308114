//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod common;
mod hostile;
mod one_shots;
mod program;
mod real;
mod secrets;
mod volumes;
