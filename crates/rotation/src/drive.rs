//! The driving loop, one turn at a time, over nothing but the ports: the simulator runs this very code.
//!
//! ```text
//! lease ▸ read journal ▸ asks ▸ observe ▸ DECIDE ▸ record, or declare, or say what is waited for
//! ```
//! Losing the driver at any point loses nothing: what it knows is in the journal, what it did is in the world.

use crate::decide::{Decider, Decision, Declaration, Plain};
use crate::observe::{World, observe};
use crate::ports::{Lease, Refused};
use crate::state::{Digests, Rotation};
use model::{Blame, Event, EventLine, Fault, Fence, IssuedCommand, RotationId, Stamp, Steady, Time, Verdict, View};
use std::collections::BTreeMap;

/// So many higher fences are taken for one step.
const OUTRANKED_MAX: u32 = 5;

pub struct Driver<D = Plain> {
    id: RotationId,
    holder: String,
    lease_ttl_ms: u64,
    lease: Option<Lease>,
    rotation: Option<Rotation>,
    /// Of its releases: a fold of many lines costs less than these two.
    digests: Option<Digests>,
    /// What was sent last: sending it again is for the next turn, not for a hot loop.
    declared: Option<Stamp>,
    /// The next fence must be higher than this one, which the world was seen to hold.
    above: Fence,
    /// How often a higher fence was taken since the last step came true.
    outranked: u32,
    /// When this driver began, by the wall clock and by the steady one.
    anchor: Option<(Time, Steady)>,
    decider: D,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Something was done: turn again at once.
    Again,
    /// Turn again when something may have changed, soon in any case. `until` is for people: when patience ends.
    Wait {
        why: String,
        until: Option<Time>,
    },
    Closed(Verdict),
    /// Another driver holds the lease until then.
    NotMine {
        until: Time,
    },
}

impl Driver {
    /// `holder` names this process: after a restart the same name takes its own lease back at once.
    pub fn new(rotation: RotationId, holder: String, lease_ttl_ms: u64) -> Self {
        Self::with_decider(rotation, holder, lease_ttl_ms, Plain)
    }
}

impl<D: Decider> Driver<D> {
    /// As [`Driver::new`], with another decider than production's.
    pub fn with_decider(id: RotationId, holder: String, lease_ttl_ms: u64, decider: D) -> Self {
        Self {
            id,
            holder,
            lease_ttl_ms,
            lease: None,
            rotation: None,
            digests: None,
            declared: None,
            above: Fence(0),
            outranked: 0,
            anchor: None,
            decider,
        }
    }

    /// As last read; None before the first turn and after something went wrong.
    pub fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    /// One turn. After an error the next turn begins from the journal; the caller waits a little and turns again.
    pub fn tick(&mut self, world: &World) -> Result<Tick, Refused> {
        match self.cycle(world) {
            // Somebody else drives, or drove: what we believed is void.
            Err(Refused::LeaseLost) => {
                self.lease = None;
                self.forget();
                Ok(Tick::Again)
            }
            Err(Refused::Held { until, .. }) => {
                self.lease = None;
                self.forget();
                Ok(Tick::NotMine { until })
            }
            Err(Refused::Grown) => {
                self.forget();
                Ok(Tick::Again)
            }
            Err(fault) => {
                self.forget();
                Err(fault)
            }
            tick => tick,
        }
    }

    fn forget(&mut self) {
        self.rotation = None;
        self.declared = None;
    }

    fn cycle(&mut self, world: &World) -> Result<Tick, Refused> {
        let lease = self.hold(world)?;
        let mut r = self.read(world)?;
        let tick = self.act(world, &lease, &mut r);
        // On an error it is not known what was written: the next turn reads.
        self.rotation = tick.is_ok().then_some(r);
        tick
    }

    /// The lease, taken or renewed when half of it is over. A fault of the store does not lose it.
    fn hold(&mut self, world: &World) -> Result<Lease, Refused> {
        let now = self.now(world);
        let lease = match &self.lease {
            None => {
                self.forget();
                world.journal.take_above(&self.id.service(), &self.holder, now, self.lease_ttl_ms, self.above)?
            }
            Some(lease) if lease.until.since(now) > self.lease_ttl_ms / 2 => return Ok(lease.clone()),
            Some(lease) => world.journal.renew(lease, now, self.lease_ttl_ms)?,
        };
        self.lease = Some(lease.clone());
        Ok(lease)
    }

    fn read(&mut self, world: &World) -> Result<Rotation, Refused> {
        match self.rotation.take() {
            None => {
                let r = Rotation::fold_with(&world.journal.read(&self.id, 0)?, self.digests.take())?;
                self.digests = Some(r.digests.clone());
                Ok(r)
            }
            Some(mut r) => {
                for line in world.journal.read(&self.id, r.len)? {
                    r.apply(&line)?;
                }
                Ok(r)
            }
        }
    }

