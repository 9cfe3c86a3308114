//! The gate of the control plane: rules and waivers of its data directory over what is deployed, baked and runs. What a caller sends lifts
//! nothing; a rollback is never asked for.
//!
//! ```text
//! DATA/guard/rules.toml         in place of the built-in rules        ─┐ read at each use; one that cannot be read denies every deploy
//! DATA/guard/waivers.toml       [[waiver]], appended to by `waive`    ─┘ and leaves alone what runs
//! DATA/guard/break-glass.json   who lifted which rules, until when
//!
//! plan, deploy ─▶ facts ─▶ judge ─▶ refused, or recorded and opened          part "guard" ─▶ running ─▶ alarms
//! ```

mod break_glass;
mod detector;
mod facts;
mod files;
mod judge;
mod memory;
mod objection;
mod recipe;
mod replay;
mod running;
mod waive;

pub use facts::of_recipes;
pub use files::{rules, waivers as image_waivers};
pub use judge::{judge, must_pass, release_must_pass};
pub use memory::Memory;
pub use recipe::must_pass as recipe_must_pass;
pub use replay::replay;
pub use running::{alarms, keep, seen};
pub use waive::{list as waivers, waive};
