//! The engine's ports over the simulated world, for one driver. Around every call it may crash, fail or stall.

use crate::scenario::TICK_MS;
use crate::world::{Message, World};
use model::{
    Asked, Digest, Event, EventLine, Fault, Fence, GroupName, GroupSeen, GroupSpec, RotationId, RouteName, RouteSeen, RouteSpec,
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

    /// A call around whose doing the process may die or an error may come back.
    fn call<T, E: From<Fault>>(&self, act: impl FnOnce(&mut World) -> Result<T, E>) -> Result<T, E> {
        self.point()?;
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

    /// A declaration: it is judged when it leaves, and what becomes of it the network decides.
    fn declare(&self, message: Message) -> Result<(), Fault> {
        self.call(|world| {
            let stale = world.machines[self.who].look.is_some();
            world.judge_declaration(&message, stale);
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

impl Clock for Ports<'_> {
    fn now(&self) -> Time {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        let machine = &mut world.machines[self.who];
        let looked = machine.look.as_ref().map(|l| l.at).filter(|_| machine.about_to_look);
        machine.about_to_look = false;
        Time(looked.unwrap_or(now) + machine.skew)
    }
}

impl Provider for Ports<'_> {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        Ports::declare(self, Message::Group(stamp, spec.clone()))
    }

    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        self.call(|world| {
            let machine = &world.machines[self.who];
            Ok(match &machine.look {
                Some(look) => look.groups.get(group).cloned().unwrap_or_else(|| GroupSeen::unknown(group.clone())),
                None => world.keeper.see(group, world.now, machine.skew),
            })
        })
    }
}

impl Router for Ports<'_> {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        Ports::declare(self, Message::Route(stamp, spec.clone()))
    }

    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
        self.call(|world| {
            Ok(match &world.machines[self.who].look {
                Some(look) => look.route.clone(),
                None => world.balancer.see(route, &world.keeper, world.now),
            })
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
        self.call(|world| world.store.take(service, holder, now, ttl_ms, above))
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
            let decided = world.now;
            if world.chance(|f| f.stall) {
                let due = world.later(60);
                let (id, event, fence) = (rotation.clone(), event.clone(), lease.fence);
                world.net.push((due, Message::Append { id, fence, seq, at, event, decided, who: self.who }));
                world.machines[self.who].stalled_until = Some(due + TICK_MS);
                let who = self.who;
                world.say(|| format!("driver {who} stalls before it writes"));
                return Err(Refused::Fault(Fault::world("stalled", "the call took too long")));
            }
            world.append(self.who, rotation, lease.fence, seq, at, event, decided)
        })
    }

    fn read(&self, rotation: &RotationId, from_seq: u64) -> Result<Vec<EventLine>, Refused> {
        self.call(|world| {
            let lines = &world.store.journal(rotation)?.lines;
            let from = usize::try_from(from_seq).unwrap_or(usize::MAX).min(lines.len());
            Ok(lines[from..].to_vec())
        })
    }

    fn asks(&self, rotation: &RotationId, after: u64) -> Result<Vec<Asked>, Refused> {
        let asks = self.call(|world| {
            let asks = &world.store.journal(rotation)?.asks;
            Ok(asks.iter().filter(|a| a.n > after).cloned().collect())
        });
        self.world.borrow_mut().machines[self.who].about_to_look = true;
        asks
    }
}
