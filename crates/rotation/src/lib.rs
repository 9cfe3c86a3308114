//! Pure: plan, fold, decide, explain, and the ports to the world.
//!
//! No I/O, no clock, no randomness, not async. Ports are plain blocking traits: the simulator and the real shell
//! implement them, and the same driving loop runs over both.
//!
//! | file | what |
//! | --- | --- |
//! | `plan`, `single` | which steps, with the capacity at every prefix |
//! | `fold` | a journal's lines into where the rotation stands |
//! | `sight`, `guard`, `check` | reading a view; may a step begin; has it come true |
//! | `decide`, `close` | the one next thing to do; the verdict, read off a final_inventory |
//! | `observe`, `drive`, `ports` | the driving loop and its ways out |
//! | `rollout` | services tier by tier |

mod check;
mod close;
mod decide;
mod drive;
mod fold;
mod guard;
mod observe;
mod plan;
mod ports;
mod rollout;
mod sight;
mod single;
mod words;

pub use check::{Check, check, check_unopened};
pub use decide::{Decider, Decision, Declaration, Plain, decide, explain};
pub use drive::{Driver, Tick};
pub use fold::{Closed, Rotation, Started};
pub use observe::{World, observe};
pub use plan::{Intent, needed, plan, route_name, shares};
pub use ports::{Clock, GroupInventory, ImageStore, Journal, Lease, Provider, Refused, RouteInventory, Router};
pub use rollout::{Next, next};
pub use single::{KnownGroups, single};

/// Clocks of two drivers of one service may be this far apart: a wait that changes drivers is lengthened by as much,
/// unless it is counted from the beginning again.
pub const CLOCKS_APART_MS: u64 = 5_000;
