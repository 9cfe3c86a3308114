//! The engine's ports over the simulated world, for one driver. Around every call the driver may crash, fail or stall.

use crate::bug::Bug;
use crate::oracle_state::Capacities;
use crate::scenario::{Kind, TICK_MS};
use crate::world::{Message, World};
use model::{
    Digest, Event, EventLine, Fault, Fence, GroupName, GroupSeen, GroupSpec, IssuedCommand, RotationId, RouteName, RouteSeen, RouteSpec,
    ServiceName, Stamp, Time,
};
use rotation::{Clock, ImageStore, Journal, Lease, Provider, Refused, Router};
use std::cell::RefCell;

pub(crate) struct Ports<'a> {
    pub world: &'a RefCell<World>,
    pub who: usize,
}

impl Ports<'_> {
    pub fn world(&self) -> rotation::World<'_> {
        rotation::World { provider: self, router: self, images: self, journal: self, clock: self }
    }

    /// A place where the process may die. After that every call fails and does nothing.
    fn point(&self) -> Result<(), Fault> {
        let mut world = self.world.borrow_mut();
        if world.machines[self.who].crashed {
            return Err(Fault::ours("dead", "this driver is dead"));
        }
        world.points += 1;
        let point = world.points;
        if world.crash_at.contains(&point) || world.chance(|f| f.crash) {
            world.machines[self.who].crashed = true;
            let who = self.who;
            world.say(|| format!("driver {who} is killed"));
            return Err(Fault::ours("dead", "this driver was killed"));
        }
        Ok(())
    }

    /// A call before or after which the process may die or get an error.
    fn call<T, E: From<Fault>>(&self, act: impl FnOnce(&mut World) -> Result<T, E>) -> Result<T, E> {
        self.point()?;
        if self.world.borrow_mut().chance(|f| f.slow_call) {
            let mut world = self.world.borrow_mut();
            world.machines[self.who].slow = true;
            world.advance();
        }
        let trouble = || E::from(Fault::world("trouble", "the call failed"));
        let (before, after) = {
            let mut world = self.world.borrow_mut();
            let trouble = world.chance(|f| f.error);
            let before = trouble && world.rng.chance(5_000);
            (before, trouble && !before)
        };
        if before {
            return Err(trouble());
        }
        let result = act(&mut self.world.borrow_mut());
        self.point()?;
        if after { Err(trouble()) } else { result }
    }

    /// A declaration: it is judged when it is sent; the network decides what happens to it.
    fn declare(&self, message: Message) -> Result<(), Fault> {
        self.call(|world| {
            world.judge_declaration(&message, self.who);
            world.provider_refuses(&message)?;
            if world.chance(|f| f.stall) {
                let due = world.later(60);
                world.net.push((due, message));
                world.machines[self.who].stalled_until = Some(due);
                let who = self.who;
                world.say(|| format!("driver {who} stalls before it sends"));
                return Err(Fault::world("stalled", "the call took too long"));
            }
            world.send(message);
            Ok(())
        })
    }
}

impl World {
    /// The keeper is down, or refuses permanently.
    fn provider_refuses(&mut self, message: &Message) -> Result<(), Fault> {
        let Message::Group(_, spec) = message else { return Ok(()) };
        if self.now < self.keeper.down_until {
            return Err(Fault::world("down", "the keeper does not answer").again(true));
        }
        if let model::DesiredGroup::Run { release, .. } = &spec.desired
            && self.kinds.get(usize::try_from(release.number).unwrap_or(0)) == Some(&Kind::Refused)
        {
            self.refused.get_or_insert(self.now);
            return Err(Fault::yours("bad-spec", "this is no program"));
        }
        Ok(())
    }
}

impl Clock for Ports<'_> {
    fn now(&self) -> Time {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        if world.scenario.steady {
            // The driver counts from here: what it writes later is as far ahead as the wall clock is now.
            world.machines[self.who].skew = world.wall_ms;
        }
        let machine = &mut world.machines[self.who];
        let observed_at = machine.snapshot.as_ref().map(|l| l.at).filter(|_| machine.about_to_observe);
        machine.about_to_observe = false;
        machine.read_at = now;
        Time(observed_at.unwrap_or(now) + machine.skew)
    }

    /// Two machines have no clock in common.
    fn steady(&self) -> Option<model::Steady> {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        if !world.scenario.steady {
            return None;
        }
        let machine = &mut world.machines[self.who];
        let observed_at = machine.snapshot.as_ref().map(|l| l.at).filter(|_| machine.about_to_observe);
        machine.about_to_observe = false;
        machine.read_at = now;
        let steady = model::Steady { clock: 1, ms: observed_at.unwrap_or(now) };
        // With the bug the engine counts by the wall clock alone.
        (world.bug != Some(Bug::WallClock)).then_some(steady)
    }
}

