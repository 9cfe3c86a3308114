//! Rules as data over facts: what they say, how they are read, and the gate that applies them.
//!
//! Facts are computed in Rust. A rule only compares them, in three values: what cannot be told is denied.

mod expression;
mod gate;
mod load;

pub use expression::{Facts, Outcome};
pub use gate::{Disposition, GateReport, Objection, Replay, WaiverStore, gate, gate_of, replay};
pub use load::{BUILT_IN, Enforcement, Rule, RuleSet};
