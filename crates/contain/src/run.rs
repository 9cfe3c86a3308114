//! Carries a containment or its undo out, from wherever it is: the journal and the value that is there say what is next.

use crate::entry::{Event, Planned, Standing};
use crate::journal::{Containment, Journal};
use crate::world::{Judged, World};
use guard::Verdict;
use guard::contain::{Call, Phase, State, Step, next};
use model::{Blame, Fault};

const SUPERSEDED: &str = "somebody else changed the setting before it was contained: there is nothing to undo";
/// A call is sent again only after the value was read again, and at most this often.
const WRITES_MAX: u32 = 3;
/// Write, settle, verify and record, with room for values that change meanwhile.
const STEPS_MAX: u32 = 12;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Changed, read again, verified.
    Contained,
    Undone,
    /// What the setting belonged to does not exist any more.
    Gone,
    /// Somebody else changed it. This is there now, and stays.
    Conflict(State),
    /// Changed, but by the verdict function not proved to be shut: it is not recorded as contained.
    NotVerified {
        id: String,
        judged: Judged,
    },
}

/// Who answers for an undo, why, and what it opens.
pub struct Undo<'a> {
    pub owner: &'a str,
    pub reason: &'a str,
    pub opens: &'a [(String, String)],
}

/// Who does it, and when.
pub struct By<'a> {
    pub name: &'a str,
    pub now_s: &'a dyn Fn() -> i64,
}

/// Records a plan, and carries it out.
pub fn contain(journal: &Journal, world: &dyn World, planned: Planned, by: &By) -> Result<(Containment, Outcome), Fault> {
    let mut containment = journal.begin(planned, by.name, (by.now_s)())?;
    let outcome = carry_on(journal, world, &mut containment, by)?;
    Ok((containment, outcome))
}

/// Begins an undo, if the value that is there is still the one that was written. What comes of it is up to [`carry_on`], if nothing has yet.
pub fn begin_undo(
    journal: &Journal,
    world: &dyn World,
    containment: &mut Containment,
    undo: &Undo,
    by: &By,
) -> Result<Option<Outcome>, Fault> {
    let phase = match &containment.standing {
        Standing::Phase(phase) => phase,
        Standing::Gone => return Ok(Some(Outcome::Gone)),
        Standing::Superseded => return Err(refused(containment, SUPERSEDED)),
    };
    if !matches!(phase, Phase::Undoing { .. }) {
        phase.undo(undo.owner, undo.reason).map_err(|e| refused(containment, e))?;
        let seen = world.state(&containment.planned.plan.setting)?;
        let plan = &containment.planned.plan;
        // Of a drop, a reboot has done it; of anything else, somebody by hand.
        let is_ours = seen.is(&plan.after) || seen.is(&plan.before);
        if !is_ours {
            let is_gone = seen == State::Gone && settle_gone(journal, world, containment, by)?;
            return Ok(Some(if is_gone { Outcome::Gone } else { Outcome::Conflict(seen) }));
        }
        let (owner, reason, opens) = (undo.owner.to_string(), undo.reason.to_string(), undo.opens.to_vec());
        let event = Event::Undoing { owner, reason, opens };
        journal.record(containment, event, by.name, (by.now_s)())?;
    }
    Ok(None)
}

