//! One step of one run, from its row and what the keeper shows. Declared under two stamps, and no group has a second run: (1, 1) to run,
//! (1, 2) to end.
//!
//! ```text
//! not seen ─▶ declare to run      shown to have ended ─▶ record its exit      exit recorded ─▶ declare it gone ─▶ nothing left: over
//!    │ refused, or too late ─▶ record that it was not started         stop asked for ─▶ declare it gone
//! ```

use model::{DesiredSeen, Exit, Fault, Fence, GroupSeen, Run, Stamp, Time};

pub const TO_RUN: Stamp = Stamp { fence: Fence(1), seq: 1 };
pub const TO_END: Stamp = Stamp { fence: Fence(1), seq: 2 };

/// After `launch_by` the keeper itself says that it was not started; a keeper that does not answer is given this much more.
const KEEPER_LATE_MS: u64 = 60_000;
const NOT_STARTED: i32 = 127;
const KILLED: i32 = 137;

/// What is to be done next for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Declare,
    Retire,
    /// As `Retire`, and the drain time is not waited for.
    Kill,
    /// Write this.
    Record(Box<Run>),
    /// Why it has not begun or ended.
    Wait(Option<String>),
}

/// `seen` is the keeper's word of its group; an error where it does not answer.
pub fn next(run: &Run, seen: &Result<GroupSeen, Fault>, now: Time) -> Next {
    let seen = match seen {
        Ok(seen) => seen,
        Err(fault) => return Next::Wait(Some(fault.message.clone())),
    };
    let gone = seen.desired == DesiredSeen::Gone;
    if run.exit.is_some() {
        return match () {
            // Also one that was never declared: its declaration may still be on its way, and the tombstone keeps it out.
            () if !gone => Next::Retire,
            () if seen.instances.is_empty() => Next::Record(Box::new(Run { is_over: true, ..run.clone() })),
            () => Next::Wait(seen.trouble.clone()),
        };
    }
    if let Some(end) = &seen.ended {
        return with_exit(run, end.exit.clone());
    }
    match (&run.stop, seen.desired) {
        (_, DesiredSeen::Gone) if seen.instances.is_empty() => with_exit(run, Exit { lost: true, ..Exit::new(KILLED, now) }),
        (Some(stop), DesiredSeen::Run { .. }) if !stop.kill => Next::Retire,
        (Some(stop), DesiredSeen::Run { .. } | DesiredSeen::Gone) if stop.kill => Next::Kill,
        (_, DesiredSeen::Run { .. } | DesiredSeen::Gone) => Next::Wait(seen.trouble.clone()),
        (Some(_), DesiredSeen::Unknown) => not_started(run, now, "it was stopped before it was launched"),
        (None, DesiredSeen::Unknown) if now > run.launch_by.plus(KEEPER_LATE_MS) => {
            not_started(run, now, "it could not be declared before its time was over")
        }
        (None, DesiredSeen::Unknown) => Next::Declare,
    }
}

/// The keeper, or the gate before it, refuses the declaration. Not for good: it is tried again.
pub fn refused(run: &Run, fault: &Fault, now: Time) -> Next {
    if fault.again || fault.blame == model::Blame::Ours {
        return Next::Wait(Some(fault.message.clone()));
    }
    not_started(run, now, &fault.message)
}

fn not_started(run: &Run, now: Time, why: &str) -> Next {
    with_exit(run, Exit { not_started: Some(why.to_string()), ..Exit::new(NOT_STARTED, now) })
}

fn with_exit(run: &Run, exit: Exit) -> Next {
    Next::Record(Box::new(Run { exit: Some(exit), ..run.clone() }))
}
