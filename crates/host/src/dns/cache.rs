//! Answers that still hold, and those that held last. Bounded in number and bytes: the oldest goes first. Pure.

use super::message::Answer;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ANSWERS_MAX: usize = 4_096;
/// Of memory, as [`memory_of`] estimates it from above.
const BYTES_MAX: usize = 8 << 20;
/// An entry of the map and of the order, with what the allocator adds.
const ENTRY_BYTES: usize = 512;
/// What a byte of a record's data may take: a text of one character is two bytes in a message, and a piece of memory of its own here.
const BYTE_COST: usize = 32;
const TTL_MAX: Duration = Duration::from_secs(3_600);
/// That there is nothing is believed for less (RFC 2308 allows hours).
const NOTHING_TTL_MAX: Duration = Duration::from_secs(60);
/// While nobody answers, what was known is given for this time (RFC 8767), and said to hold for half a minute.
const STALE_FOR: Duration = Duration::from_secs(3_600);
const STALE_TTL_S: u32 = 30;
/// Nobody is asked again for what nobody answered (RFC 9520).
const FAILED_FOR: Duration = Duration::from_secs(3);
const FAILED_MAX: usize = 1_024;

/// In lower case, and the type's number.
pub type Key = (String, u16);

pub fn key(name: &Name, kind: RecordType) -> Key {
    (name.to_ascii(), kind.into())
}

#[derive(Default)]
pub struct Cache {
    kept: BTreeMap<Key, Kept>,
    /// In the order they came.
    order: VecDeque<Key>,
    bytes: usize,
    failed: BTreeMap<Key, Instant>,
}

struct Kept {
    answer: Arc<Answer>,
    at: Instant,
    ttl: Duration,
    bytes: usize,
}

impl Cache {
    /// With the time that is left of it.
    pub fn fresh(&self, key: &Key, now: Instant) -> Option<(Answer, Duration)> {
        let kept = self.kept.get(key)?;
        let left = kept.ttl.checked_sub(now.duration_since(kept.at)).filter(|left| !left.is_zero())?;
        let seconds = u32::try_from(left.as_secs().max(1)).unwrap_or(u32::MAX);
        Some((with_ttl(&kept.answer, |ttl| ttl.min(seconds)), left))
    }

    pub fn stale(&self, key: &Key, now: Instant) -> Option<Answer> {
        let kept = self.kept.get(key).filter(|kept| now.duration_since(kept.at) < kept.ttl + STALE_FOR)?;
        Some(with_ttl(&kept.answer, |_| STALE_TTL_S))
    }

    pub fn put(&mut self, key: Key, answer: Arc<Answer>, now: Instant) {
        self.failed.remove(&key);
        let bytes = memory_of(&key, &answer);
        let new = Kept { ttl: ttl_of(&answer), answer, at: now, bytes };
        self.bytes += bytes;
        match self.kept.insert(key.clone(), new) {
            Some(old) => self.bytes -= old.bytes,
            None => self.order.push_back(key),
        }
        while self.kept.len() > ANSWERS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.kept.remove(&oldest).map_or(0, |old| old.bytes);
        }
    }

    pub fn failed(&mut self, key: Key, now: Instant) {
        if self.failed.len() >= FAILED_MAX {
            self.failed.clear();
        }
        self.failed.insert(key, now);
    }

    pub fn has_failed(&self, key: &Key, now: Instant) -> bool {
        self.failed.get(key).is_some_and(|at| now.duration_since(*at) < FAILED_FOR)
    }
}

/// How long it holds.
pub fn ttl_of(answer: &Answer) -> Duration {
    if let Some(least) = answer.answers.iter().map(|record| record.ttl).min() {
        return Duration::from_secs(least.into()).min(TTL_MAX);
    }
    let of_nothing = answer.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let known = matches!(answer.code, ResponseCode::NoError | ResponseCode::NXDomain);
    Duration::from_secs(of_nothing.filter(|_| known).unwrap_or(0).into()).min(NOTHING_TTL_MAX)
}

/// A record of an address is 16 bytes in a message, and some 300 in memory.
fn memory_of(key: &Key, answer: &Answer) -> usize {
    let records = answer.answers.iter().chain(&answer.authorities);
    let of_record = |record: &Record| {
        let data = match &record.data {
            RData::A(_) | RData::AAAA(_) => 0,
            // Names of a message may be pointers to others; written alone they are not.
            data => data.to_bytes().map_or(usize::from(u16::MAX), |bytes| bytes.len()) * BYTE_COST,
        };
        size_of::<Record>() + 2 * record.name.len() + data
    };
    ENTRY_BYTES + 2 * key.0.len() + records.map(of_record).sum::<usize>()
}

