//! A scan of a small AWS that answers on loopback, and what comes of it when calls fail.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod calls;
mod fake;
mod faults;
mod http;
mod lines;
