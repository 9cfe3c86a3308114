//! Judges reasons: why a rotation rolled back, was stopped, or ended a soak, by the state of the world and by its own clock. It
//! shares no code with the engine.

use crate::oracle_state::ReasonState;
use crate::scenario::{Kind, TICK_MS};
use crate::world::World;
use model::{Direction, Event, GroupName, GroupRelease, RotationCommand, Step, Verdict};

/// The difference of two clocks, and the time between reading one and writing the line.
const SLACK_MS: u64 = rotation::CLOCKS_APART_MS + 2 * TICK_MS;
/// This long after the last fault, drivers are awake again and hold the lease.
const AWAKE_MS: u64 = 150 * TICK_MS;

impl World {
    /// A fence is never given twice, even where the journal was lost.
    pub fn judge_fence(&mut self, fence: model::Fence) {
        let repeated = self.scenario.lost.is_some_and(|lost| lost.fence < 1_000_000 && fence.0 <= lost.fence);
        if repeated {
            self.fail(|| format!("the fence {} was given before, by a control plane whose journal is lost", fence.0));
        }
        if fence.0 <= self.oracle.newest_fence {
            self.fail(|| format!("the fence {} was given before", fence.0));
        }
        self.oracle.newest_fence = fence.0;
    }

    fn running(&self) -> Option<&Step> {
        self.oracle.plan.steps.get(self.oracle.reasons.cursor).map(|s| &s.step)
    }

    fn limit_ms(&self) -> Option<u64> {
        let within = self.oracle.within;
        match self.running()? {
            Step::Bake { .. } | Step::Scale { .. } | Step::Shift { .. } => Some(within),
            Step::Check { within_ms, .. } => Some(*within_ms),
            Step::Migrate { within_ms, .. } => Some(within_ms + within),
            Step::Soak { for_ms, .. } => Some(for_ms + within),
            Step::Drain { .. } | Step::Retire { .. } => None,
        }
    }

    /// By the state of the world now: more requests failed since the mark than the step allows, or a server died.
    fn gate_fails(&self) -> bool {
        let (Some(Step::Soak { group, errors_ppm, min_requests, .. }), Some(mark)) = (self.running(), self.oracle.reasons.mark) else {
            return false;
        };
        let died = self.keeper.groups.get(group).map_or(0, |g| g.deaths);
        if mark.deaths.is_some_and(|before| died > before) {
            return true;
        }
        let routed = self.routed.get(self.keeper.groups.get(group).map_or(0, |g| usize::try_from(g.release).unwrap_or(0))) == Some(&true);
        let flow = self.balancer.flows.get(group).cloned().unwrap_or_default();
        let old = if self.balancer.epoch == mark.epoch { (mark.requests, mark.errors) } else { (0, 0) };
        let (requests, errors) = (flow.requests.saturating_sub(old.0), flow.errors.saturating_sub(old.1));
        routed && errors * 1_000_000 > u64::from(*errors_ppm) * requests.max(*min_requests)
    }

    /// Each tick: records what could be a reason, and reports a step that should have been given up.
    pub fn judge_lateness(&mut self) {
        let noisy = self.noisy;
        if noisy {
            self.oracle.reasons.quiet_at = self.now;
        }
        if self.oracle.closed.is_some() || self.oracle.to.is_none() {
            return;
        }
        if self.gate_fails() {
            self.oracle.reasons.soak_failed = true;
        }
        if let (Some(Step::Scale { group, count }), Some(to)) = (self.running(), &self.oracle.to)
            && *group == to.group
            && self.keeper.groups.get(group).is_some_and(|g| g.deaths >= count + 3 && g.healthy() == 0)
        {
            self.oracle.reasons.crash_loop = true;
        }
        if self.keeper.groups.values().any(|g| g.once && g.failed()) {
            self.oracle.reasons.check_failed = true;
        }
        let p = &self.oracle.reasons;
        let awake = (p.quiet_at + AWAKE_MS).max(p.resumed_at);
        let forward = self.oracle.plan.direction == Direction::Forward && !p.paused && !p.old_is_retiring;
        let watched = matches!(self.running(), Some(step) if !matches!(step, Step::Drain { .. } | Step::Retire { .. }));
        let (since, limit) = match p.first_at {
            Some(first) => (first, self.limit_ms()),
            None => (p.moved_at, Some(self.oracle.within)),
        };
        let late = limit.is_some_and(|limit| self.now > since.max(awake) + limit + AWAKE_MS);
        if !noisy && forward && watched && late {
            let step = p.cursor;
            self.fail(|| format!("no driver gives up step {step}, although it timed out"));
        }
    }

    /// Whether a line has a reason, judged before it is accepted. `fresh`: its writer has just observed the world.
    pub fn judge_reason(&mut self, event: &Event, decided: u64, fresh: bool) -> Option<String> {
        let single = self.oracle.plan.direction == Direction::Single;
        let strange = self.scenario.lost.is_some() || self.restored;
        let bad = match event {
            Event::PlanReplaced { why, .. } if self.oracle.plan.direction == Direction::Forward && !strange => self.no_reason(why, decided),
            Event::StepSatisfied { .. } if fresh && !single && self.gate_fails() => {
                Some("a soak is satisfied although its gate failed".to_string())
            }
            Event::StepSatisfied { .. } if fresh && self.now < self.balancer.trouble_until => match self.running() {
                Some(Step::Shift { weights, .. }) if !weights.is_empty() => {
                    Some("a shift is satisfied although the listener is not open".to_string())
                }
                _ => None,
            },
            Event::Closed { verdict: Verdict::Stopped, why, final_inventory } if !single && !strange => {
                let p = &self.oracle.reasons;
                let whole =
                    p.cursor >= self.oracle.plan.steps.len() && decided + SLACK_MS >= p.moved_at.max(p.resumed_at) + self.oracle.within;
                let blind = final_inventory.healthy.is_empty() && final_inventory.weights.is_empty();
                if !p.stop_requested && !whole {
                    Some(format!("it is stopped without a reason: {why}"))
                } else if fresh && !blind {
                    self.wrong_active(final_inventory.active.as_ref())
                } else {
                    None
                }
            }
            _ => None,
        };
        self.remember_line(event, decided);
        bad
    }

