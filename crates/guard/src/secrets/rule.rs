//! A rule of the secrets detector, as written in TOML.

use super::{checksum, placeholder};
use crate::rule_file::{RuleFault, read};
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

#[derive(Debug, Clone)]
pub struct Rule {
    pub id: String,
    pub title: String,
    /// The page on which the issuer documents the format.
    pub source: String,
    pub keywords: Vec<String>,
    pub fix: String,
    /// Samples that must be found, and samples that must not.
    pub fail: Vec<String>,
    pub pass: Vec<String>,
    pattern: Regex,
    check: Option<Check>,
    entropy_min: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Check {
    /// The last six characters are the CRC-32 of the others after the prefix, in base 62.
    #[serde(rename = "github_crc32")]
    GithubCrc32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    title: String,
    source: String,
    keywords: Vec<String>,
    pattern: String,
    fix: String,
    check: Option<Check>,
    entropy_min: Option<f64>,
    /// Each sample in pieces, so that no file holds what looks like a secret.
    #[serde(default)]
    fail: Vec<Vec<String>>,
    #[serde(default)]
    pass: Vec<Vec<String>>,
}

pub fn parse(text: &str) -> Result<Vec<Rule>, RuleFault> {
    read(text)?.into_iter().map(Rule::new).collect()
}

impl Rule {
    fn new(written: Written) -> Result<Rule, RuleFault> {
        let fault = |fault: String| RuleFault { rule: written.id.clone(), fault };
        if written.keywords.is_empty() || written.keywords.iter().any(|k| k.len() < 3) {
            return Err(fault("needs keywords of three characters or more: they are searched in every byte".into()));
        }
        let pattern = RegexBuilder::new(&written.pattern).unicode(false).build().map_err(|e| fault(format!("has a wrong pattern: {e}")))?;
        if pattern.captures_len() != 2 {
            return Err(fault("needs one group in its pattern: the secret".into()));
        }
        let joined = |samples: &[Vec<String>]| samples.iter().map(|pieces| pieces.concat()).collect();
        Ok(Rule {
            fail: joined(&written.fail),
            pass: joined(&written.pass),
            id: written.id,
            title: written.title,
            source: written.source,
            keywords: written.keywords,
            fix: written.fix,
            pattern,
            check: written.check,
            entropy_min: written.entropy_min,
        })
    }

    /// The secret whose match covers the keyword.
    pub(super) fn find(&self, window: &[u8], keyword: (usize, usize)) -> Option<(usize, usize)> {
        let found = self.pattern.captures_iter(window).find(|c| c.get(0).is_some_and(|m| m.end() >= keyword.1))?;
        let (whole, secret) = (found.get(0)?, found.get(1)?);
        let covers = whole.start() <= keyword.0;
        (covers && self.is_genuine(secret.as_bytes())).then_some((secret.start(), secret.end()))
    }

    fn is_genuine(&self, secret: &[u8]) -> bool {
        let checked = match self.check {
            Some(Check::GithubCrc32) => checksum::github_crc32(secret),
            None => true,
        };
        let body = self.keywords.iter().find_map(|k| secret.strip_prefix(k.as_bytes())).unwrap_or(secret);
        checked && !placeholder::is_placeholder(body) && self.entropy_min.is_none_or(|min| placeholder::entropy(secret) >= min)
    }
}