/// Goes on with what is planned or being undone.
pub fn carry_on(journal: &Journal, world: &dyn World, containment: &mut Containment, by: &By) -> Result<Outcome, Fault> {
    let (mut writes, mut last) = (0, None::<Fault>);
    for _ in 0..STEPS_MAX {
        let phase = match containment.standing.clone() {
            Standing::Phase(phase) => phase,
            Standing::Gone => return Ok(Outcome::Gone),
            Standing::Superseded => return Err(refused(containment, SUPERSEDED)),
        };
        let seen = world.state(&containment.planned.plan.setting)?;
        match next(&containment.planned.plan, &phase, &seen) {
            Step::Write(value) => {
                if writes == WRITES_MAX {
                    return Err(last.unwrap_or_else(|| not_settled(containment)));
                }
                writes += 1;
                if phase == Phase::Planned && !containment.was_sent() {
                    journal.record(containment, Event::Writing, by.name, (by.now_s)())?;
                }
                last = write(world, containment, &phase, &value)?;
            }
            Step::Verify => {
                if let Some(outcome) = not_verified(journal, world, containment, by)? {
                    return Ok(outcome);
                }
                journal.record(containment, Event::Contained, by.name, (by.now_s)())?;
            }
            Step::Record(_) => journal.record(containment, Event::Undone, by.name, (by.now_s)())?,
            Step::Done => return Ok(if phase == Phase::Undone { Outcome::Undone } else { Outcome::Contained }),
            Step::Conflict(State::Gone) if settle_gone(journal, world, containment, by)? => return Ok(Outcome::Gone),
            Step::Conflict(seen) => {
                // What was sent may be part of what is there, and what cannot be found now may be there again: neither is given up.
                let is_given_up = phase != Phase::Planned || !containment.was_sent();
                if containment.standing.is_open() && seen != State::Gone && is_given_up {
                    journal.record(containment, Event::Conflict { seen: seen.clone() }, by.name, (by.now_s)())?;
                }
                return Ok(Outcome::Conflict(seen));
            }
        }
    }
    Err(last.unwrap_or_else(|| not_settled(containment)))
}

/// Makes the call. An error that may pass is given back; the value decides whether it was done nevertheless.
fn write(world: &dyn World, containment: &Containment, phase: &Phase, value: &State) -> Result<Option<Fault>, Fault> {
    let plan = &containment.planned.plan;
    let call: Option<Call> = if matches!(phase, Phase::Undoing { .. }) { plan.undo() } else { plan.contain() };
    let Some(call) = call else {
        return Err(Fault::ours("bad-journal", format!("{}: no call gives the setting the value {value:?}", containment.id)));
    };
    let failed = match world.write(&call) {
        Ok(()) => None,
        Err(fault) if fault.blame == Blame::World && fault.again => Some(fault),
        // A rule that is there already, or revoked already, is refused: what is there decides, whatever the answer was.
        Err(fault) if world.state(&plan.setting).is_ok_and(|seen| seen.is(value)) => Some(fault),
        Err(fault) => return Err(fault),
    };
    if failed.is_none() {
        for pause in world.settles_in(&plan.setting) {
            if world.state(&plan.setting)?.is(value) {
                break;
            }
            std::thread::sleep(pause);
        }
    }
    Ok(failed)
}

/// Every resource that it covers must be proved not to be public, or not to exist any more.
fn not_verified(journal: &Journal, world: &dyn World, containment: &mut Containment, by: &By) -> Result<Option<Outcome>, Fault> {
    for (kind, id) in containment.planned.covers.clone() {
        let judged = match world.judge(&kind, &id) {
            Err(fault) if matches!(fault.code.as_str(), "no-such-resource" | "no-such-file") => {
                if !world.is_gone(&containment.planned.plan.setting, (&kind, &id))? {
                    return Err(fault);
                }
                let event = Event::CoveredGone { kind, id };
                if !containment.entries().iter().any(|e| e.event == event) {
                    journal.record(containment, event, by.name, (by.now_s)())?;
                }
                continue;
            }
            judged => judged?,
        };
        if judged.verdict != Verdict::NotPublic {
            return Ok(Some(Outcome::NotVerified { id, judged }));
        }
    }
    Ok(None)
}

/// Whether what the setting belongs to is proved not to exist any more, which then is on record. What is not proved stays as it is.
fn settle_gone(journal: &Journal, world: &dyn World, containment: &mut Containment, by: &By) -> Result<bool, Fault> {
    let setting = &containment.planned.plan.setting;
    let is_gone = setting.resource().is_some_and(|resource| world.is_gone(setting, resource).unwrap_or(false));
    if is_gone {
        journal.record(containment, Event::Gone, by.name, (by.now_s)())?;
    }
    Ok(is_gone)
}

fn not_settled(containment: &Containment) -> Fault {
    let text = format!("{}: the change was written, and what is read is still the value before it", containment.planned.plan.id);
    Fault::world("not-settled", text).hint("run `afresh guard contain` again: it goes on with what is not finished")
}

fn refused(containment: &Containment, why: &str) -> Fault {
    Fault::yours("bad-containment", format!("{}: {why}", containment.id)).hint("`afresh guard contained` lists what can be undone")
}