fn with_ttl(answer: &Answer, ttl: impl Fn(u32) -> u32) -> Answer {
    let mut answer = answer.clone();
    answer.answers.iter_mut().chain(&mut answer.authorities).for_each(|record| record.ttl = ttl(record.ttl));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{SOA, TXT};
    use std::net::Ipv4Addr;

    fn address(ttl: u32) -> Arc<Answer> {
        let record = Record::from_rdata(Name::root(), ttl, RData::A(Ipv4Addr::new(10, 0, 0, 1).into()));
        Arc::new(Answer { answers: vec![record], ..Answer::of(ResponseCode::NoError) })
    }

    fn named(n: usize) -> Key {
        (format!("n{n}.example.org."), 1)
    }

    #[test]
    fn an_answer_holds_for_its_time_and_longer_while_nobody_answers() {
        let (mut cache, begin) = (Cache::default(), Instant::now());
        let at = |s: u64| begin + Duration::from_secs(s);
        cache.put(named(0), address(60), begin);
        assert_eq!(cache.fresh(&named(0), at(10)).unwrap().0.answers[0].ttl, 50);
        assert!(cache.fresh(&named(0), at(60)).is_none());
        assert_eq!(cache.stale(&named(0), at(60)).unwrap().answers[0].ttl, 30);
        assert!(cache.stale(&named(0), at(60 + 3_599)).is_some() && cache.stale(&named(0), at(60 + 3_600)).is_none());
        cache.put(named(1), address(0), begin);
        assert!(cache.fresh(&named(1), begin).is_none(), "it holds for no time");
        assert!(cache.stale(&named(1), at(1)).is_some());
        cache.put(named(2), address(1_000_000), begin);
        assert!(cache.fresh(&named(2), at(3_599)).is_some() && cache.fresh(&named(2), at(3_600)).is_none());
        cache.failed(named(3), begin);
        assert!(cache.has_failed(&named(3), at(2)) && !cache.has_failed(&named(3), at(3)));
        cache.failed(named(0), begin);
        cache.put(named(0), address(60), begin);
        assert!(!cache.has_failed(&named(0), begin), "somebody answered since");
    }

    #[test]
    fn nothing_is_believed_for_as_long_as_its_zone_says() {
        let soa = |ttl, minimum| {
            let soa = SOA::new(Name::root(), Name::root(), 1, 2, 3, 4, minimum);
            Answer { authorities: vec![Record::from_rdata(Name::root(), ttl, RData::SOA(soa))], ..Answer::of(ResponseCode::NXDomain) }
        };
        for (ttl, minimum, want) in [(30, 600, 30), (600, 30, 30), (600, 600, 60)] {
            assert_eq!(ttl_of(&soa(ttl, minimum)).as_secs(), want);
        }
        assert_eq!(ttl_of(&Answer::of(ResponseCode::NXDomain)).as_secs(), 0);
        assert_eq!(ttl_of(&Answer { code: ResponseCode::ServFail, ..soa(30, 30) }).as_secs(), 0);
    }

    #[test]
    fn it_is_bounded_in_number_and_bytes() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for n in 0..ANSWERS_MAX + 10 {
            cache.put(named(n), address(60), now);
            cache.put(named(n), address(60), now);
            cache.failed(named(n), now);
        }
        let counted: usize = cache.kept.values().map(|kept| kept.bytes).sum();
        assert_eq!((cache.kept.len(), cache.order.len(), cache.bytes), (ANSWERS_MAX, ANSWERS_MAX, counted));
        assert!(cache.failed.len() <= FAILED_MAX);
        assert!(cache.fresh(&named(9), now).is_none() && cache.fresh(&named(10), now).is_some());
    }

    /// This process's own memory, by the kernel.
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
    }

    /// Found by a reader: bytes of messages were counted, and what they become is twenty times as large.
    #[test]
    fn what_it_holds_is_bounded_in_memory() {
        let many = |count: usize, data: &dyn Fn() -> RData| {
            let record = || Record::from_rdata(Name::from_ascii("a.example.org.").unwrap(), 60, data());
            Answer { answers: std::iter::repeat_with(record).take(count).collect(), ..Answer::of(ResponseCode::NoError) }
        };
        let texts = || RData::TXT(TXT::new(vec!["x".to_string(); 500]));
        let addresses = || RData::A(Ipv4Addr::new(10, 0, 0, 1).into());
        for (what, answer) in [("texts", many(4, &texts)), ("addresses", many(250, &addresses))] {
            let (mut cache, now, before) = (Cache::default(), Instant::now(), resident());
            for n in 0..3_000 {
                cache.put(named(n), Arc::new(answer.clone()), now);
            }
            let grown = resident().saturating_sub(before);
            println!("{what}: {} answers, {} counted, {grown} bytes more in memory", cache.kept.len(), cache.bytes);
            assert!(cache.bytes <= BYTES_MAX && cache.kept.len() == cache.order.len() && cache.fresh(&named(2_999), now).is_some());
            // Other tests of this process run beside it.
            assert!(grown < 5 * BYTES_MAX, "{what}: {grown} bytes");
        }
    }
}
