//! The client against servers on loopback that answer what they are given.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod calls;
mod credentials;
mod script;
