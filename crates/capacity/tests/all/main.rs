//! What the crate claims, judged by other means: exact figures from elsewhere, long simulations, properties.
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]
#![allow(clippy::disallowed_macros, reason = "measured figures are printed")]

mod accuracy;
mod estimates;
mod exact;
mod lines;
mod properties;
mod simulator;
mod sizes;
