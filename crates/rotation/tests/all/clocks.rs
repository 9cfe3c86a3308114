//! Changes of the wall clock, tested over the driving loop itself: none ends a wait, none lengthens one.

use crate::common::*;
use model::*;
use rotation::{Clock, Declaration, Driver, ImageStore, Journal, Lease, Provider, Refused, Rotation, Router, Tick, World};
use std::cell::{Cell, RefCell};

/// A perfect world, a journal in memory, and a wall clock that tests set.
struct House {
    world: RefCell<Perfect>,
    lines: RefCell<Vec<EventLine>>,
    fence: Cell<u64>,
    /// How far the wall clock is off, and the boot that the steady clock belongs to.
    off_ms: Cell<i64>,
    boot: Cell<u64>,
    /// What the provider answers to every declaration.
    refusal: RefCell<Option<Fault>>,
    /// No more servers of the old group than this can be launched.
    old_most: Cell<usize>,
    /// How far in the past the steady clock is.
    behind_ms: Cell<u64>,
}

impl Clock for House {
    fn now(&self) -> Time {
        Time((self.world.borrow().now.0 + 1_700_000_000_000).saturating_add_signed(self.off_ms.get()))
    }
    fn steady(&self) -> Option<Steady> {
        Some(Steady { clock: self.boot.get(), ms: self.world.borrow().now.0 - 900_000 - self.behind_ms.get() })
    }
}

impl Provider for House {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        if let Some(fault) = self.refusal.borrow().clone() {
            return Err(fault);
        }
        self.world.borrow_mut().obey(&Declaration::Group(stamp, spec.clone()));
        Ok(())
    }
    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        let mut seen = self.world.borrow().view.groups.get(group).cloned().unwrap_or_else(|| GroupSeen::unknown(group.clone()));
        if seen.group.as_str() == "web-r1-1" {
            seen.instances.truncate(self.old_most.get());
        }
        Ok(seen)
    }
}

impl Router for House {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        self.world.borrow_mut().obey(&Declaration::Route(stamp, spec.clone()));
        Ok(())
    }
    fn observe(&self, _: &RouteName) -> Result<RouteSeen, Fault> {
        Ok(self.world.borrow().view.route.clone().unwrap())
    }
}

impl ImageStore for House {
    fn has(&self, _: &Digest) -> Result<bool, Fault> {
        Ok(true)
    }
}

impl Journal for House {
    fn take_above(&self, service: &ServiceName, holder: &str, now: Time, ttl_ms: u64, above: Fence) -> Result<Lease, Refused> {
        self.fence.set(self.fence.get().max(above.0) + 1);
        Ok(Lease { service: service.clone(), holder: holder.to_string(), fence: Fence(self.fence.get()), until: now.plus(ttl_ms) })
    }
    fn renew(&self, lease: &Lease, now: Time, ttl_ms: u64) -> Result<Lease, Refused> {
        Ok(Lease { until: now.plus(ttl_ms), ..lease.clone() })
    }
    fn release(&self, _: &Lease) -> Result<(), Refused> {
        Ok(())
    }
    fn append(&self, lease: &Lease, rotation: &RotationId, seq: u64, at: Time, event: &Event) -> Result<(), Refused> {
        let line = EventLine { rotation: rotation.clone(), seq, at, fence: lease.fence, event: event.clone() };
        self.lines.borrow_mut().push(line);
        Ok(())
    }
    fn read(&self, _: &RotationId, from_seq: u64) -> Result<Vec<EventLine>, Refused> {
        Ok(self.lines.borrow()[usize::try_from(from_seq).unwrap()..].to_vec())
    }
    fn commands(&self, _: &RotationId, _: u64) -> Result<Vec<IssuedCommand>, Refused> {
        Ok(Vec::new())
    }
}

impl House {
    /// A rotation with a soak of an hour.
    fn new() -> Self {
        let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
        let walk = Walk::open(&spec(2, vec![Wave::Percent(100)], 3_600_000, true), Some((&old, 2)), &new);
        let (world, lines) = (RefCell::new(walk.world), RefCell::new(walk.lines));
        Self {
            world,
            lines,
            fence: Cell::new(0),
            off_ms: Cell::new(0),
            boot: Cell::new(1),
            refusal: RefCell::new(None),
            old_most: Cell::new(9),
            behind_ms: Cell::new(0),
        }
    }

    fn driver(&self) -> Driver {
        Driver::new(RotationId::of(&service(), 7), "driver".to_string(), 10_000)
    }

    fn rotation(&self) -> Rotation {
        Rotation::fold(&self.lines.borrow()).unwrap()
    }

    /// Cycles until the driver waits.
    fn cycle(&self, driver: &mut Driver) -> Tick {
        loop {
            let world = World { provider: self, router: self, images: self, journal: self, clock: self };
            match driver.tick(&world).unwrap() {
                Tick::Again => {}
                tick => return tick,
            }
        }
    }

    fn pass(&self, ms: u64) {
        self.world.borrow_mut().pass(ms);
    }

    fn soaks(&self) -> bool {
        self.rotation().step().is_some_and(|s| s.step.kind() == "soak")
    }
}

const HOUR: i64 = 3_600_000;

#[test]
fn a_step_of_the_wall_clock_ends_no_soak_and_lengthens_none() {
    for off in [HOUR, -HOUR, 100 * HOUR] {
        let house = House::new();
        let mut driver = house.driver();
        house.cycle(&mut driver);
        assert!(house.soaks());
        house.pass(2_000);
        house.off_ms.set(off);
        house.cycle(&mut driver);
        house.pass(3_590_000);
        house.cycle(&mut driver);
        assert!(house.soaks() && house.rotation().rollback_reason.is_none(), "a change of {off} ms ended the soak");
        house.pass(8_000);
        house.cycle(&mut driver);
        assert!(!house.soaks() && house.rotation().rollback_reason.is_none(), "a change of {off} ms lengthened the soak");
    }
}

