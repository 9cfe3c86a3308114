//! The capacity guard: before a step that takes serving capacity away is begun, and again before it is declared, what remains
//! healthy and observed must cover the floor; and what is to be watched must be there. It refuses; it never decides what to do instead.

use crate::display::{describe, failure_suffix, servers};
use crate::observation::{Observation, declared};
use crate::plan::needed;
use model::{Direction, GroupName, Step};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct CapacityGuard<'a> {
    pub observation: Observation<'a>,
    pub direction: Direction,
    /// Healthy servers that must remain.
    pub floor: u32,
    /// So many servers carry the whole load: a weight of 100.
    pub full_count: u32,
    /// One-shot groups: they serve nobody.
    pub checks: BTreeSet<GroupName>,
}

impl CapacityGuard<'_> {
    /// Why the step must not be begun or declared now; None: it may.
    pub fn refuse(&self, step: &Step) -> Option<String> {
        let why = match step {
            Step::Scale { group, count } => self.scale(group, *count),
            Step::Shift { weights, .. } => self.shift(weights),
            Step::Retire { group } => self.retire(group),
            Step::Soak { group, .. } => self.shortfall(group),
            Step::Bake { .. } | Step::Check { .. } | Step::Drain { .. } => None,
        }?;
        Some(format!("{} must wait: {why}", describe(step)))
    }

    /// Customers reach a routed group by its weight alone; servers without a route work from the moment they are there.
    fn serves(&self, group: &GroupName) -> bool {
        !self.checks.contains(group) && (!self.observation.routed(group) || self.observation.weight(group) > 0)
    }

    fn healthy_beside(&self, group: &GroupName) -> u32 {
        let others = self.observation.seen.groups.keys().filter(|g| *g != group && self.serves(g));
        others.fold(0, |sum, g| sum.saturating_add(self.observation.sure_to_stay(g)))
    }

    fn scale(&self, group: &GroupName, count: u32) -> Option<String> {
        let tally = self.observation.tally(group);
        let shrinks = count < tally.exist || declared(self.observation.seen, group).is_some_and(|now| count < now);
        if !shrinks || !self.serves(group) {
            return None;
        }
        // While the new group is not whole, nothing is taken from the old one, even if the sum would do.
        let new = self.observation.to.map(|to| &to.group).filter(|to| self.direction == Direction::Forward && *to != group);
        if let Some(why) = new.and_then(|to| self.shortfall(to)) {
            return Some(why);
        }
        let worst = tally.worst(count);
        if self.observation.routed(group) {
            let weight = self.observation.weight(group);
            let need = needed(self.full_count, weight);
            if worst < need {
                return Some(format!(
                    "{weight} % of the customers go to {group}; that needs {need} healthy, and {worst} would be sure to remain"
                ));
            }
        }
        let remain = worst.saturating_add(self.healthy_beside(group));
        (remain < self.floor).then(|| format!("{remain} healthy would be sure to remain, and {} must", self.floor))
    }

    /// Watching a group that is not there would prove nothing.
    pub fn shortfall(&self, group: &GroupName) -> Option<String> {
        let (healthy, desired) = (self.observation.tally(group).healthy, declared(self.observation.seen, group).unwrap_or(0));
        let parks = self.direction == Direction::Forward && self.full_count == 0;
        (healthy < desired.max(u32::from(!parks)))
            .then(|| format!("{healthy} of {desired} of {group} are healthy{}", failure_suffix(self.observation.seen.groups.get(group))))
    }

    fn shift(&self, weights: &BTreeMap<GroupName, u32>) -> Option<String> {
        if weights.values().all(|w| *w == 0) {
            let serving = self.observation.seen.groups.keys().filter(|g| self.observation.routed(g) && self.observation.weight(g) > 0);
            let healthy = serving.fold(0, |sum: u32, g| sum.saturating_add(self.observation.tally(g).healthy));
            let alone = self.direction == Direction::Single && healthy > 0;
            return alone.then(|| format!("customers would be sent to nobody, and {} would serve them", servers(healthy)));
        }
        for (group, weight) in weights.iter().filter(|(g, w)| **w > self.observation.weight(g)) {
            let (healthy, need) = (self.observation.sure_to_stay(group), needed(self.full_count, *weight));
            if healthy < need {
                return Some(format!("{weight} % of the customers need {need} healthy in {group}, and {healthy} are"));
            }
        }
        None
    }

    fn retire(&self, group: &GroupName) -> Option<String> {
        if self.checks.contains(group) {
            return None;
        }
        let weight = self.observation.weight(group);
        if weight > 0 {
            return Some(format!("{weight} % of the customers are still sent to {group}"));
        }
        // The old group is the way back: it stays until the new one can do without it, even if nobody is sent to it any more.
        let is_rollback_target = self.direction == Direction::Forward && self.observation.from.is_some_and(|f| f.group == *group);
        let remain = if is_rollback_target {
            let to = &self.observation.to?.group;
            if let Some(why) = self.shortfall(to) {
                return Some(why);
            }
            self.observation.sure_to_stay(to)
        } else if self.serves(group) {
            self.healthy_beside(group)
        } else {
            return None;
        };
        (remain < self.floor).then(|| format!("{remain} healthy would remain, and {} must", self.floor))
    }
}
