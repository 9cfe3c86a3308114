//! One health probe over the network: what is sent, and whether the answer is healthy. Keeper and balancer both use it, so that they
//! cannot disagree about an answer. It keeps no history: how many failures make a server unhealthy is decided by who probes.
//!
//! ```text
//! connect ─▶ GET, Connection: close ─▶ head whole and valid within the time? ─▶ final status 2xx or 3xx ─▶ healthy
//!                                                                           └─ anything else ─▶ the reason, on one line
//! ```

mod answer;
mod http;
#[cfg(feature = "testing")]
pub mod testing;

pub use answer::{Answer, judge};
pub use http::{Failure, http, tcp};
