//! What became of each request, and the sums over them. Pure.

use serde::Serialize;
use std::collections::BTreeMap;

/// What a request is like for the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// GET on a connection that is kept.
    KeepAlive,
    /// GET on a connection of its own.
    Fresh,
    /// An answer in pieces over some hundred milliseconds.
    Slow,
    /// POST of a body whose digest the answer must carry.
    Post,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::KeepAlive, Kind::Fresh, Kind::Slow, Kind::Post];

    /// Of twenty requests one is slow, two are POSTs, two are on fresh connections.
    pub fn of(n: u64) -> Kind {
        match n % 20 {
            3 => Kind::Slow,
            7 | 17 => Kind::Post,
            5 | 15 => Kind::Fresh,
            _ => Kind::KeepAlive,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::KeepAlive => "keep-alive",
            Kind::Fresh => "fresh",
            Kind::Slow => "slow",
            Kind::Post => "post",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete and correct response.
    Whole,
    /// The release itself answered 5xx, on purpose and marked so: the balancer's own errors carry another mark.
    Release(u16),
    /// Everything else, with the reason.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    /// When it was due, in milliseconds since 1970.
    pub due_ms: u64,
    /// When it was begun: later than due if this machine had no time for the client.
    pub sent_ms: u64,
    /// From when it was due to the answer's last byte.
    pub took_us: u64,
    /// Of the code that answered, if it reported one.
    pub version: Option<u64>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, Default)]
pub struct Account {
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    pub sent: u64,
    pub answered: u64,
    pub failed: u64,
    pub release_errors: u64,
    pub p50_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

impl Account {
    /// An answer 5xx counts as the release's own error only if its version is known to be bad; else it is a failure as any other.
    pub fn failed(record: &Record, bad: &[u64]) -> bool {
        match &record.outcome {
            Outcome::Whole => false,
            Outcome::Release(_) => !record.version.is_some_and(|v| bad.contains(&v)),
            Outcome::Failed(_) => true,
        }
    }

    pub fn sums<'a>(records: impl Iterator<Item = &'a Record>, bad: &[u64]) -> Sums {
        let mut sums = Sums::default();
        let mut took = Vec::new();
        for record in records {
            sums.sent += 1;
            took.push(record.took_us);
            match (&record.outcome, Self::failed(record, bad)) {
                (_, true) => sums.failed += 1,
                (Outcome::Release(_), false) => sums.release_errors += 1,
                (_, false) => sums.answered += 1,
            }
        }
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).map_or(0, |us| us / 1_000);
        (sums.p50_ms, sums.p99_ms, sums.max_ms) = (at(50), at(99), at(100));
        sums
    }

    /// Reasons of failures, the most frequent first.
    pub fn reasons(&self, bad: &[u64]) -> Vec<(String, u64)> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for record in self.records.iter().filter(|r| Self::failed(r, bad)) {
            let reason = match &record.outcome {
                Outcome::Failed(why) => why.clone(),
                Outcome::Release(status) => format!("status {status} from version {:?}, which is no bad one", record.version),
                Outcome::Whole => continue,
            };
            *counts.entry(format!("{}: {reason}", record.kind.name())).or_default() += 1;
        }
        let mut reasons: Vec<(String, u64)> = counts.into_iter().collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome, version: Option<u64>, took_us: u64) -> Record {
        Record { kind: Kind::KeepAlive, due_ms: 0, sent_ms: 0, took_us, version, outcome }
    }

    #[test]
    fn an_error_of_a_good_release_is_a_failure() {
        let records = [
            record(Outcome::Whole, Some(1), 1_000),
            record(Outcome::Release(500), Some(4), 2_000),
            record(Outcome::Release(500), Some(1), 3_000),
            record(Outcome::Release(500), None, 4_000),
            record(Outcome::Failed("connection refused".into()), None, 5_000),
        ];
        let sums = Account::sums(records.iter(), &[4]);
        let want = Sums { sent: 5, answered: 1, failed: 3, release_errors: 1, p50_ms: 3, p99_ms: 5, max_ms: 5 };
        assert_eq!(sums, want);
        assert_eq!(sums.sent, sums.answered + sums.failed + sums.release_errors);
    }

    #[test]
    fn kinds_are_dealt_evenly() {
        let count = |kind| (0..20).filter(|n| Kind::of(*n) == kind).count();
        assert_eq!(Kind::ALL.map(count), [15, 2, 1, 2]);
    }
}
