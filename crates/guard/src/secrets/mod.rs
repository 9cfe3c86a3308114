//! Secrets in bytes, by the formats that their issuers publish.
//!
//! One pass of Aho-Corasick finds the fixed part of every format; only there does a regular expression look. Then come check digits and
//! placeholders. No guess by entropy alone: a finding is a token of a known issuer, or a private key.

mod checksum;
mod credential;
mod placeholder;
mod rule;
mod stream;

pub use credential::is_credential;
pub(crate) use placeholder::is_placeholder;
pub use rule::Rule;
pub use stream::Stream;

use crate::finding::fingerprint;
use crate::rule_file::RuleFault;
use aho_corasick::{AhoCorasick, MatchKind};
use serde::Serialize;
use serde_json::Value;

/// How far before a keyword a match may begin, and how far after it a match may end.
const WINDOW_BEFORE: usize = 128;
const WINDOW_AFTER: usize = 1536;

/// A secret that was found. It holds no part of the secret but the start that its issuer fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    pub rule: String,
    pub title: String,
    pub offset: usize,
    pub line: usize,
    /// "ghp_… (40 characters)".
    pub shown: String,
    pub fix: String,
    /// Of the rule and the secret, not of the place: the same secret is the same finding wherever it moves.
    pub fingerprint: String,
}

impl Leak {
    /// One that anybody makes with a tool, as tests and samples have them.
    pub(crate) fn has_no_issuer(&self) -> bool {
        matches!(self.rule.as_str(), "private-key" | "putty-private-key" | "openvpn-static-key" | "age-secret-key" | "json-web-token")
    }
}

pub struct Detector {
    rules: Vec<Rule>,
    keywords: AhoCorasick,
    /// The rule of each keyword.
    of_keyword: Vec<usize>,
}

impl Detector {
    /// The rules that come with Afresh.
    pub fn built_in() -> Result<Detector, RuleFault> {
        Detector::load(include_str!("rules.toml"))
    }

    /// Loads rules, and refuses them if one of them has no failing or no passing sample, or does not do on it what it says.
    pub fn load(text: &str) -> Result<Detector, RuleFault> {
        let rules = rule::parse(text)?;
        let mut of_keyword = Vec::new();
        let mut keywords = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            of_keyword.extend(rule.keywords.iter().map(|_| number));
            keywords.extend(&rule.keywords);
        }
        let keywords = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(keywords)
            .map_err(|e| RuleFault { rule: String::new(), fault: e.to_string() })?;
        let detector = Detector { rules, keywords, of_keyword };
        let faults: Vec<RuleFault> = detector.rules.iter().filter_map(|rule| detector.check_samples(rule).err()).collect();
        if let Some(first) = faults.first() {
            let others = faults[1..].iter().map(|f| format!("; {f}")).collect::<String>();
            return Err(RuleFault { rule: first.rule.clone(), fault: format!("{}{others}", first.fault) });
        }
        Ok(detector)
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn check_samples(&self, rule: &Rule) -> Result<(), RuleFault> {
        let fault = |fault: String| RuleFault { rule: rule.id.clone(), fault };
        let finds = |sample: &str| self.scan(sample.as_bytes()).iter().any(|leak| leak.rule == rule.id);
        if rule.fail.is_empty() || rule.pass.is_empty() {
            return Err(fault("needs a failing and a passing sample".into()));
        }
        for (number, sample) in rule.fail.iter().enumerate() {
            if !finds(sample) {
                return Err(fault(format!("does not find its failing sample {}", number + 1)));
            }
        }
        for (number, sample) in rule.pass.iter().enumerate() {
            if finds(sample) {
                return Err(fault(format!("finds its passing sample {}", number + 1)));
            }
        }
        Ok(())
    }

    /// Every secret in `bytes`, in order of place.
    pub fn scan(&self, bytes: &[u8]) -> Vec<Leak> {
        let (mut line, mut counted) = (1, 0);
        let leaks = self.spans(bytes).into_iter().map(|(start, end, number)| {
            line += lines(&bytes[counted..start]);
            counted = start;
            self.leak(&self.rules[number], &bytes[start..end], start, line)
        });
        leaks.collect()
    }

    /// Start, end and rule of every secret, in order of place.
    fn spans(&self, bytes: &[u8]) -> Vec<(usize, usize, usize)> {
        let mut spans: Vec<(usize, usize, usize)> = Vec::new();
        for hit in self.keywords.find_overlapping_iter(bytes) {
            let number = self.of_keyword[hit.pattern().as_usize()];
            // The same secret may hold several keywords.
            if spans.iter().rev().take(4).any(|(start, end, n)| *n == number && (*start..*end).contains(&hit.start())) {
                continue;
            }
            let from = hit.start().saturating_sub(WINDOW_BEFORE);
            let window = &bytes[from..bytes.len().min(hit.end() + WINDOW_AFTER)];
            let keyword = (hit.start() - from, hit.end() - from);
            if let Some((start, end)) = self.rules[number].find(window, keyword) {
                spans.push((from + start, from + end, number));
            }
        }
        spans.sort_unstable();
        spans.dedup_by_key(|(start, _, _)| *start);
        spans
    }

    fn leak(&self, rule: &Rule, secret: &[u8], offset: usize, line: usize) -> Leak {
        let text = String::from_utf8_lossy(secret);
        let fixed = rule.keywords.iter().find(|k| text.starts_with(k.as_str())).map_or("", String::as_str);
        Leak {
            rule: rule.id.clone(),
            title: rule.title.clone(),
            offset,
            line,
            shown: format!("{fixed}… ({} characters)", text.chars().count()),
            fix: rule.fix.clone(),
            fingerprint: fingerprint(&rule.id, "", &Value::String(text.into_owned())),
        }
    }
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'\n').count()
}
