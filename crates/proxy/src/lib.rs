//! The load balancer: hyper on both sides, balance between.
//!
//! Two processes, so that whoever decides can die without whoever serves noticing:
//!
//! ```text
//!   serve ──declare──▶ control ──routes/*.json (durable)──▶ data plane ──▶ targets
//!                         │  nudge over data.sock ────────────▲   ▲
//!                         └─ starts it, adopts it             │   └── probes, requests
//!   keeper ──targets/*.json───────────────────────────────────┘
//!   keeper ◀──targets/drained/<instance>── data plane
//! ```
//!
//! - [`control`] takes declarations, fences them, makes them durable, and answers with what the data plane says it uses.
//! - [`data`] reads the files, listens, probes, forwards, accounts. It needs nobody else to go on.
//! - [`Remote`] is the engine's way in; [`down`] ends both in order.
//!
//! This crate does not know what a rotation is and decides nothing about one.

mod admission;
mod answer;
mod client;
mod clock;
mod control;
mod data;
mod exchange;
mod files;
mod group;
mod headers;
mod limits;
mod listen;
mod plane;
mod port;
mod probe;
mod remote;
mod rpc;
mod seen;
mod serve;
mod supervise;
mod upkeep;
mod upstream;
mod watch;
mod way;

pub use control::{Config, control, down};
pub use data::{data, data_until};
pub use remote::Remote;
