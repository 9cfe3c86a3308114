//! Alarms, derived from the keeper's state and its history. This decides nothing and changes nothing but the history.

use crate::decide::Stage;
use crate::keeper::Keeper;
use crate::state::{Group, Held, Instance, State};
use crate::{answering, connectivity};
use crate::{cgroup, needs};
use api::fleet::{Alarm, HappenedKind};
use model::{DesiredGroup, Fault, GroupName, InstanceId, Release, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Events are shown for this time.
const RECENT_MS: u64 = 15 * 60 * 1_000;
/// Fewer healthy servers than declared for this time are an alarm: a replacement takes less.
const SHORT_MS: u128 = 10_000;

pub fn alarms(keeper: &Keeper) -> Vec<Alarm> {
    let mut needed = BTreeMap::new();
    let mut alarms = {
        let state = keeper.state();
        for declared in state.groups.values().filter_map(Group::declared) {
            if let DesiredGroup::Run { release, count: 1.., .. } = &declared.spec.desired {
                let begun = needs::Group::of(&state, &declared.spec.group);
                needed.insert((release.service.clone(), release.number, begun), release.clone());
            }
        }
        let now = Instant::now();
        let groups = state.groups.iter().flat_map(|(name, group)| of_group(&state, name, group, now));
        let strays = state.strays.values().map(|stray| Alarm::new("state-damaged", None, stray.why.clone()));
        groups.chain(strays).collect::<Vec<_>>()
    };
    alarms.extend(connectivity::alarms(keeper));
    alarms.extend(answering::alarms(keeper));
    // Outside of the state: it reads files.
    for ((_, _, begun), release) in needed {
        match needs::check(keeper, &release, &begun) {
            Ok(needs) => alarms.extend(needs.withdrawn.iter().map(|fault| withdrawn(&release, fault))),
            Err(fault) => alarms.push(cannot_launch(&release, &fault)),
        }
    }
    alarms.extend(recent(keeper, disk::files::now()));
    alarms.extend(keeper.logs.forward.iter().flat_map(|to| keeper.forwarded.alarms(to, disk::files::now())));
    alarms
}

/// What runs goes on; a server that dies could not be replaced.
fn cannot_launch(release: &Release, fault: &Fault) -> Alarm {
    let hint = fault.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
    let text = format!("no server of {} could be launched now: {}{hint}", release.label(), fault.message);
    Alarm::new(&fault.code, Some(release.service.clone()), text)
}

/// A fleet does not end because a rule was taken back; root sees that it is still used.
fn withdrawn(release: &Release, fault: &Fault) -> Alarm {
    let text = format!(
        "{}; servers of {} keep it, and so do those that replace them, as long as what had to be mounted is; deploy the service without it to end that",
        fault.message,
        release.label()
    );
    Alarm::new("volume-withdrawn", Some(release.service.clone()), text)
}

fn of_group(state: &State, name: &GroupName, group: &Group, now: Instant) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let service = group.declared().map(|d| d.spec.service.clone());
    if let Held::Lost { why, .. } = &group.held {
        alarms.push(Alarm::new("state-damaged", service.clone(), why.clone()));
    }
    let (Some(since), Some(DesiredGroup::Run { count, .. })) = (group.short_since, group.declared().map(|d| &d.spec.desired)) else {
        return alarms;
    };
    let for_s = now.saturating_duration_since(since);
    if for_s.as_millis() < SHORT_MS {
        return alarms;
    }
    let up = || state.of_group(name).filter(|i| i.stage == Stage::Up);
    let healthy = up().filter(|i| i.probes.passing_since.is_some()).count();
    let failing: Vec<&Instance> = up().filter(|i| i.probes.passing_since.is_none()).collect();
    let mut text = format!("{healthy} of {count} servers of {name} are healthy, for {} s", for_s.as_secs());
    if !failing.is_empty() {
        let names: Vec<&str> = failing.iter().map(|i| i.record.id.as_str()).collect();
        let why = failing.last().map_or_else(String::new, |i| i.probe_in_words());
        text.push_str(&format!("; {} fail their health checks{why}", names.join(", ")));
    }
    if healthy == 0 && failing.len() >= *count as usize {
        text.push_str(
            ". All of them fail: the cause may be something that they share. None is ended before a replacement is healthy, and replacements start one by one",
        );
    }
    if let Some(trouble) = &group.trouble {
        text.push_str(&format!("; the last launch failed: {trouble}"));
    }
    text.push_str(&format!(". See `afresh events`, `afresh logs {name}-N`"));
    alarms.push(Alarm::new("unhealthy", service, text));
    alarms
}

