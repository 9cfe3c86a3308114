//! One-shots: commands that a group runs a single time. A shim is started for one at most once, also after a power cut, so whoever declared it
//! decides whether it is tried again. How it ended is on the disk before anything of it is removed.
//!
//! ```text
//! declared ─▶ number written (durable) ─▶ shim began (durable) ─▶ runs ─▶ exit.json (durable) ─▶ exit in the group's summary (durable)
//!    │ launch_by passed, or gone: never started          └ its shim, or the machine, is killed: lost
//! ```

use crate::decide::Stage;
use crate::declared::{Declared, GroupSummary, OneShotSummary};
use crate::keeper::{Keeper, summary_path};
use crate::state::{Group, State};
use crate::state_files;
use model::{DesiredGroup, Exit, Fault, GroupName, Time};
use std::time::{Duration, SystemTime};

/// How long the tombstone of a run stays. A declaration of it that arrives later is refused by its `launch_by`.
const TOMBSTONE_FOR: Duration = Duration::from_secs(3_600);
const NOT_FOUND: i32 = 127;
const KILLED: i32 = 137;

/// A declaration that can only launch something too late is refused.
pub fn check_in_time(declared: &Declared, now: Time) -> Result<(), Fault> {
    let DesiredGroup::Run { once: Some(once), .. } = &declared.spec.desired else { return Ok(()) };
    if once.launch_by.is_none_or(|by| now <= by) {
        return Ok(());
    }
    Err(Fault::yours("too-late", format!("{}: it was to be launched earlier than now", declared.spec.group))
        .hint("was the clock of this host set, or did the request take that long?"))
}

/// Records how the one-shot of a group ended, once. False: it has ended and that could not be written; nothing of it may be removed.
pub fn settle(keeper: &Keeper, state: &mut State, name: &GroupName, now: Time) -> bool {
    let Some(exit) = end_of(state, name, now) else { return true };
    let digest = state.of_group(name).find(|i| i.record.once.is_some()).map(|i| i.record.release.digest());
    let Some(group) = state.groups.get_mut(name) else { return true };
    let declared = group.declared().and_then(|d| match &d.spec.desired {
        DesiredGroup::Run { release, .. } => Some(release.digest()),
        DesiredGroup::Gone => None,
    });
    let known = group.summary.one_shot.as_ref().map(|one| one.release.clone());
    let Some(release) = digest.or(known).or(declared) else { return true };
    let summary = GroupSummary { one_shot: Some(OneShotSummary { release, exit: Some(exit) }), ..group.summary.clone() };
    let written = state_files::write_json(&summary_path(&keeper.layout, name), &summary);
    if let Err(fault) = written {
        group.report(&fault);
        return false;
    }
    group.summary = summary;
    true
}

/// How it ended, if it has and nobody wrote that down yet.
fn end_of(state: &State, name: &GroupName, now: Time) -> Option<Exit> {
    let group = state.groups.get(name)?;
    let desired = &group.declared()?.spec.desired;
    let once = if let DesiredGroup::Run { once: Some(once), .. } = desired { Some(once) } else { None };
    let known = group.summary.one_shot.as_ref();
    if (once.is_none() && known.is_none()) || known.is_some_and(|one| one.exit.is_some()) {
        return None;
    }
    let too_late = once.is_some_and(|once| once.launch_by.is_some_and(|by| now > by));
    let not_started = |why: &str| Some(Exit { not_started: Some(why.to_string()), ..Exit::new(NOT_FOUND, now) });
    match state.of_group(name).find(|i| i.record.once.is_some()) {
        Some(one) if one.ended.is_some() => one.exit(),
        Some(one) if one.stage == Stage::Intended && once.is_none() => not_started("it was stopped before it was launched"),
        Some(one) if one.stage == Stage::Intended && too_late => not_started("the keeper did not launch it in time"),
        Some(_) => None,
        // It may run where nothing of it can be read.
        None if state.strays.values().any(|stray| stray.group.as_ref() == Some(name)) => None,
        // It was given to a shim, and everything else that was written of it is gone: a power cut.
        None if group.summary.last > 0 => Some(Exit { lost: true, ..Exit::new(KILLED, now) }),
        None if too_late => {
            let why = group.trouble.clone().unwrap_or_else(|| "the keeper did not launch it in time".to_string());
            not_started(&why)
        }
        None => None,
    }
}

