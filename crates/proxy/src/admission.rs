//! Which connections of customers are held: all while there is room, and when it gets scarce those that are in use.
//!
//! ```text
//!  new ─▶ its client has its share? ─▶ the client's own idlest are closed; none idle: the new one is refused
//!   └──▶ nearly full? ─▶ the idlest of all are closed ─▶ held
//!           └─ full, none idle ─▶ it waits in the backlog until one ends
//! ```
//!
//! A connection that is closed here is idle: no request of it has begun, or its head has been coming for so long that a real
//! client would be through. So nobody who asks something loses an answer.

use crate::client::{Customer, Idleness};
use crate::clock::now_ms;
use crate::group::lock;
use crate::limits::Limits;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a full house waits until it looks again for one that has become idle.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub struct Admission {
    pub limits: Limits,
    held: Mutex<Held>,
    freed: Notify,
    /// Idle connections that were closed for others, and new ones that were refused.
    pub shed: AtomicU64,
    pub refused: AtomicU64,
}

#[derive(Default)]
struct Held {
    clients: BTreeMap<IpAddr, BTreeMap<u64, Arc<Customer>>>,
    count: usize,
    /// Told to close, and not gone yet.
    leaving: usize,
    next: u64,
}

/// A connection that is held, until this is dropped.
pub struct Place {
    admission: Arc<Admission>,
    client: IpAddr,
    number: u64,
    customer: Arc<Customer>,
}

impl Admission {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, held: Mutex::default(), freed: Notify::new(), shed: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    pub fn count(&self) -> usize {
        lock(&self.held).count
    }

    /// Returns once one more may be accepted.
    pub async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if self.has_room(now_ms()) {
                return;
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, freed).await;
        }
    }

    /// Begins to close idle ones before the last place is taken, so that who comes need not wait for them.
    fn has_room(&self, now: u64) -> bool {
        let mut held = lock(&self.held);
        let max = self.limits.connections;
        let batch = (max / 16).max(1);
        if held.count - held.leaving + batch >= max {
            let idle = idlest(held.clients.values().flat_map(BTreeMap::values), batch, now);
            self.close(&mut held, &idle);
        }
        held.count < max
    }

    /// None: its client has its share of connections, and uses them all.
    pub fn admit(self: &Arc<Self>, customer: &Arc<Customer>, now: u64) -> Option<Place> {
        let client = share_of(customer.ip);
        let max = self.limits.per_client;
        let mut held = lock(&self.held);
        if let Some(own) = held.clients.get(&client)
            && own.len() >= max
        {
            let staying = own.values().filter(|c| !c.is_shed()).count();
            let idle = if staying >= max { idlest(own.values(), (max / 16).max(1), now) } else { Vec::new() };
            if staying >= max && idle.is_empty() {
                self.refused.fetch_add(1, Relaxed);
                return None;
            }
            self.close(&mut held, &idle);
        }
        let number = held.next;
        held.next += 1;
        held.count += 1;
        held.clients.entry(client).or_default().insert(number, customer.clone());
        Some(Place { admission: self.clone(), client, number, customer: customer.clone() })
    }

    fn close(&self, held: &mut Held, idle: &[Arc<Customer>]) {
        held.leaving += idle.len();
        self.shed.fetch_add(idle.len() as u64, Relaxed);
        idle.iter().for_each(|customer| customer.shed());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = lock(&self.admission.held);
        held.count -= 1;
        held.leaving -= usize::from(self.customer.is_shed());
        if let Some(own) = held.clients.get_mut(&self.client) {
            own.remove(&self.number);
            if own.is_empty() {
                held.clients.remove(&self.client);
            }
        }
        drop(held);
        self.admission.freed.notify_waiters();
    }
}