impl Provider for Ports<'_> {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        Ports::declare(self, Message::Group(stamp, spec.clone()))
    }

    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        self.call(|world| {
            if world.now < world.keeper.down_until {
                return Err(Fault::world("down", "the keeper does not answer"));
            }
            let machine = &world.machines[self.who];
            let seen = match &machine.snapshot {
                Some(snapshot) => snapshot.groups.get(group).cloned().unwrap_or_else(|| GroupSeen::unknown(group.clone())),
                None => world.keeper.see(group, world.now, machine.skew),
            };
            let once = world.keeper.groups.get(group).is_some_and(|g| g.once);
            world.machines[self.who].shown.add(&seen, once);
            Ok(seen)
        })
    }
}

impl Router for Ports<'_> {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        Ports::declare(self, Message::Route(stamp, spec.clone()))
    }

    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
        self.call(|world| {
            let seen = match &world.machines[self.who].snapshot {
                Some(snapshot) => snapshot.route.clone(),
                None => world.balancer.see(route, &world.keeper, world.now),
            };
            world.machines[self.who].shown.weights = seen.weights.clone();
            Ok(seen)
        })
    }
}

impl ImageStore for Ports<'_> {
    fn has(&self, _object: &Digest) -> Result<bool, Fault> {
        self.call(|world| Ok(world.now >= world.baked_at))
    }
}

impl Journal for Ports<'_> {
    fn take_above(&self, service: &ServiceName, holder: &str, now: Time, ttl_ms: u64, above: Fence) -> Result<Lease, Refused> {
        self.call(|world| {
            let lease = world.store.take(service, holder, now, ttl_ms, above)?;
            world.judge_fence(lease.fence);
            Ok(lease)
        })
    }

    fn renew(&self, lease: &Lease, now: Time, ttl_ms: u64) -> Result<Lease, Refused> {
        self.call(|world| world.store.renew(lease, now, ttl_ms))
    }

    fn release(&self, lease: &Lease) -> Result<(), Refused> {
        self.call(|world| {
            world.store.release(lease);
            Ok(())
        })
    }

    fn append(&self, lease: &Lease, rotation: &RotationId, seq: u64, at: Time, event: &Event) -> Result<(), Refused> {
        self.call(|world| {
            // The true time at which it read its clock: a slow call may have come between.
            let decided = world.machines[self.who].read_at;
            if world.chance(|f| f.stall) {
                let due = world.later(60);
                let (id, event, fence) = (rotation.clone(), event.clone(), lease.fence);
                world.net.push((due, Message::Append { id, fence, seq, at, event, decided, who: self.who }));
                world.machines[self.who].stalled_until = Some(due + TICK_MS);
                let who = self.who;
                world.say(|| format!("driver {who} stalls before it writes"));
                return Err(Refused::Fault(Fault::world("stalled", "the call took too long")));
            }
            let fresh = world.machines[self.who].snapshot.is_none() && !world.machines[self.who].slow;
            world.append(self.who, rotation, lease.fence, seq, at, event, decided, fresh)
        })
    }

    fn read(&self, rotation: &RotationId, from_seq: u64) -> Result<Vec<EventLine>, Refused> {
        self.call(|world| {
            let lines = &world.store.journal(rotation)?.lines;
            let from = usize::try_from(from_seq).unwrap_or(usize::MAX).min(lines.len());
            Ok(lines[from..].to_vec())
        })
    }

    fn commands(&self, rotation: &RotationId, after: u64) -> Result<Vec<IssuedCommand>, Refused> {
        let commands = self.call(|world| {
            let commands = &world.store.journal(rotation)?.commands;
            Ok(commands.iter().filter(|a| a.n > after).cloned().collect())
        });
        let machine = &mut self.world.borrow_mut().machines[self.who];
        machine.about_to_observe = true;
        (machine.shown, machine.slow) = (Capacities::default(), false);
        commands
    }
}
