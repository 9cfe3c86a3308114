//! A rotation's state is the fold of its journal and nothing else. Nothing here observes the world.
//!
//! ```text
//!            ┌───────────────── StepSatisfied (cursor + 1) ─────────────────┐
//!            ▼                                                              │
//! Opened ─▶ idle ── StepStarted ─▶ running ── StepStarted (adopted, or a soak restarted) ─▶ running
//!            │                        │
//!            ├──── PlanReplaced (back, cursor 0; once at most) ◀────────────┤
//!            └──── Closed ◀─────────────────────────────────────────────────┘
//!  MigrationEnded may come anywhere before Closed, once for each group of a migration of the new release.
//!  CommandTaken may come anywhere before Closed: it sets a flag that `decide` obeys.
//! ```

use model::{
    Digest, Direction, Event, EventLine, Exit, Failure, Fault, Fence, FinalInventory, GroupName, GroupRelease, IssuedCommand, Opened, Plan,
    PlannedStep, RotationCommand, RotationId, RouteName, Stamp, Steady, Step, Time, TrafficMark, Verdict, View,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    pub id: RotationId,
    pub opened: Opened,
    pub opened_at: Time,
    /// The current plan.
    pub plan: Plan,
    /// Steps of the current plan before this one are satisfied.
    pub cursor: u32,
    pub started: Option<Started>,
    pub paused: bool,
    /// The number of the last command that was taken.
    pub commands_taken: u64,
    /// Why the plan was replaced, and which commands were refused; oldest first.
    pub remarks: Vec<String>,
    pub closed: Option<Closed>,
    /// Lines folded so far; the seq of the next one.
    pub len: u64,
    /// What was observed when each step before the cursor was satisfied.
    pub notes: Vec<String>,
    /// Since when only the next step is waited for: the cursor moved, or a pause was lifted.
    pub moved_at: Time,
    /// When a pause was last lifted: paused time does not count against a deadline.
    pub resumed_at: Option<Time>,
    /// The fence of the newest line.
    pub fence: Fence,
    /// The newest stamp that was observed on each group and on the route. A view that shows an older one is stale.
    pub group_stamps: BTreeMap<GroupName, Stamp>,
    pub route_stamp: Option<Stamp>,
    /// Groups that some step was started on: a declaration of them may be in flight.
    pub touched: BTreeSet<GroupName>,
    pub route_touched: bool,
    /// The weights after the last satisfied shift.
    pub weights: BTreeMap<GroupName, u32>,
    /// How migrations of the new release ended: this rotation's, and one that an earlier rotation left.
    pub migration_ends: BTreeMap<GroupName, Exit>,
    /// One of them succeeded.
    pub is_migrated: bool,
    /// The new group was complete once.
    pub proven: bool,
    /// The old group has begun to retire: a rollback is no longer possible.
    pub old_is_retiring: bool,
    /// Why it rolls back, if it does.
    pub rollback_reason: Option<String>,
    /// Why servers of the new release failed when the rollback began.
    pub failure: Option<Failure>,
    /// Since when it rolls back.
    pub rolling_back_since: Option<Time>,
    /// The rollback took longer than a step may take, and a line records what was missing then.
    pub(crate) overdue_recorded: bool,
    /// Who requested a rollback, until the plan is replaced.
    pub rollback_requested_by: Option<String>,
    /// Who requested a stop.
    pub stop_requested_by: Option<String>,
    /// A time of this journal and the same moment by a clock that is never set, from the newest line that has both. A later driver on
    /// that clock continues the time of this journal with it, whatever was done to the wall clock.
    pub(crate) clock: Option<(Time, Steady)>,
    pub(crate) digests: Digests,
}

/// [`model::Release::digest`] of the old and the new release.
pub(crate) type Digests = [Option<Digest>; 2];

/// The step at the cursor has started.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// Survives adoption by a later driver: deadlines count from here.
    pub first_at: Time,
    /// What a soak or a drain is counted from: `first_at`, or when the counters were reset.
    pub since: Time,
    /// By the clock of the driver that holds the step now. Waits accept only later views.
    pub last_at: Time,
    /// `since` and `last_at` are by two clocks.
    pub adopted: bool,
    pub stamp: Stamp,
    pub mark: Option<TrafficMark>,
    /// `last_at` by a clock that is never set.
    pub clock: Option<Steady>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    pub at: Time,
    pub verdict: Verdict,
    pub why: String,
    pub final_inventory: FinalInventory,
}

