//! Which client connections are kept open: all while there are enough places, those in use when places get scarce.
//!
//! ```text
//!  new ─▶ its client has its share? ─▶ the client's own longest idle are closed; none idle: the new one is refused
//!   └──▶ nearly full? ─▶ the longest idle of all are closed ─▶ open
//!           └─ full, none idle ─▶ it waits in the backlog until one ends
//! ```
//!
//! A connection that is closed here is idle: no request has started on it, or the head is slower than any real client's. So no
//! client loses a response.

use crate::clock::now_ms;
use crate::descriptors::Limits;
use crate::downstream::{Downstream, Idleness};
use crate::mutex::lock;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// How often a full balancer searches for a connection that has become idle.
const RECHECK_EVERY: Duration = Duration::from_millis(50);

pub struct Admission {
    pub limits: Limits,
    open: Mutex<Open>,
    freed: Notify,
    /// Idle connections closed to make room, and new ones refused.
    pub shed: AtomicU64,
    pub refused: AtomicU64,
}

#[derive(Default)]
struct Open {
    clients: BTreeMap<IpAddr, BTreeMap<u64, Arc<Downstream>>>,
    count: usize,
    /// Told to close, and still open.
    closing: usize,
    next: u64,
}

/// The place of one open connection, until this is dropped.
pub struct Place {
    admission: Arc<Admission>,
    client: IpAddr,
    number: u64,
    downstream: Arc<Downstream>,
}

impl Admission {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default(), freed: Notify::new(), shed: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    pub fn count(&self) -> usize {
        lock(&self.open).count
    }

    /// Returns once one more may be accepted.
    pub async fn has_place(&self) {
        loop {
            let freed = self.freed.notified();
            if self.has_room(now_ms()) {
                return;
            }
            let _ = tokio::time::timeout(RECHECK_EVERY, freed).await;
        }
    }

    /// Starts to close idle connections before the last place is taken, so that a new client need not wait for them.
    fn has_room(&self, now: u64) -> bool {
        let mut open = lock(&self.open);
        let max = self.limits.connections;
        let batch = (max / 16).max(1);
        if open.count - open.closing + batch >= max {
            let idle = longest_idle(open.clients.values().flat_map(BTreeMap::values), batch, now);
            self.close(&mut open, &idle);
        }
        open.count < max
    }

    /// None: its client has its share of connections, and uses all of them.
    pub fn admit(self: &Arc<Self>, downstream: &Arc<Downstream>, now: u64) -> Option<Place> {
        let client = share_of(downstream.ip);
        let max = self.limits.per_client;
        let mut open = lock(&self.open);
        if let Some(own) = open.clients.get(&client)
            && own.len() >= max
        {
            let staying = own.values().filter(|c| !c.is_shed()).count();
            let idle = if staying >= max { longest_idle(own.values(), (max / 16).max(1), now) } else { Vec::new() };
            if staying >= max && idle.is_empty() {
                self.refused.fetch_add(1, Relaxed);
                return None;
            }
            self.close(&mut open, &idle);
        }
        let number = open.next;
        open.next += 1;
        open.count += 1;
        open.clients.entry(client).or_default().insert(number, downstream.clone());
        Some(Place { admission: self.clone(), client, number, downstream: downstream.clone() })
    }

    fn close(&self, open: &mut Open, idle: &[Arc<Downstream>]) {
        open.closing += idle.len();
        self.shed.fetch_add(idle.len() as u64, Relaxed);
        idle.iter().for_each(|downstream| downstream.shed());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.admission.open);
        open.count -= 1;
        open.closing -= usize::from(self.downstream.is_shed());
        if let Some(own) = open.clients.get_mut(&self.client) {
            own.remove(&self.number);
            if own.is_empty() {
                open.clients.remove(&self.client);
            }
        }
        drop(open);
        self.admission.freed.notify_waiters();
    }
}

