//! Reads rules from TOML, and refuses one that does not do on its own samples what it says.

use super::expression::{Compare, Facts, Outcome, Slots, Test, outcome};
use crate::finding::Severity;
use crate::rule_file::{RuleFault, read};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a gate does about a rule that is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// Record it.
    Observe,
    /// Show it.
    Warn,
    /// Refuse, unless a waiver or a break-glass lifts it.
    Deny,
    /// Refuse. Nothing lifts it.
    Hard,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub id: String,
    pub title: String,
    pub severity: Severity,
    pub enforcement: Enforcement,
    /// Types of resources, as findings name them.
    pub resources: Vec<String>,
    /// With `{id}` and `{attribute}` to be filled in.
    pub why: String,
    pub fix: String,
    /// Attributes of resources that it refuses, and of resources that it lets pass.
    pub fail: Vec<BTreeMap<String, Value>>,
    pub pass: Vec<BTreeMap<String, Value>>,
    pub(super) when: Vec<Test>,
    pub(super) require: Vec<Test>,
    pub(super) require_any: Vec<Test>,
}

#[derive(Debug, Clone)]
pub struct RuleSet {
    pub rules: Vec<Rule>,
    /// Every attribute that some rule reads, sorted; tests name them by place.
    pub(super) attributes: Vec<String>,
    pub(super) of_kind: BTreeMap<String, Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    title: String,
    severity: WrittenSeverity,
    enforcement: Enforcement,
    resources: Vec<String>,
    why: String,
    fix: String,
    #[serde(default)]
    when: Vec<WrittenTest>,
    #[serde(default)]
    require: Vec<WrittenTest>,
    #[serde(default)]
    require_any: Vec<WrittenTest>,
    #[serde(default)]
    fail: Vec<BTreeMap<String, Value>>,
    #[serde(default)]
    pass: Vec<BTreeMap<String, Value>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum WrittenSeverity {
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTest {
    attribute: String,
    is: Option<Value>,
    is_not: Option<Value>,
    one_of: Option<Vec<Value>>,
    none_of: Option<Vec<Value>>,
    at_most: Option<f64>,
    at_least: Option<f64>,
    at_most_attribute: Option<String>,
    contains: Option<Value>,
    lacks: Option<Vec<Value>>,
    is_empty: Option<bool>,
}

/// A gate looks at every rule for every resource, and a rule at every test for every sample.
const RULES_MAX: usize = 500;
const PARTS_MAX: usize = 64;

/// The rules that come with Afresh, as they are written.
pub const BUILT_IN: &str = include_str!("built_in.toml");

impl RuleSet {
    pub fn built_in() -> Result<RuleSet, RuleFault> {
        RuleSet::load(BUILT_IN)
    }

    pub fn load(text: &str) -> Result<RuleSet, RuleFault> {
        let rules: Vec<Written> = read(text)?;
        for (number, rule) in rules.iter().enumerate() {
            let fault = |fault: String| RuleFault { rule: rule.id.clone(), fault };
            if number >= RULES_MAX {
                return Err(fault(format!("is one too many: {RULES_MAX} rules at most")));
            }
            let tests = rule.when.len() + rule.require.len() + rule.require_any.len();
            let of_samples = rule.fail.iter().chain(&rule.pass).map(BTreeMap::len).max().unwrap_or(0);
            if tests.max(rule.fail.len()).max(rule.pass.len()).max(of_samples) > PARTS_MAX {
                return Err(fault(format!("has more than {PARTS_MAX} tests, samples, or attributes in a sample")));
            }
        }
        let mut names = BTreeSet::new();
        for test in rules.iter().flat_map(|r| r.when.iter().chain(&r.require).chain(&r.require_any)) {
            names.insert(test.attribute.clone());
            names.extend(test.at_most_attribute.clone());
        }
        let attributes: Vec<String> = names.into_iter().collect();
        let mut set = RuleSet { rules: Vec::new(), attributes, of_kind: BTreeMap::new() };
        for written in rules {
            let rule = set.rule(&written)?;
            set.check(&rule, &written)?;
            for kind in &rule.resources {
                set.of_kind.entry(kind.clone()).or_default().push(set.rules.len());
            }
            set.rules.push(rule);
        }
        Ok(set)
    }

    fn rule(&self, written: &Written) -> Result<Rule, RuleFault> {
        let fault = |fault: String| RuleFault { rule: written.id.clone(), fault };
        if self.rules.iter().any(|r| r.id == written.id) {
            return Err(fault("is there twice".into()));
        }
        if written.require.is_empty() && written.require_any.is_empty() {
            return Err(fault("requires nothing".into()));
        }
        if written.resources.is_empty() {
            return Err(fault("names no type of resource".into()));
        }
        let tests = |list: &[WrittenTest]| list.iter().map(|t| self.test(t).map_err(fault)).collect::<Result<Vec<_>, _>>();
        Ok(Rule {
            id: written.id.clone(),
            title: written.title.clone(),
            severity: match written.severity {
                WrittenSeverity::Low => Severity::Low,
                WrittenSeverity::Medium => Severity::Medium,
                WrittenSeverity::High => Severity::High,
                WrittenSeverity::Critical => Severity::Critical,
            },
            enforcement: written.enforcement,
            resources: written.resources.clone(),
            why: written.why.clone(),
            fix: written.fix.clone(),
            fail: written.fail.clone(),
            pass: written.pass.clone(),
            when: tests(&written.when)?,
            require: tests(&written.require)?,
            require_any: tests(&written.require_any)?,
        })
    }

    fn test(&self, written: &WrittenTest) -> Result<Test, String> {
        let slot = |name: &String| self.attributes.binary_search(name).map_err(|_| format!("does not know the attribute {name:?}"));
        let compares = [
            written.is.clone().map(Compare::Is),
            written.is_not.clone().map(Compare::IsNot),
            written.one_of.clone().map(Compare::OneOf),
            written.none_of.clone().map(Compare::NoneOf),
            written.at_most.map(Compare::AtMost),
            written.at_least.map(Compare::AtLeast),
            written.at_most_attribute.as_ref().map(slot).transpose()?.map(Compare::AtMostAttribute),
            written.contains.clone().map(Compare::Contains),
            written.lacks.clone().map(Compare::Lacks),
            written.is_empty.map(Compare::IsEmpty),
        ];
        let mut given = compares.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(compare), None) => Ok(Test { slot: slot(&written.attribute)?, compare }),
            _ => Err(format!("needs exactly one comparison for the attribute {:?}", written.attribute)),
        }
    }