fn bad(line: &EventLine, why: &str) -> Fault {
    Fault::ours("bad-journal", format!("{} line {}: {why}", line.rotation, line.seq))
        .hint("the journal was written by another version or edited; show it: `afresh events`")
}

impl Rotation {
    /// From line 0. Never panics: an invalid journal is an error that names the line.
    pub fn fold(lines: &[EventLine]) -> Result<Rotation, Fault> {
        Self::fold_with(lines, None)
    }

    /// As [`Self::fold`]. `digests` are those of an earlier fold of the same journal: its releases never change.
    pub(crate) fn fold_with(lines: &[EventLine], digests: Option<Digests>) -> Result<Rotation, Fault> {
        let Some((first, rest)) = lines.split_first() else {
            return Err(Fault::ours("bad-journal", "the journal is empty: a rotation begins with its `opened` line"));
        };
        let mut rotation = Self::open(first, digests)?;
        for line in rest {
            rotation.apply(line)?;
        }
        Ok(rotation)
    }

    fn open(line: &EventLine, digests: Option<Digests>) -> Result<Rotation, Fault> {
        let Event::Opened(opened) = &line.event else { return Err(bad(line, "a journal begins with `opened`")) };
        if line.seq != 0 {
            return Err(bad(line, "a journal begins with line 0"));
        }
        if opened.spec.name != line.rotation.service() {
            return Err(bad(line, "the rotation belongs to another service"));
        }
        if opened.from.as_ref().is_some_and(|from| from.group == opened.to.group) && opened.plan.direction != Direction::Single {
            return Err(bad(line, "the old and the new group are the same"));
        }
        Ok(Rotation {
            id: line.rotation.clone(),
            opened_at: line.at,
            plan: opened.plan.clone(),
            opened: opened.clone(),
            cursor: 0,
            started: None,
            paused: false,
            commands_taken: 0,
            remarks: Vec::new(),
            closed: None,
            len: 1,
            notes: Vec::new(),
            moved_at: line.at,
            resumed_at: None,
            fence: line.fence,
            group_stamps: BTreeMap::new(),
            route_stamp: None,
            touched: BTreeSet::new(),
            route_touched: false,
            weights: BTreeMap::new(),
            migration_ends: BTreeMap::new(),
            is_migrated: false,
            proven: false,
            old_is_retiring: false,
            rollback_reason: None,
            failure: None,
            rolling_back_since: None,
            overdue_recorded: false,
            rollback_requested_by: None,
            stop_requested_by: None,
            clock: None,
            digests: digests.unwrap_or_else(|| [opened.from.as_ref().map(|f| f.release.digest()), Some(opened.to.release.digest())]),
        })
    }

    /// Applies the next line. An error changes nothing.
    pub fn apply(&mut self, line: &EventLine) -> Result<(), Fault> {
        if line.rotation != self.id {
            return Err(bad(line, &format!("it is in the journal of {}", self.id)));
        }
        if line.seq != self.len {
            return Err(bad(line, &format!("line {} was expected", self.len)));
        }
        if self.closed.is_some() {
            return Err(bad(line, "nothing may follow `closed`"));
        }
        if line.fence < self.fence {
            return Err(bad(line, &format!("fence {} after fence {}", line.fence.0, self.fence.0)));
        }
        match &line.event {
            Event::Opened(_) => return Err(bad(line, "`opened` a second time")),
            Event::StepStarted { step, stamp, mark, clock } => self.step_started(line, *step, *stamp, *mark, *clock)?,
            Event::StepSatisfied { step, seen } => self.step_satisfied(line, *step, seen)?,
            Event::MigrationEnded { group, release, exit } => self.migration_ended(line, group, release, exit)?,
            Event::PlanReplaced { why, plan, failure } => self.plan_replaced(line, why, plan, failure.as_ref())?,
            Event::CommandTaken(issued) => self.command_taken(line, issued)?,
            Event::Closed { verdict, why, final_inventory } => {
                self.closed = Some(Closed { at: line.at, verdict: *verdict, why: why.clone(), final_inventory: final_inventory.clone() });
            }
        }
        self.len += 1;
        self.fence = line.fence;
        Ok(())
    }

