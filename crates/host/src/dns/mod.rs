//! The resolver on the gateway: it answers this host's servers, and nobody else.
//!
//! ```text
//! a server ─▶ gateway:53 ─▶ policy ─▶ ours: at once
//!                              ├────▶ not for this server: no such name
//!                              └────▶ cache ─▶ whom the host asks ─▶ `Servers::heard` opens the firewall ─▶ the answer
//! ```
//!
//! What goes on is a question that we write: name in lower case and type, nothing else of the server's message.

mod cache;
mod in_flight;
mod message;
mod policy;
mod serve;
mod upstream;

pub use message::Answer;
pub use policy::{Asker, Own};
pub use serve::{PORT, Servers, Sockets, bind, serve};

use cache::{Cache, key, ttl_of};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use in_flight::{First, InFlight};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use upstream::Upstreams;

#[derive(Default)]
pub struct Resolver {
    cache: Mutex<Cache>,
    upstreams: Upstreams,
    in_flight: InFlight<Outcome>,
}

/// Whether somebody was asked for it just now.
#[derive(Clone)]
pub enum Known {
    Cached(Arc<Answer>),
    New(Arc<Answer>),
}

/// Err: why nobody answered.
type Outcome = Result<Known, String>;

impl Known {
    fn answer(&self) -> &Arc<Answer> {
        match self {
            Known::Cached(answer) | Known::New(answer) => answer,
        }
    }
}

/// What is known now. It is nobody else's yet, who asked for the same or finds it in the cache, before this is given to [`Resolver::is_heard`].
struct Asked<'a> {
    known: Outcome,
    first: Option<First<'a, Outcome>>,
}

impl Resolver {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What needs nobody else: an answer that still holds, or that nobody answered a moment ago.
    fn cached(&self, name: &Name, kind: RecordType, now: Instant) -> Option<Answer> {
        let (key, cache) = (key(name, kind), self.cache());
        if let Some((answer, _)) = cache.fresh(&key, now) {
            return Some(answer);
        }
        cache.has_failed(&key, now).then(|| cache.stale(&key, now).unwrap_or_else(|| Answer::of(ResponseCode::ServFail)))
    }

    /// Err: why nobody answered, and nothing is known from before.
    async fn ask(&self, servers: &[SocketAddr], name: &Name, kind: RecordType) -> Asked<'_> {
        let first = match self.in_flight.join(&key(name, kind)).await {
            Ok(first) => first,
            Err(known) => return Asked { known, first: None },
        };
        // Another may have been answered between the look into the cache and this.
        let fresh = self.cache().fresh(first.key(), Instant::now());
        if let Some((answer, _)) = fresh {
            return Asked { known: Ok(Known::New(Arc::new(answer))), first: Some(first) };
        }
        let known = match self.upstreams.ask(servers, name, kind).await {
            Ok(answer) => Ok(Known::New(Arc::new(answer))),
            Err(why) => {
                let now = Instant::now();
                let mut cache = self.cache();
                cache.failed(first.key().clone(), now);
                cache.stale(first.key(), now).map(|answer| Known::Cached(Arc::new(answer))).ok_or(why)
            }
        };
        Asked { known, first: Some(first) }
    }

    /// From now on others have it too.
    fn is_heard(&self, asked: Asked<'_>) -> Outcome {
        let Asked { known, first } = asked;
        if let Some(first) = first {
            if let Ok(Known::New(answer)) = &known {
                self.cache().put(first.key().clone(), answer.clone(), Instant::now());
            }
            first.done(known.clone());
        }
        known
    }

    /// The addresses of a name, and for how long they hold. Nothing that was known before: whoever calls keeps that himself.
    pub async fn addresses(&self, servers: &[SocketAddr], name: &str) -> Result<(BTreeSet<IpAddr>, Duration), String> {
        let name = Name::from_ascii(format!("{name}.")).map_err(|e| e.to_string())?;
        let (v4, v6) = tokio::join!(self.fresh(servers, &name, RecordType::A), self.fresh(servers, &name, RecordType::AAAA));
        // Some servers do not answer for one of the two.
        let why = v4.as_ref().err().or(v6.as_ref().err()).cloned();
        let good: Vec<Answer> = [v4, v6].into_iter().flatten().collect();
        let found: BTreeSet<IpAddr> = good.iter().flat_map(addresses_in).collect();
        if found.is_empty() {
            return Err(why.unwrap_or_else(|| match good.iter().all(|answer| answer.code == ResponseCode::NXDomain) {
                true => "there is no such name".to_string(),
                false => "the name has no address".to_string(),
            }));
        }
        let ttl = good.iter().filter(|answer| !answer.answers.is_empty()).map(ttl_of).min();
        Ok((found, ttl.unwrap_or_default()))
    }

    async fn fresh(&self, servers: &[SocketAddr], name: &Name, kind: RecordType) -> Result<Answer, String> {
        let cached = self.cache().fresh(&key(name, kind), Instant::now());
        match cached {
            Some((answer, _)) => Ok(answer),
            None => match self.is_heard(self.ask(servers, name, kind).await)? {
                Known::New(answer) => Ok(Answer::clone(&answer)),
                Known::Cached(_) => Err("nobody answers".to_string()),
            },
        }
    }

    /// Since when nobody whom the host asks answers, in seconds, and why.
    pub fn away(&self, now: Instant) -> Option<(u64, String)> {
        self.upstreams.away(now)
    }
}

