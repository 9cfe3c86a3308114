//! What is done next, from what the journal says and what the world says. A killed process restarts here.

use super::plan::Plan;
use super::setting::State;
use serde::{Deserialize, Serialize};

/// The last entry of the journal about a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Planned,
    /// Written, read again, and verified by the verdict function.
    Contained,
    Undoing {
        owner: String,
        reason: String,
    },
    Undone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the call that gives the setting this value, then read again.
    Write(State),
    /// Judge the resource again: only "not public" may be recorded as contained.
    Verify,
    Record(Phase),
    Done,
    /// Neither the value before nor the one after: somebody changed it in between. It is never overwritten.
    Conflict(State),
}

/// Compare and set: what is written depends on what is there. `seen` is read right before; no API of AWS compares by itself.
pub fn next(plan: &Plan, phase: &Phase, seen: &State) -> Step {
    let (is_before, is_after) = (seen.is(&plan.before), seen.is(&plan.after));
    match phase {
        Phase::Planned if is_after => Step::Verify,
        Phase::Planned if is_before => Step::Write(plan.after.clone()),
        Phase::Contained if is_after => Step::Done,
        Phase::Undoing { .. } if is_before => Step::Record(Phase::Undone),
        Phase::Undoing { .. } if is_after => Step::Write(plan.before.clone()),
        Phase::Undone => Step::Done,
        _ => Step::Conflict(seen.clone()),
    }
}

impl Phase {
    /// Begins an undo. Refused without an owner and a reason, and of what is not contained.
    pub fn undo(&self, owner: &str, reason: &str) -> Result<Phase, &'static str> {
        if owner.trim().is_empty() || reason.trim().is_empty() {
            return Err("undo needs an owner and a reason");
        }
        match self {
            Phase::Contained | Phase::Planned => Ok(Phase::Undoing { owner: owner.into(), reason: reason.into() }),
            Phase::Undoing { .. } => Err("an undo is in progress"),
            Phase::Undone => Err("it is undone already"),
        }
    }
}
