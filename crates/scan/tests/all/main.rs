//! One test binary.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests make trees, and stop where that fails")]

mod estate;
mod hostile;
mod labelled;
mod random;