/// The so many that were idle for the longest; those whose head comes too slowly only after them.
fn idlest<'a>(customers: impl Iterator<Item = &'a Arc<Customer>>, count: usize, now: u64) -> Vec<Arc<Customer>> {
    let mut idle: Vec<(Idleness, &Arc<Customer>)> = customers.filter_map(|c| Some((c.idleness(now)?, c))).collect();
    if idle.len() > count {
        idle.select_nth_unstable_by_key(count, |(idleness, _)| *idleness);
        idle.truncate(count);
    }
    idle.into_iter().map(|(_, customer)| customer.clone()).collect()
}

/// Whoever has an IPv6 address has 2^64 of them.
fn share_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn limits(connections: usize, per_client: usize) -> Limits {
        Limits { connections, per_client, kept: 0 }
    }

    fn one(last: u8) -> Arc<Customer> {
        Customer::new([10, 0, 0, last].into())
    }

    /// The idlest go, in their order; who is being answered stays; who was told to go is not told twice.
    #[tokio::test]
    async fn the_idlest_make_room() {
        let admission = Admission::new(limits(32, 32));
        let customers: Vec<_> = (0..32).map(one).collect();
        let mut places: Vec<_> = customers.iter().map(|c| admission.admit(c, NOW)).collect();
        // The first ten are idle since 10, 9, ... 1; the others are being answered.
        customers.iter().for_each(|c| c.begin_answer());
        for (since, customer) in (1..=10).rev().zip(&customers) {
            customer.end_answer(None);
            customer.set_idle_since(since);
        }
        let gone = || customers.iter().enumerate().filter(|(_, c)| c.is_shed()).map(|(n, _)| n).collect::<Vec<_>>();
        assert!(!admission.has_room(NOW));
        assert_eq!(gone(), [8, 9], "a sixteenth at a time");
        assert!(!admission.has_room(NOW));
        assert_eq!(gone(), [6, 7, 8, 9], "nearly full with those that stay");
        assert_eq!(admission.count(), 32);
        places[9] = None;
        admission.room().await;
        assert_eq!(admission.count(), 31);
        for _ in 0..20 {
            admission.has_room(NOW);
        }
        assert_eq!(gone(), [6, 7, 8, 9], "those that are on their way out make room enough");
        assert!(customers[10..].iter().all(|c| !c.is_shed()), "nobody loses an answer");
        places.clear();
        let held = lock(&admission.held);
        assert_eq!((held.count, held.leaving, held.clients.len()), (0, 0, 0));
    }

    #[test]
    fn a_client_has_a_share_and_closes_its_own() {
        let admission = Admission::new(limits(1_000, 3));
        let (mine, other) = (one(1), one(2));
        let others = admission.admit(&other, NOW).unwrap();
        let own: Vec<_> = (0..3).map(|_| one(1)).collect();
        let _places: Vec<_> = own.iter().map(|c| admission.admit(c, NOW).unwrap()).collect();
        own.iter().for_each(|c| c.begin_answer());
        assert!(admission.admit(&mine, NOW).is_none(), "all of its own are in use");
        assert_eq!((admission.count(), admission.refused.load(Relaxed)), (4, 1));
        own[1].end_answer(None);
        own[1].set_idle_since(NOW - 1_000);
        assert!(admission.admit(&mine, NOW).is_none(), "idle for a moment only: it may be about to ask");
        own[1].set_idle_since(NOW - 1_001);
        let place = admission.admit(&mine, NOW);
        assert!(place.is_some() && own[1].is_shed() && !other.is_shed());
        drop(others);
        assert_eq!(admission.count(), 4);
    }

    #[test]
    fn addresses_are_told_apart_as_far_as_one_client_has_one() {
        let share = |text: &str| share_of(text.parse().unwrap());
        assert_eq!(share("2001:db8:1:2:3:4:5:6"), share("2001:db8:1:2::1"));
        assert_ne!(share("2001:db8:1:2::1"), share("2001:db8:1:3::1"));
        assert_eq!(share("::ffff:10.0.0.1"), share("10.0.0.1"));
        assert_ne!(share("10.0.0.1"), share("10.0.0.2"));
    }
}