    fn step_started(
        &mut self,
        line: &EventLine,
        step: u32,
        stamp: Stamp,
        mark: Option<TrafficMark>,
        clock: Option<Steady>,
    ) -> Result<(), Fault> {
        if step != self.cursor {
            return Err(bad(line, &format!("step {step} started while step {} is next", self.cursor)));
        }
        let Some(planned) = self.plan.steps.get(step as usize) else { return Err(bad(line, "the plan has no such step")) };
        if stamp != (Stamp { fence: line.fence, seq: line.seq }) {
            return Err(bad(line, "its stamp is not its fence and place"));
        }
        match &planned.step {
            Step::Scale { group, .. } | Step::Check { group, .. } | Step::Migrate { group, .. } => {
                self.touched.insert(group.clone());
            }
            Step::Retire { group } => {
                self.old_is_retiring |= self.opened.from.as_ref().is_some_and(|from| from.group == *group);
                self.touched.insert(group.clone());
            }
            Step::Shift { .. } => self.route_touched = true,
            Step::Bake { .. } | Step::Soak { .. } | Step::Drain { .. } => {}
        }
        let at = line.at;
        // No earlier line has a time by a clock that is never set, so the rollback's time limit is counted from here.
        if let (None, Some(_), Some(since)) = (self.clock, clock, &mut self.rolling_back_since) {
            *since = at;
        }
        self.clock = clock.map(|clock| (at, clock)).or(self.clock);
        let fresh = Started { first_at: at, since: at, last_at: at, adopted: false, stamp, mark, clock };
        self.started = Some(match self.started.take() {
            None => fresh,
            // A counter reset restarts the soak; its deadline stays.
            Some(old) if mark.is_some() && mark != old.mark => Started { first_at: old.first_at, ..fresh },
            // A driver that starts its own step again continues by its own clock.
            Some(old) if old.stamp.fence == stamp.fence => Started { stamp, last_at: at, clock, ..old },
            Some(old) => match (clock, old.clock) {
                (None, None) => Started { stamp, last_at: at, adopted: true, ..old },
                // Earlier times are converted to this driver's time if both count by one clock. If not, their age is unknown:
                // waits are counted from here, so that none is cut short.
                (new, before) => {
                    let passed = new.zip(before).and_then(|(new, before)| new.since(before));
                    let then =
                        |moment: Time| passed.map_or(at, |ms| Time(at.0.saturating_sub(ms.saturating_add(old.last_at.since(moment)))));
                    Started { stamp, last_at: at, since: then(old.since), first_at: then(old.first_at), clock, ..old }
                }
            },
        });
        Ok(())
    }

    fn step_satisfied(&mut self, line: &EventLine, step: u32, seen: &str) -> Result<(), Fault> {
        if step != self.cursor {
            return Err(bad(line, &format!("step {step} satisfied while step {} is next", self.cursor)));
        }
        let Some(started) = &self.started else { return Err(bad(line, "a step that was not started is satisfied")) };
        let Some(planned) = self.plan.steps.get(step as usize) else { return Err(bad(line, "the plan has no such step")) };
        match &planned.step {
            Step::Scale { group, .. } | Step::Check { group, .. } | Step::Retire { group } => {
                self.group_stamps.insert(group.clone(), started.stamp);
                self.proven |= *group == self.opened.to.group;
            }
            // It is satisfied by what is recorded, so the group may never show this stamp.
            Step::Migrate { .. } => {}
            Step::Shift { weights, .. } => {
                self.route_stamp = Some(started.stamp);
                self.weights = weights.clone();
            }
            Step::Bake { .. } | Step::Soak { .. } | Step::Drain { .. } => {}
        }
        self.started = None;
        self.cursor += 1;
        self.notes.push(seen.to_string());
        self.moved_at = line.at;
        Ok(())
    }

    fn migration_ended(&mut self, line: &EventLine, group: &GroupName, release: &Digest, exit: &Exit) -> Result<(), Fault> {
        let to = &self.opened.to.release;
        if group.migration().is_none_or(|(service, number, _)| service != to.service || number != to.number) {
            return Err(bad(line, &format!("{group} is no migration of {}", to.label())));
        }
        if self.digests[1].as_ref() != Some(release) {
            return Err(bad(line, &format!("{group} ran in another release than {}", to.label())));
        }
        if self.migration_ends.contains_key(group) {
            return Err(bad(line, &format!("{group} ended a second time")));
        }
        self.is_migrated |= exit.succeeded();
        self.migration_ends.insert(group.clone(), exit.clone());
        Ok(())
    }