    /// A forward plan is given up only for a reason that is true, and not before its deadline.
    fn no_reason(&self, why: &str, decided: u64) -> Option<String> {
        let p = &self.oracle.reasons;
        let (since, limit) = match p.first_at {
            Some(first) => (first, self.limit_ms()),
            None => (p.moved_at, Some(self.oracle.within)),
        };
        let waited = limit.is_some_and(|limit| decided + SLACK_MS >= since.max(p.resumed_at) + limit);
        // A pause does not hold a soak: it changes nothing.
        let waited = waited && (!p.paused || matches!(self.running(), Some(Step::Soak { .. })));
        let reason = p.rollback_requested
            || p.soak_failed
            || p.crash_loop
            || p.check_failed
            || self.refused.is_some()
            || waited
            || self.gate_fails();
        (!reason).then(|| format!("it rolls back without a reason: {why}"))
    }

    /// Stopped halfway, the release with more of the traffic is active.
    fn wrong_active(&self, active: Option<&GroupRelease>) -> Option<String> {
        let (p, o) = (&self.oracle.reasons, &self.oracle);
        let (from, to) = (o.from.as_ref().filter(|_| !p.from_gone), o.to.as_ref()?);
        let weight = |g: &GroupName| self.balancer.weight(g);
        let expected = match from {
            Some(_) if p.old_is_retiring => to,
            Some(from) if weight(&from.group) > weight(&to.group) => from,
            _ if weight(&to.group) > from.map_or(0, |f| weight(&f.group)) => to,
            _ => return None,
        };
        (active.map(|s| &s.group) != Some(&expected.group)).then(|| {
            format!("{} has most of the traffic, and {:?} is recorded as active", expected.group, active.map(|s| s.group.as_str()))
        })
    }

    /// After a stop, the group that is recorded as active must exist, if any group with traffic does.
    pub fn judge_stopped(&mut self, active: Option<&GroupRelease>) {
        let there = |g: &GroupName| self.keeper.groups.get(g).is_some_and(|g| g.desired.is_some());
        let weights = &self.balancer.weights;
        if let Some(active) = active
            && !there(&active.group)
            && weights.keys().any(there)
        {
            let name = active.group.clone();
            self.fail(|| format!("it is stopped, and {name}, which does not exist, is recorded as active"));
        }
    }

    pub fn remember_line(&mut self, event: &Event, decided: u64) {
        let step = match event {
            Event::StepStarted { step, .. } => self.oracle.plan.steps.get(*step as usize).map(|s| s.step.clone()),
            _ => None,
        };
        let from = match event {
            Event::Opened(opened) => opened.from.as_ref(),
            _ => self.oracle.from.as_ref(),
        };
        let from_gone = from.is_some_and(|f| self.keeper.groups.get(&f.group).is_none_or(|g| g.desired.is_none()));
        let retires = matches!((&step, from), (Some(Step::Retire { group }), Some(from)) if *group == from.group);
        let p = &mut self.oracle.reasons;
        match event {
            Event::Opened(_) => *p = ReasonState { moved_at: decided, from_gone, quiet_at: p.quiet_at, ..ReasonState::default() },
            Event::StepStarted { mark, .. } => {
                p.first_at.get_or_insert(decided);
                p.old_is_retiring |= retires;
                p.mark = *mark;
            }
            Event::StepSatisfied { .. } => {
                (p.first_at, p.mark, p.soak_failed, p.moved_at) = (None, None, false, decided);
                p.cursor += 1;
            }
            Event::PlanReplaced { .. } => {
                (p.first_at, p.mark, p.soak_failed, p.moved_at, p.cursor, p.paused) = (None, None, false, decided, 0, false);
            }
            Event::CommandTaken(issued) => match issued.command {
                RotationCommand::Pause => p.paused = true,
                RotationCommand::Resume => (p.paused, p.resumed_at, p.moved_at) = (false, decided, decided),
                RotationCommand::Rollback => p.rollback_requested = true,
                RotationCommand::Stop => p.stop_requested = true,
            },
            Event::MigrationEnded { .. } | Event::Closed { .. } => {}
        }
    }

    /// In a calm world a permanent refusal rolls the rotation back at once.
    pub fn judge_refused(&mut self, kind: Kind, opened: u64) {
        let Some(at) = self.refused.filter(|_| self.scenario.calm && kind == Kind::Refused) else { return };
        let rolling_back_since = self.oracle.rolling_back_since();
        if rolling_back_since.is_none_or(|rolling_back_since| rolling_back_since > at + 3 * TICK_MS) {
            self.fail(|| {
                format!("refused permanently at {} s of {} s, it rolled back at {rolling_back_since:?}", at / TICK_MS, opened / TICK_MS)
            });
        }
    }
}
