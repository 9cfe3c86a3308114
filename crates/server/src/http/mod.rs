//! The API over HTTP: paths, bodies, errors, live events. It decides nothing.

mod answer;
mod events;
mod extract;
mod guard;
mod handlers;
mod identify;
mod redact;
mod router;
mod rollouts;
pub mod routes;

pub use router::router;
