//! The capacity guard: before a step that removes serving capacity begins, and again before it is declared, the servers that stay
//! healthy must cover the floor; and a group must be complete before it soaks. It refuses; it never decides what to do instead.

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
    /// This many servers carry the whole load: a weight of 100.
    pub full_count: u32,
    /// One-shot groups: they serve nobody.
    pub checks: BTreeSet<GroupName>,
}

impl CapacityGuard<'_> {
    /// Why the step must not begin or be declared now; None: it may.
    pub fn refuse(&self, step: &Step) -> Option<String> {
        let why = match step {
            Step::Scale { group, count } => self.scale(group, *count),
            Step::Shift { weights, .. } => self.shift(weights),
            Step::Retire { group } => self.retire(group),
            Step::Soak { group, .. } => self.shortfall(group),
            Step::Bake { .. } | Step::Check { .. } | Step::Migrate { .. } | Step::Drain { .. } => None,
        }?;
        Some(format!("{} must wait: {why}", describe(step)))
    }

    fn is_one_shot(&self, group: &GroupName) -> bool {
        self.checks.contains(group) || group.is_one_shot()
    }

    /// Traffic reaches a routed group by its weight alone; servers without a route serve from the moment they run.
    fn serves(&self, group: &GroupName) -> bool {
        !self.is_one_shot(group) && (!self.observation.routed(group) || self.observation.weight(group) > 0)
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
        // While the new group is incomplete, the old one is not scaled down, even if the sum would suffice.
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
                    "{weight} % of the traffic is routed to {group}: that needs {need} healthy, and only {worst} are sure to remain"
                ));
            }
        }
        let remain = worst.saturating_add(self.healthy_beside(group));
        (remain < self.floor).then(|| format!("only {remain} healthy are sure to remain; the floor is {}", self.floor))
    }

    /// Why the group is incomplete, if it is. Soaking a group without servers would prove nothing.
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
            return alone.then(|| format!("traffic would be routed to nobody while {} could serve it", servers(healthy)));
        }
        for (group, weight) in weights.iter().filter(|(g, w)| **w > self.observation.weight(g)) {
            let (healthy, need) = (self.observation.sure_to_stay(group), needed(self.full_count, *weight));
            if healthy < need {
                return Some(format!("{weight} % of the traffic needs {need} healthy in {group}; {healthy} are"));
            }
        }
        None
    }

    fn retire(&self, group: &GroupName) -> Option<String> {
        if self.is_one_shot(group) {
            return None;
        }
        let weight = self.observation.weight(group);
        if weight > 0 {
            return Some(format!("{weight} % of the traffic is still routed to {group}"));
        }
        // The old group is the rollback's target: it stays until the new one can carry the load, even if no traffic is routed to it.
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
        (remain < self.floor).then(|| format!("only {remain} healthy would remain; the floor is {}", self.floor))
    }
}
