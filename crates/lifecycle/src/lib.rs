//! The life of an image: when it is due, what becomes of it, and why. Pure: it decides; `server` acts, `store` keeps it
//! on disk, `attest` asks it before a launch. No clock, no randomness: the same life and the same observation give the same decision.
//!
//! ```text
//!              check: newer packages        all checks passed     became the one to deploy   a newer one came
//! (nothing) ─▶ bake ─▶ candidate ─────────────▶ tested ─────────────▶ current ─────────────────▶ retired
//!                          └─ a check failed ─▶ bad ◀─ its rollout rolled back ─┘                      │
//!                                               │ and the retired one before is current again ◀──────┘
//!                                               └─ a deploy of other code on it is promoted ─▶ retired, or current where none is newer
//!                          any ─ somebody says so ─▶ revoked
//! ```
//! What somebody bakes by hand goes the same way (`Handed`), but that nothing is rolled out before the next look.
//! A bad or revoked image is not made again until what goes into it differs: equal inputs give equal bytes.
//! Only images of the recipe in force are rolled out, and only to services that were deployed with it (`recipes`).
//!
//! When jobs of services are due is decided here too (`jobs`, by the clock of a place: `timetable`): both read the same calendar.

mod alarms;
mod calendar;
mod changes;
mod decide;
mod deployed;
mod jobs;
mod recipes;
mod schedule;
mod state;
mod timetable;

pub use alarms::alarms;
pub use calendar::told;
pub use changes::{Change, changes, sentence};
pub use decide::{Decision, RolloutNow, Seen, TestNow, decide, next_look};
pub use deployed::{Deployed, Moved, Standing};
pub use jobs::{JobKnown, JobStep, job_step};
pub use schedule::{Cron, Schedule, Span, frozen, offset};
pub use state::{Baking, Checked, Evidence, Handed, LeftOut, Life, One, Replace, State, Test, Told, Trouble, Wanted, Work};
pub use timetable::Timetable;

#[cfg(test)]
mod tests;