    fn plan_replaced(&mut self, line: &EventLine, why: &str, plan: &Plan, failure: Option<&Failure>) -> Result<(), Fault> {
        if self.plan.direction == Direction::Single {
            return Err(bad(line, "a plan of one step cannot be replaced"));
        }
        if plan.direction != Direction::Back {
            return Err(bad(line, "a plan is replaced only by a rollback"));
        }
        if self.old_is_retiring {
            return Err(bad(line, "the old group has begun to retire: a rollback is no longer possible"));
        }
        self.plan = plan.clone();
        self.cursor = 0;
        self.started = None;
        self.notes.clear();
        self.moved_at = line.at;
        self.remarks.push(why.to_string());
        self.overdue_recorded |= self.rolling_back_since.is_some_and(|since| line.at.since(since) >= self.opened.spec.rollout.within_ms);
        // A rollback that is planned again keeps its reason and its time limit.
        if self.rollback_reason.is_none() {
            self.rollback_reason = Some(why.to_string());
            self.failure = failure.cloned();
            self.rolling_back_since = Some(line.at);
        }
        self.rollback_requested_by = None;
        // A pause holds a forward plan. It does not hold a rollback, which protects clients.
        self.paused = false;
        Ok(())
    }

    fn command_taken(&mut self, line: &EventLine, issued: &IssuedCommand) -> Result<(), Fault> {
        if issued.n <= self.commands_taken {
            return Err(bad(line, &format!("command {} is taken a second time", issued.n)));
        }
        self.commands_taken = issued.n;
        match issued.command {
            // A pause holds a forward plan only: shifting traffic off a failed release continues.
            RotationCommand::Pause if self.plan.direction == Direction::Back => {
                self.remarks
                    .push(format!("{} requested a pause; refused: it is rolling back, and a pause holds only a forward plan", issued.by));
            }
            RotationCommand::Pause => self.paused = true,
            RotationCommand::Resume => {
                self.paused = false;
                self.resumed_at = Some(line.at);
                self.moved_at = line.at;
            }
            RotationCommand::Rollback => match self.rollback_refusal() {
                None => self.rollback_requested_by = Some(issued.by.clone()),
                Some(why) => self.remarks.push(format!("{} requested a rollback; refused: {why}", issued.by)),
            },
            RotationCommand::Stop => self.stop_requested_by = Some(issued.by.clone()),
        }
        Ok(())
    }

