//! Wire types, paths and errors, and the typed client over a Unix socket or TCP.
//!
//! Every body is JSON; every error is a [`model::Fault`] with a status that [`status_of`] gives.
//! `events` streams one JSON object a line (`application/x-ndjson`).

mod client;
pub mod control;
pub mod host;
pub mod paths;
pub mod proxy;

pub use client::{Blocking, Client, Lines};

/// The HTTP status a fault travels with.
pub fn status_of(fault: &model::Fault) -> u16 {
    match (fault.blame, fault.code.as_str()) {
        (_, "not-found") => 404,
        (_, "stale-stamp" | "release-changed" | "busy") => 409,
        (_, "unauthorized") => 401,
        (model::Blame::Yours, _) => 400,
        (model::Blame::World, _) => 503,
        (model::Blame::Ours, _) => 500,
    }
}
