//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod attempts;
mod common;
mod estate;
mod hostile;
mod logs;
mod network;
mod network_attacks;
mod network_cost;
mod network_inside;
mod network_life;
mod network_names;
mod one_shots;
mod program;
mod real;
mod secrets;