    /// Why it cannot roll back, if it cannot.
    pub fn rollback_refusal(&self) -> Option<&'static str> {
        match self.plan.direction {
            Direction::Back => Some("it is rolling back already"),
            Direction::Single => Some("a single step has no rollback"),
            Direction::Forward if self.old_is_retiring => Some("the old servers have begun to retire"),
            Direction::Forward => None,
        }
    }

    /// The step at the cursor.
    pub fn step(&self) -> Option<&PlannedStep> {
        self.plan.steps.get(self.cursor as usize)
    }

    /// The release that a rollback returns to: the one that was active before, if it still existed when the rotation was opened.
    pub(crate) fn rollback_target(&self) -> Option<&GroupRelease> {
        let from = self.opened.from.as_ref()?;
        let planned = |s: &PlannedStep| matches!(&s.step, Step::Retire { group } if *group == from.group);
        (self.opened.plan.direction == Direction::Single || self.opened.plan.steps.iter().any(planned)).then_some(from)
    }

    /// How many servers a rollback gives the old group. Plans of older versions do not say: their first step changes nothing, so its
    /// capacity is what served then.
    pub(crate) fn restored_count(&self) -> u32 {
        if let Some(restores) = self.opened.plan.restores {
            return restores;
        }
        let served = self.opened.plan.steps.first().map_or(0, |s| s.capacity);
        if served == 0 { self.opened.spec.count } else { served }
    }

    /// The groups to observe: while it is open, every group that a step names, the old and the new one; once it is closed, the
    /// active group and what it left.
    pub fn groups(&self) -> Vec<GroupName> {
        if let Some(closed) = &self.closed {
            let active = closed.final_inventory.active.iter().map(|s| s.group.clone());
            return active.chain(self.remnants()).collect();
        }
        let mut all: BTreeSet<&GroupName> = self.touched.iter().collect();
        all.insert(&self.opened.to.group);
        all.extend(self.opened.from.iter().map(|f| &f.group));
        for planned in self.opened.plan.steps.iter().chain(&self.plan.steps) {
            all.extend(planned.step.group());
            if let Step::Shift { weights, .. } = &planned.step {
                all.extend(weights.keys());
            }
        }
        all.into_iter().cloned().collect()
    }

    /// The one-shot groups of this rotation: they serve nobody.
    pub(crate) fn checks(&self) -> BTreeSet<GroupName> {
        let steps = self.opened.plan.steps.iter();
        let one_shot = |s: &PlannedStep| match &s.step {
            Step::Check { group, .. } | Step::Migrate { group, .. } => Some(group.clone()),
            _ => None,
        };
        steps.filter_map(one_shot).collect()
    }

    /// How a migration of the new release ended, if the view shows it and no line says so yet. It is recorded whatever the rotation does
    /// then: a success that nobody recorded would be run again. Of other rotations' migrations only a success says something.
    pub(crate) fn unrecorded_migration(&self, seen: &View) -> Option<Event> {
        let steps = self.opened.plan.steps.iter();
        let own = steps.filter_map(|s| if let Step::Migrate { group, .. } = &s.step { Some(group) } else { None }).next()?;
        let to = &self.opened.to.release;
        let of_release =
            |group: &GroupName| group.migration().is_some_and(|(service, number, _)| service == to.service && number == to.number);
        seen.groups.values().find_map(|g| {
            let end = g.ended.as_ref().filter(|end| self.digests[1].as_ref() == Some(&end.release))?;
            let counts = if g.group == *own { self.touched.contains(own) } else { end.exit.succeeded() };
            let is_new = of_release(&g.group) && !self.migration_ends.contains_key(&g.group);
            let event = || Event::MigrationEnded { group: g.group.clone(), release: end.release.clone(), exit: end.exit.clone() };
            (counts && is_new).then(event)
        })
    }

    /// Groups that only this rotation may create: the new one and its one-shots.
    pub(crate) fn own_new(&self) -> BTreeSet<GroupName> {
        let mut all = if self.opened.plan.direction == Direction::Forward { self.checks() } else { BTreeSet::new() };
        if self.opened.plan.direction == Direction::Forward {
            all.insert(self.opened.to.group.clone());
        }
        all
    }

    /// The name is this rotation's, but the group is not: no step on it was started.
    pub(crate) fn not_ours(&self, group: &GroupName) -> bool {
        !self.touched.contains(group) && self.own_new().contains(group)
    }

    /// Groups that may exist, or still come to exist, although this rotation is closed: it was stopped halfway. The view of the
    /// service's next plan includes them, and that plan retires them.
    pub fn remnants(&self) -> Vec<GroupName> {
        let Some(closed) = self.closed.as_ref().filter(|c| c.verdict == Verdict::Stopped || self.plan.direction == Direction::Single)
        else {
            return Vec::new();
        };
        let active = closed.final_inventory.active.as_ref().map(|s| &s.group);
        let mut all: BTreeSet<&GroupName> = self.touched.iter().chain(closed.final_inventory.healthy.keys()).collect();
        let steps = self.opened.plan.steps.iter().chain(&self.plan.steps);
        all.extend(steps.filter_map(|s| if let Step::Retire { group } = &s.step { Some(group) } else { None }));
        all.extend(self.opened.from.iter().map(|f| &f.group));
        // A group of another service is no remnant, nor is one that existed before under a name that this rotation would have used.
        let service = &self.opened.spec.name;
        let ours = |g: &&GroupName| Some(*g) != active && crate::display::owned(service, g) && !self.not_ours(g);
        all.into_iter().filter(ours).cloned().collect()
    }

    /// The route to observe: None if neither release has one.
    pub fn route(&self) -> Option<RouteName> {
        let opened = &self.opened;
        let routed = opened.spec.route.is_some()
            || opened.to.release.route.is_some()
            || opened.from.as_ref().is_some_and(|f| f.release.route.is_some())
            || opened.plan.steps.iter().any(|s| matches!(s.step, Step::Shift { .. }));
        routed.then(|| crate::plan::route_name(&opened.spec.name))
    }

    /// The objects to verify in the store: only while a bake step is next, since verifying reads every byte of them.
    pub fn objects(&self) -> Vec<Digest> {
        match self.step().map(|s| &s.step) {
            Some(Step::Bake { objects, .. }) => objects.clone(),
            _ => Vec::new(),
        }
    }
}
