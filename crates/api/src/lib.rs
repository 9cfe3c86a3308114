//! Wire types, paths and errors, and the typed client over a Unix socket or TCP.
//!
//! Every body is JSON; every error is a [`model::Fault`] with a status that [`status_of`] gives.
//! `events` streams one JSON object a line (`application/x-ndjson`).

mod client;
pub mod control;
pub mod exec;
pub mod fleet;
pub mod guard;
pub mod host;
pub mod jobs;
pub mod logs;
pub mod paths;
pub mod proxy;
pub mod runs;
pub mod secrets;

pub use client::{Blocking, Client, Lines};

/// The most bytes that the body of a call may have: a service file of a thousand services is far below this.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// The error for a body above [`BODY_BYTES_MAX`]: the client returns it before sending, the server when it receives one.
pub fn too_large(path: &str, bytes: Option<u64>) -> model::Fault {
    let has = bytes.map_or_else(|| "more than".to_string(), |bytes| format!("{bytes} bytes, and at most"));
    let fault = model::Fault::yours("too-large", format!("{path}: the request has {has} {BODY_BYTES_MAX} bytes are read"));
    fault.hint("split the service file, one file for each group of services; large texts belong in an artifact")
}

/// The HTTP status a fault travels with.
pub fn status_of(fault: &model::Fault) -> u16 {
    match (fault.blame, fault.code.as_str()) {
        (_, "not-found") => 404,
        (_, "stale-stamp" | "release-changed" | "busy") => 409,
        (_, "unauthorized") => 401,
        (_, "forbidden" | "guard-denied") => 403,
        (model::Blame::Yours, code) if code.starts_with("policy-") => 403,
        (_, "too-large") => 413,
        (_, "bad-service-file") => 422,
        (model::Blame::Yours, _) => 400,
        (model::Blame::World, _) => 503,
        (model::Blame::Ours, _) => 500,
    }
}
