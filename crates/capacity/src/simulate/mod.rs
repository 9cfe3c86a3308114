//! A discrete-event simulator of queues with many servers.
//!
//! | file | holds |
//! | --- | --- |
//! | `rng` | the generator: xoshiro256++ seeded by splitmix64 |
//! | `sample` | draws of the distributions (ziggurat, Marsaglia-Tsang) |
//! | `arrivals` | arrival processes: renewal, batches, MMPP, a recorded trace |
//! | `heap` | the binary heap of moments |
//! | `fifo` | first come first served, with patience |
//! | `setup` | servers that are switched off when idle and need a set-up |
//! | `preemptive` | two classes, the first pre-empts |
//! | `transient` | a step of load or of servers from a steady state |
//! | `run` | warm-up, batches, when a run is long enough |
//!
//! Equal seeds give equal bits: nothing here depends on the machine, the build, or an order that is not stated.

pub mod arrivals;
pub mod fifo;
pub mod heap;
pub mod preemptive;
pub mod rng;
pub mod run;
pub mod sample;
pub mod setup;
pub mod transient;

pub use arrivals::Arrivals;
pub use fifo::Fifo;
pub use rng::Rng;
pub use run::{Effort, Model, run};
pub use sample::{Sampler, Tables};
