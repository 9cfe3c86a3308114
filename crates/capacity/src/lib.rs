//! How many servers, how much slack: queueing formulas, a simulator of queues, and estimates from logs.
//!
//! | to | see |
//! | --- | --- |
//! | predict waits of one system, by formula or simulation | [`predict`], [`predict_batch_line`] |
//! | find the smallest number of servers for an objective | [`size`] |
//! | estimate rates, variability and distributions from logs, with intervals | [`estimate`] |
//! | simulate a queue, also with recorded arrivals | [`simulate`] |
//!
//! Every formula names its source and its domain and refuses outside of it with a [`Refusal`]: what was asked, why it
//! cannot be answered, what to do instead. Approximations carry the error that was measured for them in their interval.
//!
//! The crate does no I/O and holds no clock. Every elementary function comes from `libm` (see `math`), so that equal
//! seeds give equal bits on every machine and in every build.

pub mod abandonment;
pub mod batches;
pub mod chain;
pub mod dist;
pub mod erlang;
pub mod estimate;
pub mod ggc;
pub mod math;
pub mod mgc;
pub mod overload;
pub mod predict;
pub mod preemptive;
mod refusal;
pub mod request;
pub mod retries;
pub mod simulate;
pub mod size;

pub use dist::Dist;
pub use predict::{predict, predict_batch_line};
pub use refusal::Refusal;