/// Another process on the same machine continues counting to the millisecond, whatever was done to the wall clock in between.
#[test]
fn a_driver_of_the_same_boot_goes_on_counting() {
    for off in [HOUR, -HOUR] {
        let house = House::new();
        house.cycle(&mut house.driver());
        house.pass(1_800_000);
        house.off_ms.set(off);
        let mut second = house.driver();
        house.cycle(&mut second);
        house.pass(1_799_000);
        house.cycle(&mut second);
        assert!(house.soaks(), "cut short by {off}");
        house.pass(1_000);
        house.cycle(&mut second);
        assert!(!house.soaks() && house.rotation().rollback_reason.is_none(), "lengthened by {off}");
    }
}

/// A driver takes the soak over when its time has passed, and its view is from before that.
#[test]
fn a_view_from_before_a_driver_took_over_is_not_taken_for_a_new_one() {
    let house = House::new();
    house.cycle(&mut house.driver());
    house.pass(3_600_000);
    let mut second = house.driver();
    let world = World { provider: &house, router: &house, images: &house, journal: &house, clock: &house };
    assert_eq!(second.tick(&world).unwrap(), Tick::Again);
    assert_eq!(house.rotation().started.unwrap().clock, house.steady(), "it has not taken over");
    house.behind_ms.set(60_000);
    assert!(matches!(second.tick(&world).unwrap(), Tick::Wait { .. }), "{:?}", house.lines.borrow().last());
    house.behind_ms.set(0);
    assert_eq!(second.tick(&world).unwrap(), Tick::Again);
    assert!(!house.soaks());
}

/// A rollback waits for servers, and the driver that began it is gone: its successor continues its count, although the wall clock
/// was set in between.
#[test]
fn patience_goes_on_from_driver_to_driver() {
    for off in [HOUR, -HOUR] {
        let house = House::new();
        house.cycle(&mut house.driver());
        // A failure in the soak rolls it back; one old server cannot be replaced.
        house.pass(1_000);
        house.world.borrow_mut().view.groups.get_mut(&group("web-r2-2")).unwrap().deaths = 1;
        house.old_most.set(1);
        house.cycle(&mut house.driver());
        assert!(house.rotation().rollback_reason.is_some());
        house.pass(30_000);
        house.off_ms.set(off);
        let mut second = house.driver();
        house.cycle(&mut second);
        assert_eq!(house.rotation().plan.carry, None, "given up {off} ms later by the wall clock, which is 30 s later");
        house.pass(31_000);
        house.cycle(&mut second);
        assert_eq!(house.rotation().plan.carry, Some(1), "not given up after 61 s");
    }
}

/// It rolled back before any step had begun, and the wall clock was set since: no line before the first step says how long ago that was.
#[test]
fn patience_of_a_rollback_before_any_step_begins_with_its_first() {
    let house = House::new();
    let at = house.now();
    let mut before = house.rotation();
    let issued = Event::CommandTaken(IssuedCommand { n: 1, command: RotationCommand::Rollback, by: "somebody".to_string() });
    let mut write = |event: Event| {
        let line = EventLine { rotation: before.id.clone(), seq: before.len, at, fence: Fence(0), event };
        before.apply(&line).unwrap();
        house.lines.borrow_mut().push(line);
        before.clone()
    };
    let r = write(issued);
    let rotation::Decision::Record(back) = rotation::decide(&r, &house.world.borrow().view, &[], at, Fence(0)) else { panic!("not back") };
    write(back);
    house.old_most.set(1);
    house.pass(30_000);
    house.off_ms.set(HOUR);
    let mut driver = house.driver();
    house.cycle(&mut driver);
    assert_eq!(house.rotation().plan.carry, None, "given up after 30 s");
    house.pass(61_000);
    house.cycle(&mut driver);
    assert_eq!(house.rotation().plan.carry, Some(1));
}

/// After a reboot the time that it took is unknown: the soak restarts, and is never cut short.
#[test]
fn a_driver_of_another_boot_counts_anew() {
    let house = House::new();
    house.cycle(&mut house.driver());
    house.pass(1_800_000);
    house.boot.set(2);
    house.off_ms.set(HOUR);
    let mut second = house.driver();
    house.cycle(&mut second);
    house.pass(3_599_000);
    house.cycle(&mut second);
    assert!(house.soaks());
    house.pass(1_000);
    house.cycle(&mut second);
    assert!(!house.soaks() && house.rotation().rollback_reason.is_none());
}

/// A declaration that is refused permanently ends the step at once; one that may be accepted later, or has a stale stamp, is waited for.
#[test]
fn a_refusal_for_good_ends_a_step_at_once() {
    let cases = [
        (Fault::yours("bad-spec", "no such user"), true),
        (Fault::world("bad-weights", "no").again(false), true),
        (Fault::world("disk-full", "no room"), false),
        (Fault::yours("stale-stamp", "an old stamp"), false),
        (Fault::ours("panic", "a bug"), false),
    ];
    for (fault, ends) in cases {
        let house = House::new();
        *house.refusal.borrow_mut() = Some(fault.clone());
        house.cycle(&mut house.driver());
        let why = house.rotation().rollback_reason;
        assert_eq!(why.is_some(), ends, "{fault:?}: {why:?}");
        assert!(why.is_none_or(|why| why.contains(&fault.message)));
    }
}
