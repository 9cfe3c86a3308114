//! Limits on the connections of one socket. At the limit, the connection that is idle longest is closed, of the peer that has most: a peer
//! that opens connections and sends nothing only displaces its own. A connection with a request or an answer in progress is never closed.

use crate::peer::Peer;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::task::AbortHandle;

pub struct Room {
    all: usize,
    of_one_peer: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    there: BTreeMap<u64, One>,
}

struct One {
    peer: Peer,
    busy: Arc<Busy>,
    task: Option<AbortHandle>,
}

/// Requests in progress on one connection, and when the last of them ended.
pub struct Busy {
    begun: Instant,
    now: AtomicUsize,
    last_ms: AtomicU64,
}

pub struct Place<'r> {
    room: &'r Room,
    number: u64,
    busy: Arc<Busy>,
}

impl Room {
    pub fn new(all: usize, of_one_peer: usize) -> Self {
        Self { all, of_one_peer, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.there.retain(|_, one| one.task.as_ref().is_none_or(|task| !task.is_finished()));
        inner
    }

    /// None: the limit is reached and every connection is busy.
    pub fn enter(&self, peer: Peer) -> Option<Place<'_>> {
        let mut inner = self.inner();
        let peer = peer.network();
        let own = inner.there.values().filter(|one| one.peer == peer).count();
        if own >= self.of_one_peer {
            inner.shed(Some(peer))?;
        } else if inner.there.len() >= self.all {
            inner.shed(None)?;
        }
        let number = inner.next;
        inner.next += 1;
        let busy = Arc::new(Busy { begun: Instant::now(), now: AtomicUsize::new(0), last_ms: AtomicU64::new(0) });
        inner.there.insert(number, One { peer, busy: busy.clone(), task: None });
        Some(Place { room: self, number, busy })
    }

    /// Closes the connection that is idle longest.
    pub fn shed(&self) {
        self.inner().shed(None);
    }
}

impl Inner {
    fn shed(&mut self, of: Option<Peer>) -> Option<()> {
        let mut counts: BTreeMap<Peer, usize> = BTreeMap::new();
        self.there.values().for_each(|one| *counts.entry(one.peer).or_default() += 1);
        let idle = self.there.iter().filter(|(_, one)| of.is_none_or(|peer| peer == one.peer) && one.busy.is_idle());
        let (number, _) = idle.max_by_key(|(number, one)| (counts[&one.peer], one.busy.idle_for(), std::cmp::Reverse(**number)))?;
        let number = *number;
        if let Some(task) = self.there.remove(&number).and_then(|one| one.task) {
            task.abort();
        }
        Some(())
    }
}

impl Place<'_> {
    pub fn busy(&self) -> Arc<Busy> {
        self.busy.clone()
    }

    pub fn held_by(self, task: AbortHandle) {
        if let Some(one) = self.room.inner().there.get_mut(&self.number) {
            one.task = Some(task);
        }
    }
}

impl Busy {
    fn is_idle(&self) -> bool {
        self.now.load(Ordering::SeqCst) == 0
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn idle_for(&self) -> u64 {
        self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::SeqCst))
    }
}

/// Held from a request's head until its answer's last byte was taken.
struct Held(Arc<Busy>);

impl Held {
    fn new(busy: &Arc<Busy>) -> Self {
        busy.now.fetch_add(1, Ordering::SeqCst);
        Held(busy.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.last_ms.store(self.0.elapsed_ms(), Ordering::SeqCst);
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The router for one connection: each request knows its peer, and counts as in progress.
pub fn tracked(router: Router, peer: Peer, busy: Arc<Busy>) -> Router {
    router.layer(middleware::from_fn(move |mut request: Request, next: Next| {
        let held = Held::new(&busy);
        async move {
            request.extensions_mut().insert(peer);
            let answer: Response = next.run(request).await;
            answer.map(|body| Body::new(Kept { body, _held: held }))
        }
    }))
}

struct Kept {
    body: Body,
    _held: Held,
}

impl HttpBody for Kept {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<bytes::Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second half of an IPv6 address is the client's own choice.
    #[test]
    fn the_addresses_of_one_network_displace_only_each_other() {
        let ip = |text: String| Peer::Ip(text.parse().unwrap());
        let room = Room::new(256, 64);
        let quiet = room.enter(ip("2001:db8:1::1".to_string())).unwrap();
        assert!((0..1_000).all(|n| idle(&room, ip(format!("2001:db8:2::{n:x}")))));
        assert!(room.inner().there.contains_key(&quiet.number), "a neighbour with many addresses closed it");
        assert_eq!(room.inner().there.len(), 65);
        // On a socket of both families, clients of IPv4 do not share a limit.
        assert!((0..200).all(|n| idle(&room, ip(format!("::ffff:192.0.2.{n}")))));
        assert_eq!(room.inner().there.values().filter(|one| one.peer == ip("192.0.2.7".to_string())).count(), 1);
    }

    fn idle(room: &Room, peer: Peer) -> bool {
        room.enter(peer).is_some()
    }

    #[test]
    fn the_idlest_of_who_has_most_goes_and_who_works_stays() {
        let [a, b] = [1, 2].map(Peer::Uid);
        let room = Room::new(4, 3);
        let working = room.enter(b).unwrap();
        let held = Held::new(&working.busy);
        assert!((0..10).all(|_| idle(&room, a)), "a peer that is full makes room by its own");
        let peers = || room.inner().there.values().map(|one| one.peer).collect::<Vec<_>>();
        assert_eq!(peers(), [b, a, a, a]);
        assert!(idle(&room, Peer::Uid(3)), "of a, who has most");
        assert_eq!(peers().iter().filter(|p| **p == a).count(), 2);
        assert!(peers().contains(&b));
        let all: Vec<Held> = room.inner().there.values().map(|one| Held::new(&one.busy)).collect();
        assert!(!idle(&room, a) && !idle(&room, Peer::Uid(9)), "nobody who works is sent away");
        drop(all);
        assert!(idle(&room, Peer::Uid(9)));
        drop(held);
    }
}