    fn act(&mut self, world: &World, lease: &Lease, r: &mut Rotation) -> Result<Tick, Refused> {
        if let Some(closed) = &r.closed {
            world.journal.release(lease)?;
            self.lease = None;
            return Ok(Tick::Closed(closed.verdict));
        }
        let commands = world.journal.commands(&self.id, r.commands_taken)?;
        let at = self.now_in(r, world).0;
        // The driver's own time, read before it looked: everything in the view is at least that new.
        let seen = View { at, ..view_for(r, &commands, world, at)? };
        let now = self.now_in(r, world).0;
        match self.decider.decide(r, &seen, &commands, now, lease.fence) {
            Decision::Record(event) => self.record(world, lease, r, event),
            Decision::Declare(declaration) => match self.declare(world, lease, &declaration)? {
                Sent::Said(tick) => Ok(tick),
                Sent::Refused(fault) => match self.decider.refused(r, &seen, &fault) {
                    Decision::Record(event) => self.record(world, lease, r, event),
                    _ => Ok(Tick::Wait { why: fault.message, until: None }),
                },
            },
            Decision::Outrank { above, why } => {
                // Somebody whose stamps rise as fast as ours is not outranked: that is for people to end.
                if self.outranked < OUTRANKED_MAX {
                    self.outranked += 1;
                    self.above = self.above.max(above);
                    self.lease = None;
                }
                Ok(Tick::Wait { why, until: None })
            }
            Decision::Wait { why, until } => Ok(Tick::Wait { why, until }),
            Decision::Done => Err(Fault::ours("no-decision", format!("{} is open and has nothing to do", self.id)).into()),
        }
    }

    fn steady(&self, world: &World) -> Option<Steady> {
        world.clock.steady()
    }

    /// Time as this driver counts it: the wall clock when it began, and from then on a clock that nobody sets. So a step of the
    /// wall clock ends no wait of its and lengthens none.
    fn now(&mut self, world: &World) -> Time {
        let steady = self.steady(world);
        self.now_by(world, steady)
    }

    fn now_by(&mut self, world: &World, steady: Option<Steady>) -> Time {
        let Some(steady) = steady else { return world.clock.now() };
        let anchor = *self.anchor.get_or_insert_with(|| (world.clock.now(), steady));
        counted(anchor, steady).unwrap_or_else(|| world.clock.now())
    }

    /// Time as the journal counts it, and the steady clock at that moment. The journal says what its times are by the steady clock of
    /// this boot, so all drivers of one boot count one time, also one that began after the wall clock was set.
    fn now_in(&mut self, r: &Rotation, world: &World) -> (Time, Option<Steady>) {
        let steady = self.steady(world);
        let by_journal = r.clock.and_then(|known| counted(known, steady?));
        (by_journal.unwrap_or_else(|| self.now_by(world, steady)), steady)
    }

    fn record(&mut self, world: &World, lease: &Lease, r: &mut Rotation, mut event: Event) -> Result<Tick, Refused> {
        let (at, steady) = self.now_in(r, world);
        if let Event::StepStarted { clock, .. } = &mut event {
            *clock = steady;
        }
        world.journal.append(lease, &self.id, r.len, at, &event)?;
        if matches!(event, Event::StepSatisfied { .. }) {
            self.outranked = 0;
        }
        r.apply(&EventLine { rotation: self.id.clone(), seq: r.len, at, fence: lease.fence, event })?;
        Ok(Tick::Again)
    }

    fn declare(&mut self, world: &World, lease: &Lease, declaration: &Declaration) -> Result<Sent, Refused> {
        // Where a resource cannot refuse an old stamp, this look at the clock right before the call is what keeps it safe.
        if self.now(world) >= lease.until {
            return Ok(Sent::Said(Tick::Again));
        }
        let (stamp, sent) = match declaration {
            Declaration::Group(stamp, spec) => (*stamp, world.provider.declare(*stamp, spec)),
            Declaration::Route(stamp, spec) => (*stamp, world.router.declare(*stamp, spec)),
        };
        let again = self.declared == Some(stamp);
        self.declared = Some(stamp);
        Ok(match sent {
            Ok(()) if !again => Sent::Said(Tick::Again),
            Ok(()) => Sent::Said(Tick::Wait { why: "declared; not yet seen to be taken".to_string(), until: None }),
            Err(fault) if for_good(&fault) => Sent::Refused(fault),
            Err(fault) => Sent::Said(Tick::Wait { why: fault.message, until: None }),
        })
    }
}

/// What a moment of the steady clock is, known of another one: also if that is later. None: it is another clock.
fn counted((at, then): (Time, Steady), moment: Steady) -> Option<Time> {
    (then.clock == moment.clock).then(|| Time(at.0.saturating_add(moment.ms).saturating_sub(then.ms)))
}

enum Sent {
    Said(Tick),
    /// For good.
    Refused(Fault),
}

/// The same declaration will never be taken. A refused stamp is not that: a later look shows who holds the newer one. Nor is a
/// bug of ours, which a restart may end.
fn for_good(fault: &Fault) -> bool {
    !fault.again && fault.blame != Blame::Ours && fault.code != "stale-stamp"
}

/// A stop must be possible also when nothing can be seen: the final_inventory is then empty, and says so by being empty.
fn view_for(r: &Rotation, commands: &[IssuedCommand], world: &World, at: Time) -> Result<View, Fault> {
    if commands.is_empty() && r.stop_requested_by.is_none() {
        return observe(r, world);
    }
    let blind = View { at, groups: BTreeMap::new(), route: None, objects: BTreeMap::new() };
    if r.stop_requested_by.is_some() { observe(r, world).or(Ok(blind)) } else { Ok(blind) }
}