/// At most `count` that were idle for the longest; those with a slow head only after them.
fn longest_idle<'a>(downstreams: impl Iterator<Item = &'a Arc<Downstream>>, count: usize, now: u64) -> Vec<Arc<Downstream>> {
    let mut idle: Vec<(Idleness, &Arc<Downstream>)> = downstreams.filter_map(|c| Some((c.idleness(now)?, c))).collect();
    if idle.len() > count {
        idle.select_nth_unstable_by_key(count, |(idleness, _)| *idleness);
        idle.truncate(count);
    }
    idle.into_iter().map(|(_, downstream)| downstream.clone()).collect()
}

/// The key of a client's share: a client with one IPv6 address has 2^64 of them.
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
        Limits { connections, per_client, idle_upstream: 0 }
    }

    fn one(last: u8) -> Arc<Downstream> {
        Downstream::new([10, 0, 0, last].into())
    }

    /// The longest idle are closed, in their order; those in use stay; none is told to close twice.
    #[tokio::test]
    async fn the_longest_idle_make_room() {
        let admission = Admission::new(limits(32, 32));
        let downstreams: Vec<_> = (0..32).map(one).collect();
        let mut places: Vec<_> = downstreams.iter().map(|c| admission.admit(c, NOW)).collect();
        // The first ten are idle since 10, 9, ... 1; the others are in use.
        downstreams.iter().for_each(|c| c.begin_response());
        for (since, downstream) in (1..=10).rev().zip(&downstreams) {
            downstream.end_response(None);
            downstream.set_idle_since(since);
        }
        let gone = || downstreams.iter().enumerate().filter(|(_, c)| c.is_shed()).map(|(n, _)| n).collect::<Vec<_>>();
        assert!(!admission.has_room(NOW));
        assert_eq!(gone(), [8, 9], "a sixteenth at a time");
        assert!(!admission.has_room(NOW));
        assert_eq!(gone(), [6, 7, 8, 9], "nearly full with those that stay open");
        assert_eq!(admission.count(), 32);
        places[9] = None;
        admission.has_place().await;
        assert_eq!(admission.count(), 31);
        for _ in 0..20 {
            admission.has_room(NOW);
        }
        assert_eq!(gone(), [6, 7, 8, 9], "those that are closing make enough room");
        assert!(downstreams[10..].iter().all(|c| !c.is_shed()), "no client loses a response");
        places.clear();
        let open = lock(&admission.open);
        assert_eq!((open.count, open.closing, open.clients.len()), (0, 0, 0));
    }

    #[test]
    fn a_client_has_a_share_and_closes_its_own() {
        let admission = Admission::new(limits(1_000, 3));
        let (mine, other) = (one(1), one(2));
        let others = admission.admit(&other, NOW).unwrap();
        let own: Vec<_> = (0..3).map(|_| one(1)).collect();
        let _places: Vec<_> = own.iter().map(|c| admission.admit(c, NOW).unwrap()).collect();
        own.iter().for_each(|c| c.begin_response());
        assert!(admission.admit(&mine, NOW).is_none(), "all of its own are in use");
        assert_eq!((admission.count(), admission.refused.load(Relaxed)), (4, 1));
        own[1].end_response(None);
        own[1].set_idle_since(NOW - 1_000);
        assert!(admission.admit(&mine, NOW).is_none(), "idle for a moment only: it may be about to send a request");
        own[1].set_idle_since(NOW - 1_001);
        let place = admission.admit(&mine, NOW);
        assert!(place.is_some() && own[1].is_shed() && !other.is_shed());
        drop(others);
        assert_eq!(admission.count(), 4);
    }

    #[test]
    fn the_addresses_of_one_client_share_a_key() {
        let share = |text: &str| share_of(text.parse().unwrap());
        assert_eq!(share("2001:db8:1:2:3:4:5:6"), share("2001:db8:1:2::1"));
        assert_ne!(share("2001:db8:1:2::1"), share("2001:db8:1:3::1"));
        assert_eq!(share("::ffff:10.0.0.1"), share("10.0.0.1"));
        assert_ne!(share("10.0.0.1"), share("10.0.0.2"));
    }
}
