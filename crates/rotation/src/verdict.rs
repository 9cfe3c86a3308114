//! Closes a rotation: takes the final inventory, and derives the verdict from it, never from the absence of errors.

use crate::decide::Decision;
use crate::display::display_weights;
use crate::state::Rotation;
use model::{DesiredSeen, Direction, Event, FinalInventory, GroupName, GroupRelease, Step, Time, Verdict, View};
use std::collections::BTreeMap;

impl Rotation {
    /// Every step is satisfied. One view must also show the intended result complete; until then it waits, within a limit.
    pub(crate) fn finish(&self, seen: &View, now: Time) -> Decision {
        let (verdict, missing) = match self.plan.direction {
            Direction::Single => (Verdict::Promoted, None),
            Direction::Forward => (Verdict::Promoted, self.missing(seen, Some(&self.opened.to), self.opened.spec.count)),
            Direction::Back => (Verdict::RolledBack, self.missing(seen, self.rollback_target(), self.restored_count())),
        };
        // A rollback also ends with fewer servers than the full count, when no more became healthy within a step's time.
        let patient = self.plan.carry.is_none() && now.since(self.moved_at) < self.opened.spec.rollout.within_ms;
        let short = (self.plan.direction == Direction::Back && !patient)
            .then(|| self.missing_with(seen, self.rollback_target(), self.restored_count(), 1));
        if let (Some(what), Some(None)) = (&missing, short) {
            let reason = self.rollback_reason.clone().unwrap_or_default();
            return Decision::Record(self.close(seen, verdict, format!("{reason}; {what}")));
        }
        let Some(missing) = missing else {
            let why = match (verdict, &self.rollback_reason) {
                (Verdict::RolledBack, Some(reason)) => reason.clone(),
                _ if self.plan.direction == Direction::Single => self.notes.last().cloned().unwrap_or_default(),
                _ if self.opened.spec.count == 0 => {
                    format!("{} is active with no server: it is parked and serves nothing", self.opened.to.release.label())
                }
                (Verdict::RolledBack, None) if self.opened.from.is_none() => {
                    format!("{} is removed: its servers are retired", self.opened.to.release.service)
                }
                _ => format!("{} is active, alone and complete", self.opened.to.release.label()),
            };
            return Decision::Record(self.close(seen, verdict, why));
        };
        let until = self.moved_at.plus(self.opened.spec.rollout.within_ms);
        if now < until {
            return Decision::Wait { why: format!("every step is satisfied, but {missing}"), until: Some(until) };
        }
        Decision::Record(self.close(seen, Verdict::Stopped, format!("every step was satisfied, but {missing}")))
    }

    /// What is missing until this release is active, alone and complete; None: nothing.
    fn missing(&self, seen: &View, alone: Option<&GroupRelease>, count: u32) -> Option<String> {
        self.missing_with(seen, alone, count, count)
    }

    /// As [`Self::missing`], but `healthy` healthy servers suffice.
    fn missing_with(&self, seen: &View, alone: Option<&GroupRelease>, count: u32, healthy: u32) -> Option<String> {
        for group in self.groups() {
            let gone = seen.groups.get(&group).is_none_or(|g| g.instances.is_empty() && !matches!(g.desired, DesiredSeen::Run { .. }));
            if alone.is_none_or(|s| s.group != group) && !gone && !self.not_ours(&group) {
                return Some(format!("{group} still exists"));
            }
        }
        let mut weights = BTreeMap::new();
        if let Some(active) = alone {
            let declared = seen.groups.get(&active.group).is_some_and(|g| matches!(g.desired, DesiredSeen::Run { .. }));
            if !declared {
                return Some(format!("{} is not declared to run", active.group));
            }
            let tally = self.observation(seen).tally(&active.group);
            if tally.healthy < healthy || tally.exist > count {
                return Some(format!("{} of {count} of {} are healthy, {} exist", tally.healthy, active.group, tally.exist));
            }
            if active.release.route.is_some() && count > 0 {
                weights.insert(active.group.clone(), 100);
            }
        }
        let route = seen.route.as_ref().filter(|r| !r.weights.iter().filter(|(_, w)| **w > 0).eq(weights.iter()));
        route.map(|r| format!("the balancer routes traffic to {}", display_weights(&r.weights)))
    }

    pub(crate) fn close(&self, seen: &View, verdict: Verdict, why: String) -> Event {
        let active = match verdict {
            _ if self.plan.direction == Direction::Single => self.opened.from.clone(),
            Verdict::Promoted => Some(self.opened.to.clone()),
            Verdict::RolledBack => self.rollback_target().cloned(),
            Verdict::Stopped => self.active_when_stopped(seen),
        };
        let final_inventory = FinalInventory { direction: self.plan.direction, active, ..self.final_inventory(seen) };
        Event::Closed { verdict, why, final_inventory }
    }

    fn final_inventory(&self, seen: &View) -> FinalInventory {
        let there = |g: &&model::GroupSeen| !g.instances.is_empty() || matches!(g.desired, DesiredSeen::Run { .. });
        let groups = seen.groups.values().filter(there);
        let healthy = groups.map(|g| (g.group.clone(), self.observation(seen).tally(&g.group).healthy)).collect();
        let weights = seen.route.as_ref().map_or_else(BTreeMap::new, |r| r.weights.clone());
        FinalInventory { direction: self.plan.direction, healthy, weights, active: None }
    }

    /// The step at the cursor, or one before it, retires the group: its declaration may be in flight, whatever is still observed.
    fn retires(&self, group: &GroupName) -> bool {
        let begun = self.cursor as usize + usize::from(self.started.is_some());
        self.plan.steps.iter().take(begun).any(|s| matches!(&s.step, Step::Retire { group: gone } if gone == group))
    }

    /// Stopped halfway: the release with more of the traffic is active, then the one with more healthy servers, then the old one.
    /// If nothing could be observed, the journal's last knowledge decides.
    fn active_when_stopped(&self, seen: &View) -> Option<GroupRelease> {
        let (observation, new) = (self.observation(seen), &self.opened.to);
        // A group that is observed to be gone serves nobody, also where the journal is an older copy that does not know it.
        let gone = |s: &GroupRelease| seen.groups.get(&s.group).is_some_and(|g| g.desired == DesiredSeen::Gone);
        let target = self.rollback_target().filter(|old| !gone(old));
        if self.not_ours(&new.group) || self.retires(&new.group) {
            return target.cloned();
        }
        let rank = |s: &GroupRelease| {
            if seen.groups.is_empty() {
                let complete = s.group != new.group || self.proven;
                (self.weights.get(&s.group).copied().unwrap_or(0), u32::from(complete))
            } else {
                (observation.weight(&s.group), observation.tally(&s.group).healthy)
            }
        };
        match target {
            Some(old) if !self.old_is_retiring && rank(old) >= rank(new) => Some(old.clone()),
            _ if self.rollback_target().is_some() && !gone(new) => Some(new.clone()),
            _ => (rank(new) > (0, 0)).then(|| new.clone()),
        }
    }
}
