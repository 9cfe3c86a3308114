//! Pure: plan, state, decide, explain, and the ports to the world.
//!
//! No I/O, no clock, no randomness, not async. Ports are plain blocking traits: the simulator and the real shell
//! implement them, and the same driving loop runs over both.
//!
//! | file | what |
//! | --- | --- |
//! | `plan`, `manual_step` | which steps, with the capacity at every prefix |
//! | `state` | a journal's lines folded into the rotation's state |
//! | `observation`, `capacity_guard`, `condition`, `gate` | reading a view; may a step begin; is it satisfied; does a soak let it continue |
//! | `decide`, `verdict` | the single next action; the verdict, read off a final inventory |
//! | `observe`, `drive`, `ports` | the driving loop and the traits it calls |
//! | `rollout` | services tier by tier |
//! | `display` | steps and counts as text |

mod capacity_guard;
mod condition;
mod decide;
mod display;
mod drive;
mod gate;
mod manual_step;
mod observation;
mod observe;
mod plan;
mod ports;
mod rollout;
mod state;
mod verdict;

pub use condition::{StepStatus, step_status, unopened_step_status};
pub use decide::{Decider, Decision, Declaration, Plain, decide, explain};
pub use drive::{Driver, Tick};
pub use manual_step::{KnownGroups, plan_manual_step};
pub use observe::{World, observe};
pub use plan::{Intent, needed, plan, route_name, shares};
pub use ports::{Clock, GroupInventory, ImageStore, Journal, Lease, Provider, Refused, RouteInventory, Router};
pub use rollout::{Next, next};
pub use state::{Closed, Rotation, Started};

/// Clocks of two drivers of one service may be this far apart: a wait that changes drivers is lengthened by as much,
/// unless it is counted from the beginning again.
pub const CLOCKS_APART_MS: u64 = 5_000;
