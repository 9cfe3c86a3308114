//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::disallowed_methods, reason = "the trees of a test are its own")]
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod broken_registry;
mod debian_registry;
mod hostile;
mod images;
mod oracle;
mod own_registry;
mod random;
mod seen;
mod spec_model;
mod stores;