/// Whether nothing is launched for the group any more.
pub fn is_spent(group: &Group) -> bool {
    group.summary.one_shot.as_ref().is_some_and(|one| one.exit.is_some())
}

/// Removes the tombstones of runs that are long over: there is one for each run, and every one is looked at in each pass.
pub fn forget_old(keeper: &Keeper) {
    let _one_by_one = keeper.declaring();
    let mut state = keeper.state();
    let is_over = |(name, group): &(&GroupName, &Group)| {
        let gone = group.declared().is_some_and(|d| d.spec.desired == DesiredGroup::Gone);
        gone && name.run().is_some() && !group.preparing && state.of_group(name).next().is_none() && is_old(keeper, name)
    };
    let over: Vec<GroupName> = state.groups.iter().filter(is_over).map(|(name, _)| name.clone()).collect();
    for name in over {
        // The summary first: without it the tombstone still is one, and goes in a later pass.
        let files = [summary_path(&keeper.layout, &name), keeper.layout.group(&name)];
        match files.iter().try_for_each(|file| disk::state::remove(file)) {
            Ok(()) => drop(state.groups.remove(&name)),
            Err(e) => tracing::warn!(group = %name, "cannot remove the tombstone of a run: {e}"),
        }
    }
}

fn is_old(keeper: &Keeper, name: &GroupName) -> bool {
    let written = std::fs::metadata(keeper.layout.group(name)).and_then(|meta| meta.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > TOMBSTONE_FOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile;
    use crate::record::Ended;
    use crate::state::{Held, Stray};
    use crate::testing::{TestKeeper, gone, instance, release, stamp};
    use model::{GroupSpec, OneShot};
    use std::time::Instant;

    const NAME: &str = "web-r1-x7";

    fn name() -> GroupName {
        GroupName::new(NAME).unwrap()
    }

    fn one_shot(launch_by: u64) -> GroupSpec {
        let once =
            OneShot { run: vec!["true".to_string()], within_ms: Some(1_000), launch_by: Some(Time(launch_by)), env: Default::default() };
        let release = release(1);
        let service = release.service.clone();
        GroupSpec { group: name(), service, desired: DesiredGroup::Run { release, count: 1, once: Some(once) } }
    }

    /// With `last` numbers given out.
    fn state(t: &TestKeeper, spec: GroupSpec, last: u64) -> State {
        let held = Held::Good(Declared { stamp: stamp(1, 1), spec });
        let one_shot = (last > 0).then(|| OneShotSummary { release: release(1).digest(), exit: None });
        let mut state = State::default();
        state.groups.insert(name(), Group::new(held, GroupSummary { last, one_shot, ..GroupSummary::default() }));
        state_files::write_json(&summary_path(&t.keeper.layout, &name()), &state.groups[&name()].summary).unwrap();
        state
    }

    fn with_instance(mut state: State, stage: Stage, ended: Option<Ended>) -> State {
        let mut one = instance(1);
        (one.record.group, one.record.once) = (name(), Some(OneShot::of(vec!["true".to_string()])));
        (one.stage, one.ended) = (stage, ended);
        state.instances.insert(one.record.id.clone(), one);
        state
    }

    /// What the view says, and whether the next keeper says the same.
    fn settled(t: &TestKeeper, mut state: State, now: u64) -> Option<Exit> {
        assert!(settle(&t.keeper, &mut state, &name(), Time(now)));
        let seen = state.seen(&name(), Instant::now()).ended.map(|end| {
            assert_eq!(end.release, release(1).digest());
            end.exit
        });
        let path = summary_path(&t.keeper.layout, &name());
        let written = state_files::read_json::<GroupSummary>(&path).good().and_then(|s| s.one_shot).and_then(|one| one.exit);
        assert_eq!(seen, written, "it is on the disk before anybody sees it");
        if seen.is_some() {
            assert!(settle(&t.keeper, &mut state, &name(), Time(now + 1_000_000)));
            assert_eq!(state.seen(&name(), Instant::now()).ended.map(|end| end.exit), seen, "it is said once and for all");
        }
        seen
    }

    #[test]
    fn every_end_of_a_one_shot_is_told_apart() {
        let t = TestKeeper::new();
        assert_eq!(settled(&t, state(&t, one_shot(10), 0), 5), None, "it may still be launched");
        let late = settled(&t, state(&t, one_shot(10), 0), 11).unwrap();
        assert!(late.not_started.is_some() && !late.succeeded());
        let lost = settled(&t, state(&t, one_shot(10), 1), 5).unwrap();
        assert!(lost.lost && !lost.succeeded(), "a number was given out, and nothing is there: {lost:?}");
        let mut strays = state(&t, one_shot(10), 1);
        strays.strays.insert(format!("{NAME}-1"), Stray { why: String::new(), group: Some(name()), target: None });
        assert_eq!(settled(&t, strays, 5), None, "it runs and cannot be followed");
        for stage in [Stage::Launching, Stage::Up, Stage::Ending] {
            assert_eq!(settled(&t, with_instance(state(&t, one_shot(10), 1), stage, None), 50), None, "{stage:?}");
            assert_eq!(settled(&t, with_instance(state(&t, gone(NAME), 1), stage, None), 50), None, "{stage:?} of a group that is gone");
        }
        let dead = |code| with_instance(state(&t, gone(NAME), 1), Stage::Dead, Some(Ended::new(code, None)));
        assert_eq!(settled(&t, dead(7), 5).map(|exit| (exit.code, exit.succeeded())), Some((7, false)));
        assert!(settled(&t, dead(0), 5).unwrap().succeeded());
        let waiting = |spec| with_instance(state(&t, spec, 1), Stage::Intended, None);
        assert_eq!(settled(&t, waiting(one_shot(10)), 5), None);
        assert!(settled(&t, waiting(one_shot(10)), 11).unwrap().not_started.is_some());
        assert!(settled(&t, waiting(gone(NAME)), 5).unwrap().not_started.is_some(), "stopped before it was launched");
    }

    #[test]
    fn what_could_only_be_launched_too_late_is_refused() {
        let code = |launch_by: u64| {
            let declared = Declared { stamp: stamp(1, 1), spec: one_shot(launch_by) };
            check_in_time(&declared, Time(10)).err().map(|fault| fault.code)
        };
        assert_eq!((code(9).as_deref(), code(10), code(11)), (Some("too-late"), None, None));
    }

    #[test]
    fn an_end_that_cannot_be_written_is_not_said() {
        let t = TestKeeper::new();
        let mut state = with_instance(state(&t, gone(NAME), 1), Stage::Dead, Some(Ended::new(0, None)));
        let sums = crate::keeper::sums(&t.keeper.layout);
        std::fs::remove_dir_all(&sums).unwrap();
        std::fs::write(&sums, "no directory").unwrap();
        assert!(!settle(&t.keeper, &mut state, &name(), Time(5)));
        assert_eq!(state.seen(&name(), Instant::now()).ended, None);
        reconcile::act_once(&t.keeper, &mut state, &name());
        assert_eq!(state.instances.len(), 1, "its directory is the only record of its end");
        std::fs::remove_file(&sums).unwrap();
        std::fs::create_dir(&sums).unwrap();
        assert!(settle(&t.keeper, &mut state, &name(), Time(6)));
    }

    #[test]
    fn only_old_tombstones_of_runs_are_forgotten() {
        let t = TestKeeper::new();
        let old = SystemTime::now() - TOMBSTONE_FOR - Duration::from_secs(60);
        for (group, spec, age, is_kept) in [
            ("web-r1-x1", gone("web-r1-x1"), Some(old), false),
            ("web-r1-x2", gone("web-r1-x2"), None, true),
            ("web-r1-3", gone("web-r1-3"), Some(old), true),
            ("web-r1-3-m", gone("web-r1-3-m"), Some(old), true),
            (NAME, one_shot(10), Some(old), true),
        ] {
            let group = GroupName::new(group).unwrap();
            let path = t.keeper.layout.group(&group);
            let declared = Declared { stamp: stamp(1, 2), spec };
            state_files::write_json(&path, &declared).unwrap();
            state_files::write_json(&summary_path(&t.keeper.layout, &group), &GroupSummary::default()).unwrap();
            if let Some(at) = age {
                std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
            }
            let entry = Group::new(Held::Good(declared), GroupSummary::default());
            t.keeper.state().groups.insert(group.clone(), entry);
            forget_old(&t.keeper);
            assert_eq!(t.keeper.state().groups.contains_key(&group), is_kept, "{group}");
            assert_eq!((path.exists(), summary_path(&t.keeper.layout, &group).exists()), (is_kept, is_kept), "{group}");
        }
    }
}
