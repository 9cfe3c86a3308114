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
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use upstream::Upstreams;

#[derive(Default)]
pub struct Resolver {
    cache: Mutex<Cache>,
    upstreams: Upstreams,
}

/// Whether somebody was asked for it just now.
pub enum Known {
    Cached(Answer),
    New(Answer),
}

impl Known {
    fn answer(self) -> Answer {
        match self {
            Known::Cached(answer) | Known::New(answer) => answer,
        }
    }
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
    async fn ask(&self, servers: &[SocketAddr], name: &Name, kind: RecordType) -> Result<Known, String> {
        let key = key(name, kind);
        match self.upstreams.ask(servers, name, kind).await {
            Ok((answer, bytes)) => {
                self.cache().put(key, Arc::new(answer.clone()), bytes, Instant::now());
                Ok(Known::New(answer))
            }
            Err(why) => {
                let now = Instant::now();
                let mut cache = self.cache();
                cache.failed(key.clone(), now);
                cache.stale(&key, now).map(Known::Cached).ok_or(why)
            }
        }
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
            None => match self.ask(servers, name, kind).await? {
                Known::New(answer) => Ok(answer),
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
