//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod access;
mod alarms;
mod backup;
mod commands;
mod common;
mod deploys;
mod desired;
mod exec;
mod gate;
mod hostile;
mod inside;
mod jobs;
mod keeper;
mod kill;
mod life;
mod logs;
mod lost;
mod many;
mod migrations;
mod moved;
mod others;
mod parked;
mod parts;
mod runs;
mod secrets;
mod upkeep;
mod upkeep_deploys;
mod volumes;
