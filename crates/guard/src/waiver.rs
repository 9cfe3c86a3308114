//! Waivers and break-glass: who accepts what, for how long. Time is an argument.
//!
//! A waiver names the evidence that it accepts. Other evidence is another exposure, and an expired waiver is none.

use crate::date;
use crate::finding::Severity;
use serde::{Deserialize, Serialize};

const DAY_S: i64 = 86_400;
/// The end of the year 9999.
const LAST_S: i64 = 253_402_300_799;
pub const WAIVER_MAX_DAYS: i64 = 90;
pub const WAIVER_MAX_DAYS_CRITICAL: i64 = 14;
pub const BREAK_GLASS_MAX_S: i64 = 4 * 3600;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiver {
    pub rule: String,
    /// The exact resource.
    pub resource: String,
    /// The fingerprint of the finding.
    pub evidence: String,
    pub owner: String,
    pub reason: String,
    pub ticket: String,
    pub granted_s: i64,
    pub expires_s: i64,
}

/// What a waiver is worth now, for one finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Live,
    NotYet,
    Expired,
    EvidenceChanged,
    /// Longer than the severity allows.
    TooLong {
        max_days: i64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("waiver of {rule} for {resource}: {fault}")]
pub struct WaiverFault {
    pub rule: String,
    pub resource: String,
    pub fault: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    waiver: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rule: String,
    resource: String,
    evidence: String,
    owner: String,
    reason: String,
    ticket: String,
    granted: String,
    expires: String,
}

impl Waiver {
    /// Reads `[[waiver]]` tables, and refuses all if one of them is not whole.
    pub fn load(text: &str) -> Result<Vec<Waiver>, WaiverFault> {
        let file: File = toml::from_str(text).map_err(|e| WaiverFault {
            rule: "?".into(),
            resource: "?".into(),
            fault: format!("cannot be read: {e}"),
        })?;
        file.waiver.into_iter().map(Waiver::new).collect()
    }

    fn new(written: Written) -> Result<Waiver, WaiverFault> {
        let fault = |fault: String| WaiverFault { rule: written.rule.clone(), resource: written.resource.clone(), fault };
        for (name, text) in [("rule", &written.rule), ("owner", &written.owner), ("reason", &written.reason), ("ticket", &written.ticket)] {
            if text.trim().is_empty() {
                return Err(fault(format!("{name} is empty")));
            }
        }
        if written.resource.is_empty() || written.resource.contains(['*', '?']) {
            return Err(fault("resource must be one exact resource".into()));
        }
        if written.evidence.len() != 32 || !written.evidence.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(fault("evidence must be the fingerprint of the finding".into()));
        }
        let is_of_calendar = |seconds: &i64| (0..=LAST_S).contains(seconds);
        let day = |name: &str, text: &str| {
            date::parse_s(text).filter(is_of_calendar).ok_or_else(|| fault(format!("{name} is no date: write 2026-12-24")))
        };
        let (granted_s, expires_s) = (day("granted", &written.granted)?, day("expires", &written.expires)?);
        if expires_s <= granted_s {
            return Err(fault("expires before it is granted".into()));
        }
        if expires_s - granted_s > WAIVER_MAX_DAYS * DAY_S {
            return Err(fault(format!("lasts longer than {WAIVER_MAX_DAYS} days")));
        }
        Ok(Waiver {
            rule: written.rule,
            resource: written.resource,
            evidence: written.evidence,
            owner: written.owner,
            reason: written.reason,
            ticket: written.ticket,
            granted_s,
            expires_s,
        })
    }

    /// For a finding of the same rule and resource.
    pub fn standing(&self, evidence: &str, severity: Severity, now_s: i64) -> Standing {
        let max_days = if severity == Severity::Critical { WAIVER_MAX_DAYS_CRITICAL } else { WAIVER_MAX_DAYS };
        if self.expires_s - self.granted_s > max_days * DAY_S {
            Standing::TooLong { max_days }
        } else if self.evidence != evidence {
            Standing::EvidenceChanged
        } else if now_s < self.granted_s {
            Standing::NotYet
        } else if now_s >= self.expires_s {
            Standing::Expired
        } else {
            Standing::Live
        }
    }
}

impl Standing {
    pub fn phrase(self, waiver: &Waiver) -> String {
        let owner = &waiver.owner;
        match self {
            Standing::Live => format!("waived by {owner} until {}", date::show_day(waiver.expires_s)),
            Standing::NotYet => format!("the waiver of {owner} begins on {}", date::show_day(waiver.granted_s)),
            Standing::Expired => format!("the waiver of {owner} expired on {}", date::show_day(waiver.expires_s)),
            Standing::EvidenceChanged => format!("the waiver of {owner} is void: the evidence changed"),
            Standing::TooLong { max_days } => format!("the waiver of {owner} is void: it lasts longer than {max_days} days"),
        }
    }
}

/// When each waiver ends, the next first. Negative: days since it ended.
pub fn schedule(waivers: &[Waiver], now_s: i64) -> Vec<(i64, &Waiver)> {
    let mut found: Vec<(i64, &Waiver)> = waivers.iter().map(|w| ((w.expires_s - now_s).div_euclid(DAY_S), w)).collect();
    found.sort_by(|a, b| (a.1.expires_s, &a.1.rule, &a.1.resource).cmp(&(b.1.expires_s, &b.1.rule, &b.1.resource)));
    found
}

/// An emergency: what some rules of level `deny` object to is lifted for hours, with a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BreakGlass {
    pub owner: String,
    pub reason: String,
    pub rules: Vec<String>,
    /// The fingerprints of what it lifts: what is exposed otherwise, or by another service, is denied as ever.
    pub evidence: Vec<String>,
    pub opened_s: i64,
    pub expires_s: i64,
}

impl BreakGlass {
    /// Refuses one without owner, reason or rules, and one that lasts longer than four hours.
    pub fn open(owner: &str, reason: &str, lifted: &[(&str, &str)], opened_s: i64, lasts_s: i64) -> Result<BreakGlass, String> {
        if owner.trim().is_empty() || reason.trim().is_empty() {
            return Err("break-glass needs an owner and a reason".into());
        }
        if lifted.is_empty() || lifted.iter().any(|(rule, _)| rule.contains('*')) {
            return Err("break-glass needs the exact rules that it lifts".into());
        }
        if !(1..=BREAK_GLASS_MAX_S).contains(&lasts_s) {
            return Err(format!("break-glass lasts at most {} hours", BREAK_GLASS_MAX_S / 3600));
        }
        let mut rules: Vec<String> = lifted.iter().map(|(rule, _)| (*rule).to_string()).collect();
        rules.sort();
        rules.dedup();
        let evidence = lifted.iter().map(|(_, fingerprint)| (*fingerprint).to_string()).collect();
        Ok(BreakGlass { owner: owner.into(), reason: reason.into(), rules, evidence, opened_s, expires_s: opened_s + lasts_s })
    }

    pub fn lifts(&self, fingerprint: &str, now_s: i64) -> bool {
        (self.opened_s..self.expires_s).contains(&now_s) && self.evidence.iter().any(|one| one == fingerprint)
    }
}
