//! Comparisons of attributes, in three values. An attribute that is missing is unknown; one that is `null` is known to be nothing.

use crate::judgement::{Judgement, Verdict};
use crate::ternary::Tri;
use crate::verdict::Resource;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is known of one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// `s3_bucket`, `service`, `image`.
    pub kind: String,
    pub id: String,
    pub attributes: BTreeMap<String, Value>,
}

impl Facts {
    /// The facts of a judged resource. An unknown verdict is a missing one.
    pub fn of_judgement(resource: &Resource, judgement: &Judgement) -> Facts {
        let mut attributes = BTreeMap::from([
            ("cross_account".to_string(), json!(judgement.cross_account)),
            ("statements".to_string(), Value::Array(judgement.ways.iter().map(|w| w.statement.clone()).collect())),
        ]);
        for (name, verdict) in [("verdict", judgement.verdict), ("documented", judgement.documented), ("effective", judgement.effective)] {
            if verdict != Verdict::Unknown {
                attributes.insert(name.into(), json!(verdict));
            }
        }
        Facts { kind: resource.kind().into(), id: resource.id(), attributes }
    }
}

/// What a rule says of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The rule is not about this resource.
    DoesNotApply,
    Passes,
    Violated,
    /// An attribute is missing, or is not of the kind that the rule compares. A gate denies it.
    CannotTell,
}

/// One attribute, by its place in the rule set's table, and what it must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    pub slot: usize,
    pub compare: Compare,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Compare {
    Is(Value),
    IsNot(Value),
    OneOf(Vec<Value>),
    NoneOf(Vec<Value>),
    AtMost(f64),
    AtLeast(f64),
    /// Another attribute of the same resource.
    AtMostAttribute(usize),
    /// A list that holds the value.
    Contains(Value),
    /// A list that holds none of the values.
    Lacks(Vec<Value>),
    /// A list, text or null with nothing in it.
    IsEmpty(bool),
}

/// The attributes of one resource, at the places of the rule set's table.
pub(super) type Slots<'a> = [Option<&'a Value>];

impl Test {
    pub(super) fn holds(&self, slots: &Slots) -> Tri {
        let Some(value) = slots[self.slot] else { return Tri::Unknown };
        match &self.compare {
            Compare::Is(wanted) => (value == wanted).into(),
            Compare::IsNot(wanted) => (value != wanted).into(),
            Compare::OneOf(wanted) => wanted.contains(value).into(),
            Compare::NoneOf(wanted) => (!wanted.contains(value)).into(),
            Compare::AtMost(bound) => Tri::of(value.as_f64().map(|n| n <= *bound)),
            Compare::AtLeast(bound) => Tri::of(value.as_f64().map(|n| n >= *bound)),
            Compare::AtMostAttribute(other) => {
                let bound = slots[*other].and_then(Value::as_f64);
                Tri::of(value.as_f64().zip(bound).map(|(n, bound)| n <= bound))
            }
            Compare::Contains(wanted) => Tri::of(value.as_array().map(|items| items.contains(wanted))),
            Compare::Lacks(unwanted) => Tri::of(value.as_array().map(|items| !items.iter().any(|i| unwanted.contains(i)))),
            Compare::IsEmpty(wanted) => Tri::of(emptiness(value).map(|empty| empty == *wanted)),
        }
    }

    /// Every place that the test reads.
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> {
        let other = match self.compare {
            Compare::AtMostAttribute(other) => Some(other),
            _ => None,
        };
        std::iter::once(self.slot).chain(other)
    }
}

fn emptiness(value: &Value) -> Option<bool> {
    match value {
        Value::Null => Some(true),
        Value::Array(items) => Some(items.is_empty()),
        Value::String(text) => Some(text.is_empty()),
        _ => None,
    }
}

/// `when` says whether the rule applies; then each of `require` must hold, and one of `require_any`.
pub(super) fn outcome(when: &[Test], require: &[Test], require_any: &[Test], slots: &Slots) -> Outcome {
    let applies = Tri::all(when.iter().map(|t| t.holds(slots)));
    if applies == Tri::No {
        return Outcome::DoesNotApply;
    }
    let all = Tri::all(require.iter().map(|t| t.holds(slots)));
    let any = if require_any.is_empty() { Tri::Yes } else { Tri::any(require_any.iter().map(|t| t.holds(slots))) };
    match (applies, all.and(any)) {
        // What holds whether the rule applies or not needs no knowledge of whether it does.
        (_, Tri::Yes) => Outcome::Passes,
        (Tri::Yes, Tri::No) => Outcome::Violated,
        _ => Outcome::CannotTell,
    }
}