/// Its servers were retired: nobody needs them, and whoever retired them, such as a rollback, says why.
fn is_retired(state: &State, group: &GroupName) -> bool {
    let declared = state.groups.get(group).and_then(Group::declared);
    !group.is_one_shot() && declared.is_some_and(|declared| matches!(declared.spec.desired, DesiredGroup::Gone))
}

/// One alarm for each group and kind, with the last event.
fn recent(keeper: &Keeper, now: Time) -> Vec<Alarm> {
    let mut all: BTreeMap<(Option<GroupName>, HappenedKind), (u32, Alarm)> = BTreeMap::new();
    let recent: Vec<_> = keeper.history.after(0).into_iter().filter(|one| now.since(one.at) < RECENT_MS).collect();
    let retired: BTreeSet<GroupName> = {
        let state = keeper.state();
        recent.iter().filter_map(|one| one.group.clone()).filter(|group| is_retired(&state, group)).collect()
    };
    for one in recent {
        // What was wrong with a state file is not over with its group.
        if one.kind != HappenedKind::Mended && one.group.as_ref().is_some_and(|group| retired.contains(group)) {
            continue;
        }
        // A state that lasts is an alarm of its own.
        if matches!(one.kind, HappenedKind::Unhealthy | HappenedKind::Damaged) {
            continue;
        }
        let count = all.get(&(one.group.clone(), one.kind)).map_or(0, |(n, _)| *n) + 1;
        let ago = now.since(one.at) / 1_000;
        let more = if count > 1 { format!(" (the last of {count} within 15 min)") } else { String::new() };
        let alarm = Alarm::new(one.kind.code(), one.service, format!("{}, {ago} s ago{more}", one.text));
        all.insert((one.group, one.kind), (count, alarm));
    }
    all.into_values().map(|(_, alarm)| alarm).collect()
}

/// Processes inside instances that the kernel killed because of the memory limit, while the instance continues.
pub fn look_for_oom(keeper: &Keeper) {
    let live: Vec<(InstanceId, String)> = {
        let state = keeper.state();
        state
            .instances
            .values()
            .filter(|i| i.stage == Stage::Up)
            .map(|i| (i.record.id.clone(), i.record.placement.cgroup.clone()))
            .collect()
    };
    for (id, group) in live {
        let Some(kills) = cgroup::oom_kills(&group) else { continue };
        let mut state = keeper.state();
        let Some(one) = state.instances.get_mut(&id).filter(|one| one.stage == Stage::Up) else { continue };
        let more = kills.saturating_sub(one.oom_kills);
        // If that was the program itself, its exit follows and reports it.
        let lives = one.started.as_ref().is_some_and(|s| crate::process::start_of(s.pid) == Some(s.pid_start));
        if more == 0 || !lives {
            continue;
        }
        one.oom_kills = kills;
        let about = one.about();
        drop(state);
        keeper.counters.change(|c| c.oom_kills += more);
        let text = format!("the kernel killed {more} processes inside {id} at its memory limit; the server itself continues");
        keeper.history.add(HappenedKind::OomInside, about, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::{Declared, GroupSummary};
    use crate::history::About;
    use crate::testing::{TestKeeper, gone, release, run, stamp};

    /// Found by users: what a rollback had retired was an alarm for 15 minutes.
    #[test]
    fn servers_of_a_group_that_was_retired_are_no_alarm() {
        let t = TestKeeper::new();
        let now = disk::files::now();
        let group = GroupName::new("web-r2-2").unwrap();
        let died = || {
            let about = About { group: Some(group.clone()), ..About::default() };
            t.keeper.history.add(HappenedKind::Died, about, "web-r2-2-1 died after 1 s: exit 1");
        };
        let declare = |spec| {
            let held = Held::Good(Declared { stamp: stamp(1, 1), spec });
            t.keeper.state().groups.insert(group.clone(), Group::new(held, GroupSummary::default()));
        };
        died();
        declare(run("web-r2-2", release(2), 2));
        assert_eq!(recent(&t.keeper, now).len(), 1);
        declare(gone("web-r2-2"));
        assert_eq!(recent(&t.keeper, now).len(), 0);
        let about = About { group: Some(group.clone()), ..About::default() };
        t.keeper.history.add(HappenedKind::Mended, about, "its file was damaged");
        assert_eq!(recent(&t.keeper, now).len(), 1, "that was this host's");
    }
}