pub fn addresses_in(answer: &Answer) -> impl Iterator<Item = IpAddr> {
    answer.answers.iter().filter_map(|record| record.data.ip_addr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, OpCode};
    use hickory_proto::rr::{RData, Record};
    use std::net::{Ipv4Addr, UdpSocket};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    /// Answers late; the second is how often it was asked.
    fn slow_server() -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (at, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, SeqCst);
                let question = Message::from_vec(&buffer[..n]).unwrap();
                let mut answer = Message::response(question.metadata.id, OpCode::Query);
                answer.add_queries(question.queries.iter().cloned());
                let record = Record::from_rdata(question.queries[0].name().clone(), 60, RData::A(Ipv4Addr::new(10, 0, 0, 1).into()));
                answer.add_answers([record]);
                std::thread::sleep(Duration::from_millis(300));
                socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
            }
        });
        (at, asked)
    }

    /// Found by a reader: each equal look-up in flight was a question of its own, and one more chance for whoever forges an answer.
    #[tokio::test(flavor = "multi_thread")]
    async fn equal_look_ups_are_one_question() {
        let (at, asked) = slow_server();
        let resolver = Arc::new(Resolver::default());
        let name = Name::from_ascii("db.example.org.").unwrap();
        let look_up = || {
            let (resolver, name) = (resolver.clone(), name.clone());
            tokio::spawn(async move {
                resolver.is_heard(resolver.ask(&[at], &name, RecordType::A).await).map(|known| known.answer().answers.len())
            })
        };
        // The first is given up by whoever asked: its connection was closed.
        let first = look_up();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let others: Vec<_> = (0..50).map(|_| look_up()).collect();
        first.abort();
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(1));
        }
        assert_eq!(asked.load(SeqCst), 2, "the first, and one in its place");
        assert_eq!(look_up().await.unwrap(), Ok(1));
        assert_eq!(asked.load(SeqCst), 2, "it holds for a minute");
    }

    /// The firewall is opened before anybody has the answer, also those who did not ask first.
    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_has_an_answer_that_was_not_heard() {
        let (at, _) = slow_server();
        let resolver = Arc::new(Resolver::default());
        let name = Name::from_ascii("db.example.org.").unwrap();
        let asked = resolver.ask(&[at], &name, RecordType::A).await;
        assert!(asked.known.is_ok() && resolver.cached(&name, RecordType::A, Instant::now()).is_none());
        let (other, named) = (resolver.clone(), name.clone());
        let second = tokio::spawn(async move { other.ask(&[at], &named, RecordType::A).await.known.is_ok() });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!second.is_finished());
        assert!(resolver.is_heard(asked).is_ok() && second.await.unwrap());
        assert!(resolver.cached(&name, RecordType::A, Instant::now()).is_some());
    }
}
