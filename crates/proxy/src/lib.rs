//! The load balancer: hyper on both sides, the crate `balance` decides between them.
//!
//! Two processes, so that the control side can die without any effect on traffic:
//!
//! ```text
//!   serve ──declare──▶ control ──routes/*.json (durable)──▶ data plane ──▶ targets
//!                         │  notify over data.sock ───────────▲   ▲
//!                         └─ starts it, adopts it             │   └── probes, requests
//!   keeper ──targets/*.json───────────────────────────────────┘
//!   keeper ◀──targets/drained/<instance>── data plane
//! ```
//!
//! - [`control`] accepts declarations, fences them, makes them durable, and reports what the data plane uses.
//! - [`data`] reads the files, listens, probes, forwards, accounts. It depends on no other process.
//! - [`Remote`] is the engine's client; [`down`] ends both processes in order.
//!
//! A request passes `listen`, `admission`, `serve`, `exchange`, `route_table`, `group`, `target`, `pool`, `upstream`, `response_body`.
//! This crate does not know what a rotation is and decides nothing about one.

mod accounting;
mod admission;
mod applied;
mod clock;
mod control;
mod data_plane;
mod descriptors;
mod downstream;
mod error_response;
mod exchange;
mod folder_watch;
#[cfg(test)]
mod golden;
mod group;
mod headers;
mod health_check;
mod limits;
mod listen;
mod listen_error;
mod locking;
mod mutex;
mod observation;
mod pool;
mod port;
mod reconciler;
mod replayable_request;
mod request_body;
mod response_body;
mod route_files;
mod route_table;
mod run_files;
mod serve;
mod shutdown;
mod state_files;
mod supervise;
mod target;
mod upstream;

pub use control::{Config, control, down};
pub use data_plane::{data, data_until};
pub use port::Remote;
