//! The API over HTTP: paths, bodies, errors, live events. It decides nothing.

mod events;
mod exec;
mod guard;
mod guard_calls;
mod handlers;
mod identify;
mod jobs;
mod redact;
mod rollouts;
mod router;
pub mod routes;
mod runs;
mod secrets;
mod service;

pub use router::router;
