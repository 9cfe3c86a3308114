//! What the demo found: one table for people, one object for machines, and whether it is good.

use super::act::Played;
use super::client::account::{Account, Kind, Record, Sums};
use super::waves::WaveErrors;
use crate::show;
use model::RotationId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Report {
    pub account: Account,
    pub rotations: Vec<Played>,
    /// Rotations to a version whose own errors are not ours.
    pub bad: Vec<(RotationId, u64)>,
    pub waves: Vec<WaveErrors>,
    pub kills: u32,
    /// Any other failure, as text.
    pub wrong: Vec<String>,
    /// Numbers that a chaos run adds.
    pub extra: BTreeMap<&'static str, Value>,
    pub seconds: f64,
}

impl Report {
    pub fn add(&mut self, rows: Vec<Played>) {
        self.rotations.extend(rows);
    }

    fn bad_versions(&self) -> Vec<u64> {
        self.bad.iter().map(|(_, version)| *version).collect()
    }

    fn sums(&self, of: impl Fn(&Record) -> bool) -> Sums {
        Account::sums(self.account.records.iter().filter(|r| of(r)), &self.bad_versions())
    }

    pub fn good(&self) -> bool {
        let verdicts = !self.rotations.is_empty() && self.rotations.iter().all(|r| r.verdict == r.expected);
        verdicts && self.sums(|_| true).failed == 0 && self.waves.iter().all(|w| w.within_share) && self.wrong.is_empty()
    }

    pub fn print(&self, as_json: bool) {
        if !as_json {
            show::line("");
            self.rotations_table();
            self.waves_table();
            self.requests_table();
        }
        for (reason, n) in self.account.reasons(&self.bad_versions()).iter().take(10) {
            show::note(format!("failed {n} x {reason}"));
        }
        for wrong in &self.wrong {
            show::note(format!("wrong: {wrong}"));
        }
        if as_json {
            show::json(&self.object());
            return;
        }
        let all = self.sums(|_| true);
        let style = if self.good() { show::GREEN } else { show::RED };
        let text = format!("{} requests, {} failed, {} kills, {:.1} s", all.sent, all.failed, self.kills, self.seconds);
        show::line(format!("\n{}", show::paint(style.bold(), text)));
    }

    fn rotations_table(&self) {
        let rows = self.rotations.iter().map(|r| {
            let from = r.from.clone().unwrap_or_default();
            let expected = if r.verdict == r.expected { "as expected".into() } else { format!("{} was expected", r.expected) };
            vec![
                r.id.to_string(),
                from,
                r.to.clone(),
                r.version.to_string(),
                r.verdict.clone(),
                expected,
                format!("{:.1} s", r.seconds),
                r.why.clone(),
            ]
        });
        show::line(show::table(&["rotation", "from", "to", "version", "verdict", "", "took", "why"], rows.collect()));
        show::line("");
    }

    fn waves_table(&self) {
        if self.waves.is_empty() {
            return;
        }
        let rows = self.waves.iter().map(|w| {
            let wave = w.wave.map_or_else(|| "rolling back".to_string(), |n| format!("wave {n}"));
            let kept = if w.within_share { "within its share" } else { "MORE than its share" };
            vec![w.rotation.clone(), wave, format!("{}%", w.weight), w.requests.to_string(), w.release_errors.to_string(), kept.into()]
        });
        show::line(show::table(&["bad release", "wave", "share", "requests", "its own errors", ""], rows.collect()));
        show::line("");
    }

    fn requests_table(&self) {
        let line = |version: &str, kind: &str, s: &Sums| {
            let times = [s.p50_ms, s.p99_ms, s.max_ms].map(|ms| format!("{ms} ms"));
            let counts = [s.sent, s.answered, s.failed, s.release_errors].map(|n| n.to_string());
            [version.to_string(), kind.to_string()].into_iter().chain(counts).chain(times).collect::<Vec<_>>()
        };
        let mut rows = Vec::new();
        let versions: BTreeSet<Option<u64>> = self.account.records.iter().map(|r| r.version).collect();
        for version in versions {
            let name = version.map_or_else(|| "none".to_string(), |v| v.to_string());
            for kind in Kind::ALL {
                let sums = self.sums(|r| r.version == version && r.kind == kind);
                if sums.sent > 0 {
                    rows.push(line(&name, kind.name(), &sums));
                }
            }
        }
        rows.push(line("all", "all", &self.sums(|_| true)));
        show::line(show::table(&["version", "kind", "sent", "answered", "failed", "release errors", "p50", "p99", "max"], rows));
    }

    fn object(&self) -> Value {
        let all = self.sums(|_| true);
        let by_kind: BTreeMap<&str, Sums> = Kind::ALL.iter().map(|kind| (kind.name(), self.sums(|r| r.kind == *kind))).collect();
        let versions: BTreeSet<u64> = self.account.records.iter().filter_map(|r| r.version).collect();
        let by_version: BTreeMap<String, Sums> = versions.iter().map(|v| (v.to_string(), self.sums(|r| r.version == Some(*v)))).collect();
        let mut object = json!({
            "requests": all.sent,
            "failed": all.failed,
            "release_errors": all.release_errors,
            "by_kind": by_kind,
            "by_version": by_version,
            "rotations": self.rotations,
            "waves": self.waves,
            "kills": self.kills,
            "seconds": (self.seconds * 10.0).round() / 10.0,
            "wrong": self.wrong,
        });
        for (name, value) in &self.extra {
            object[*name] = value.clone();
        }
        object
    }
}
