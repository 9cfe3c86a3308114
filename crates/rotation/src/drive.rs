//! The driving loop, one cycle at a time, over nothing but the ports: the simulator runs the same code.
//!
//! ```text
//! lease ▸ read journal ▸ commands ▸ observe ▸ DECIDE ▸ record, or declare, or report what it waits for
//! ```
//! A driver may die at any point: what it knows is in the journal, and what it declared can be observed.

use crate::decide::{Decider, Decision, Declaration, Plain};
use crate::observe::{World, observe};
use crate::ports::{Lease, Refused};
use crate::state::{Digests, Rotation};
use model::{Blame, Event, EventLine, Fault, Fence, IssuedCommand, RotationId, Stamp, Steady, Time, Verdict, View};
use std::collections::BTreeMap;

/// At most this many higher fences are taken for one step.
const OUTRANKED_MAX: u32 = 5;

pub struct Driver<D = Plain> {
    id: RotationId,
    holder: String,
    lease_ttl_ms: u64,
    lease: Option<Lease>,
    rotation: Option<Rotation>,
    /// Of its releases. Kept because computing these two costs more than folding many lines.
    digests: Option<Digests>,
    /// What was sent last. Sent again, it makes the loop wait, so that no cycle follows at once.
    declared: Option<Stamp>,
    /// The next fence must be higher than this one, which a resource was observed to hold.
    above: Fence,
    /// How often a higher fence was taken since the last step was satisfied.
    outranked: u32,
    /// When this driver started, by the wall clock and by the steady clock.
    anchor: Option<(Time, Steady)>,
    decider: D,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Something was done: call again at once.
    Again,
    /// Call again when something may have changed, soon in any case. `until` is for display: when the wait times out.
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
    /// `holder` names this process: after a restart the same name takes its own lease again at once.
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

    /// As last read; None before the first cycle and after an error.
    pub fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    /// One cycle. After an error the next cycle begins from the journal; the caller waits a little and calls again.
    pub fn tick(&mut self, world: &World) -> Result<Tick, Refused> {
        match self.cycle(world) {
            // Another driver holds or held the lease: what this one knows may be outdated.
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
        // After an error it is unknown what was written: the next cycle reads the journal again.
        self.rotation = tick.is_ok().then_some(r);
        tick
    }

    /// The lease, taken, or renewed when half of it has passed. A store error does not lose it.
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
        // The driver's own time, read before it observes: everything in the view is at least that new.
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
                // A writer whose stamps rise as fast as ours cannot be outranked: only an operator can end that.
                if self.outranked < OUTRANKED_MAX {
                    self.outranked += 1;
                    self.above = self.above.max(above);
                    self.lease = None;
                }
                Ok(Tick::Wait { why, until: None })
            }
            Decision::Wait { why, until } => Ok(Tick::Wait { why, until }),
            Decision::Done => Err(Fault::ours("no-decision", format!("{} is open and no action was decided", self.id)).into()),
        }
    }

    fn steady(&self, world: &World) -> Option<Steady> {
        world.clock.steady()
    }

    /// Time as this driver counts it: the wall clock when it started, and from then on a clock that is never set. So a change of the
    /// wall clock neither shortens nor lengthens its waits.
    fn now(&mut self, world: &World) -> Time {
        let steady = self.steady(world);
        self.now_by(world, steady)
    }

    fn now_by(&mut self, world: &World, steady: Option<Steady>) -> Time {
        let Some(steady) = steady else { return world.clock.now() };
        let anchor = *self.anchor.get_or_insert_with(|| (world.clock.now(), steady));
        counted(anchor, steady).unwrap_or_else(|| world.clock.now())
    }

    /// Time as the journal counts it, and the steady clock at that moment. The journal relates its times to the steady clock of this
    /// boot, so all drivers of one boot share one time, also one that started after the wall clock was set.
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
        // A resource that cannot refuse an old stamp is protected by this check of the clock right before the call.
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
            Ok(()) => Sent::Said(Tick::Wait { why: "declared; not yet observed as accepted".to_string(), until: None }),
            Err(fault) if for_good(&fault) => Sent::Refused(fault),
            Err(fault) => Sent::Said(Tick::Wait { why: fault.message, until: None }),
        })
    }
}

/// Converts a moment of the steady clock to the time of the anchor, which may be later. None: it is another clock.
fn counted((at, then): (Time, Steady), moment: Steady) -> Option<Time> {
    (then.clock == moment.clock).then(|| Time(at.0.saturating_add(moment.ms).saturating_sub(then.ms)))
}

enum Sent {
    Said(Tick),
    /// Permanently.
    Refused(Fault),
}

/// The same declaration will never be accepted. A stale stamp is not permanent: a later view shows who holds the newer one. Nor
/// is an internal error, which a restart may end.
fn for_good(fault: &Fault) -> bool {
    !fault.again && fault.blame != Blame::Ours && fault.code != "stale-stamp"
}

/// A stop must be possible also when nothing can be observed: the final inventory is then empty.
fn view_for(r: &Rotation, commands: &[IssuedCommand], world: &World, at: Time) -> Result<View, Fault> {
    if commands.is_empty() && r.stop_requested_by.is_none() {
        return observe(r, world);
    }
    let blind = View { at, groups: BTreeMap::new(), route: None, objects: BTreeMap::new() };
    if r.stop_requested_by.is_some() { observe(r, world).or(Ok(blind)) } else { Ok(blind) }
}
