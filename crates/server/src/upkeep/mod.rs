//! Keeps images patched without a user: checks the mirrors when due, bakes what is new as a candidate, tests it, makes it current, and moves
//! the services to it by ordinary rollouts. `lifecycle` decides what to do; this module observes and executes.
//!
//! ```text
//! every second, for each recipe:  load its life ▸ observe (store, keeper, rollouts) ▸ decide ▸ record what begins ▸ execute ▸ record the result
//! ```
//! Everything that matters is in the life's file before it is executed, and everything executed can be repeated: kill -9 loses nothing.
//! One thread does all of it but for what asks mirrors or a registry, which may take hours: that is done beside it, for one image of a source at a
//! time. So a slow registry delays the checks and bakes of its own images, and nothing else.

mod api;
mod config;
mod execute;
mod factory;
mod image_check;
mod launch;
mod lives;
mod observe;
mod passes;
mod recipes;
mod report;
mod rollout;
mod shown;
mod source_queues;

pub use api::{history, rebuild, revoke};
pub use config::{Config, Pace};
pub use factory::{Factory, Fresh, Made};
pub use launch::{bad_image, must_be_launchable};
pub use lives::Upkeep;
pub use passes::keep;
pub use recipes::{has_recipe, learn_tiers, may_give, name_recipe, propose, recipe_of};
pub use report::{all, events, lives, needed};
pub use shown::Shown;
