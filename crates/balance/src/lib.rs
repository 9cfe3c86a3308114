//! Pure: which server gets a request; health and in-flight accounts; what may be retried, and on which connection.
//!
//! No I/O, no clock (every `now_ms` is an argument, by any monotonic clock), no randomness, not async.
//! The balancer's data plane is a shell around this crate, and the simulator may use the same rules.

mod account;
mod health;
mod pick;
mod retry;
mod reuse_policy;
mod share;

use std::sync::atomic;

pub use account::Account;
pub use health::{Condition, TargetHealth};
pub use pick::{Rank, best, choose};
pub use retry::{Attempt, Budget, Failure, Next, Replay, after, replay_of};
pub use reuse_policy::{POOL_IDLE_MAX_MS, REUSE_UNREPLAYABLE_MAX_MS, ReusePolicy};
pub use share::{SHARES_MAX, Share};
