//! Pure: plan, fold, decide, explain, and the ports to the world.
//!
//! No I/O, no clock, no randomness, not async. Ports are plain blocking traits: the simulator and the real shell
//! implement them, and the same driving loop runs over both.

mod ports;

pub use ports::{Clock, ImageStore, Journal, Lease, Provider, Refused, Router};