    /// Both samples are there; the failing one is violated, not merely unclear; the passing one passes; and it passes for no want of
    /// an attribute that it requires.
    fn check(&self, rule: &Rule, written: &Written) -> Result<(), RuleFault> {
        let fault = |fault: String| RuleFault { rule: rule.id.clone(), fault };
        if written.fail.is_empty() || written.pass.is_empty() {
            return Err(fault("needs a failing and a passing sample".into()));
        }
        let judge = |attributes: &BTreeMap<String, Value>| self.outcome(rule, attributes);
        for (number, sample) in written.fail.iter().enumerate() {
            let found = judge(sample);
            if found != Outcome::Violated {
                return Err(fault(format!("says {found:?} of its failing sample {}", number + 1)));
            }
        }
        for (number, sample) in written.pass.iter().enumerate() {
            let found = judge(sample);
            if found != Outcome::Passes {
                return Err(fault(format!("says {found:?} of its passing sample {}", number + 1)));
            }
        }
        let required = rule.require.iter().flat_map(Test::slots).map(|slot| &self.attributes[slot]);
        for name in required {
            let mut sample = written.pass[0].clone();
            sample.remove(name);
            if judge(&sample) == Outcome::Passes {
                return Err(fault(format!("passes without the attribute {name:?}")));
            }
        }
        Ok(())
    }

    /// What one rule says of a resource's attributes.
    pub fn outcome(&self, rule: &Rule, attributes: &BTreeMap<String, Value>) -> Outcome {
        let mut slots = vec![None; self.attributes.len()];
        self.fill(attributes, &mut slots);
        rule.outcome(&slots)
    }

    /// Puts attributes at their places. Both sides are sorted, so one walk does it.
    pub(super) fn fill<'a>(&self, attributes: &'a BTreeMap<String, Value>, slots: &mut [Option<&'a Value>]) {
        slots.fill(None);
        let mut slot = 0;
        for (name, value) in attributes {
            while slot < self.attributes.len() && self.attributes[slot] < *name {
                slot += 1;
            }
            if slot < self.attributes.len() && self.attributes[slot] == *name {
                slots[slot] = Some(value);
            }
        }
    }

    /// The attributes that a rule read, as evidence.
    pub(super) fn evidence(&self, rule: &Rule, facts: &Facts) -> Value {
        let read = rule.tests().flat_map(Test::slots).map(|slot| &self.attributes[slot]);
        let read: BTreeSet<&String> = read.collect();
        // What a verdict rests on belongs to it: another statement is another exposure.
        let also = facts.attributes.get_key_value("statements");
        let read = read.into_iter().filter(|name| !grows_by_itself(name));
        let found = read.filter_map(|name| facts.attributes.get_key_value(name)).chain(also);
        Value::Object(found.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Attributes that the rule reads and the resource lacks.
    pub(super) fn missing(&self, rule: &Rule, facts: &Facts) -> Vec<String> {
        let read: BTreeSet<usize> = rule.tests().flat_map(Test::slots).collect();
        read.into_iter().map(|slot| self.attributes[slot].clone()).filter(|name| !facts.attributes.contains_key(name)).collect()
    }
}

/// An age is another at every look, and no other exposure.
fn grows_by_itself(attribute: &str) -> bool {
    attribute.ends_with("_age_s") && !attribute.ends_with("_max_age_s")
}

impl Rule {
    pub(super) fn outcome(&self, slots: &Slots) -> Outcome {
        outcome(&self.when, &self.require, &self.require_any, slots)
    }

    fn tests(&self) -> impl Iterator<Item = &Test> {
        self.when.iter().chain(&self.require).chain(&self.require_any)
    }
}
