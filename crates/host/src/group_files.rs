//! The keeper's state files as they are found: declarations, summaries of groups, target files. A damaged or missing file is never
//! taken as a desired state. What is known is rewritten; where it is unknown, everything that runs stays as it is, with an alarm.
//!
//! ```text
//! a copy is damaged or missing ─▶ the other is read, both are rewritten             (mended)
//! both, this keeper knows it   ─▶ rewritten from memory                             (mended)
//! both, and it is unknown      ─▶ the instances stay, until it is declared or restored   (damaged)
//! ```

use crate::decide::Stage;
use crate::declared::{Declared, GroupSummary};
use crate::history::About;
use crate::instance_dir::InstanceDir;
use crate::keeper::{Keeper, summary_path};
use crate::record::Record;
use crate::state::{Group, Held, Published, State, Stray};
use crate::state_files::{self, Read};
use api::fleet::HappenedKind;
use disk::Lasting;
use disk::state::{self as copies, Found, Mark};
use model::{DesiredGroup, Fault, GroupName, Release, Target, TargetFile};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// No more instances than this are created without one of their logs being kept.
const LEAP: u64 = 1_000;
/// How often files are compared with what is known.
const VERIFY_EVERY: Duration = Duration::from_secs(2);
/// How long the target file of a group that is gone stays, with no servers in it: the balancer has read it by then.
const OVER_FOR: Duration = Duration::from_secs(600);

/// The declared state is on the disk; memory only saves reading a file that did not change. A group with instances and without a
/// file is not an undeclared one.
pub fn read_groups(keeper: &Keeper, state: &mut State) {
    let files = copies::names(&keeper.layout.groups(), ".json").unwrap_or_default();
    for name in files.into_iter().filter_map(|file| GroupName::new(file).ok()) {
        // Declarations come through this process, so a group in memory is read again only if it was lost.
        if !state.groups.get(&name).is_some_and(|g| matches!(g.held, Held::Good(_))) {
            read_group(keeper, state, &name);
        }
    }
    let orphaned: BTreeSet<GroupName> =
        state.instances.values().map(|i| i.record.group.clone()).filter(|name| !state.groups.contains_key(name)).collect();
    for name in orphaned {
        mark_lost(keeper, state, &name, format!("{}: it is missing", keeper.layout.group(&name).display()));
    }
}

/// Reads it from its file into memory.
pub fn read_group(keeper: &Keeper, state: &mut State, name: &GroupName) {
    let path = keeper.layout.group(name);
    let mark = Mark::of(&path);
    let known = state.groups.get(name);
    if known.is_some_and(|group| group.mark == mark && !mark.is_absent()) {
        return;
    }
    match state_files::read_state::<Declared>(&path) {
        Found::Absent => {}
        Found::Good(good) if good.value.spec.group == *name => {
            let declared = good.value;
            let mut mark = mark;
            if !good.twice {
                mark = repair(keeper, name, &path, &declared, good.damage.as_deref());
            }
            let sum = read_sum(keeper, state, name);
            let group = state.groups.entry(name.clone()).or_insert_with(|| Group::new(Held::Good(declared.clone()), sum));
            (group.held, group.mark, group.trouble) = (Held::Good(declared), mark, None);
        }
        Found::Good(good) => mark_lost(keeper, state, name, format!("{}: it is about {}", path.display(), good.value.spec.group)),
        Found::Damaged(why) => mark_lost(keeper, state, name, why),
    }
    if let Some(group) = state.groups.get_mut(name).filter(|group| matches!(group.held, Held::Lost { .. })) {
        group.mark = mark;
    }
}

fn repair(keeper: &Keeper, name: &GroupName, path: &Path, declared: &Declared, damage: Option<&str>) -> Mark {
    match state_files::write_json(path, declared) {
        Ok(()) => {
            if let Some(damage) = damage {
                keeper.counters.change(|c| c.mended += 1);
                let about = About { service: Some(declared.spec.service.clone()), group: Some(name.clone()), instance: None };
                keeper.history.add(HappenedKind::Mended, about, &format!("{damage}; it was rewritten, and no server was touched"));
            }
            Mark::of(path)
        }
        Err(fault) => {
            tracing::warn!("{fault}");
            // Read again.
            Mark::default()
        }
    }
}

/// What was declared is unknown.
fn mark_lost(keeper: &Keeper, state: &mut State, name: &GroupName, why: String) {
    let kept = state.kept(name);
    let what = match &kept {
        Some(Declared { spec, .. }) => {
            let count = if let DesiredGroup::Run { count, .. } = spec.desired { count } else { 0 };
            format!(
                "{why}; its {count} servers are kept as they are, and replaced when they die. Put the file back from a backup, or deploy {} \
                 again; to be rid of the servers, roll out another release",
                spec.service
            )
        }
        None => {
            format!("{why}; nothing of {name} runs, and nothing is done. Restore the file from a backup, or remove it with its .spare")
        }
    };
    let about = About { service: kept.as_ref().map(|k| k.spec.service.clone()), group: Some(name.clone()), instance: None };
    let held = Held::Lost { why: what.clone(), kept };
    let known = state.groups.get(name).is_some_and(|group| matches!(group.held, Held::Lost { .. }));
    match state.groups.get_mut(name) {
        // The count that was kept before stays: servers may have died since.
        Some(group) if known && matches!(&group.held, Held::Lost { kept: Some(_), .. }) => {}
        Some(group) => group.held = held,
        None => {
            let sum = read_sum(keeper, state, name);
            state.groups.insert(name.clone(), Group::new(held, sum));
        }
    }
    if !known {
        keeper.history.add(HappenedKind::Damaged, about, &what);
    }
}

/// A summary that is missing or damaged restarts far beyond every number that is found, so that none is used twice.
fn read_sum(keeper: &Keeper, state: &State, name: &GroupName) -> GroupSummary {
    let (why, leap) = match state_files::read_json::<GroupSummary>(&summary_path(&keeper.layout, name)) {
        Read::Good(sum) => return sum,
        Read::Bad(why) => (why, LEAP),
        Read::Missing => (String::new(), 0),
    };
    if !why.is_empty() {
        let about = About { service: None, group: Some(name.clone()), instance: None };
        keeper.history.add(HappenedKind::Damaged, about, &format!("{why}; deaths of {name} are counted from 0 again"));
    }
    let logs = state_files::names(&keeper.layout.host().join("logs"));
    let logged =
        logs.iter().filter_map(|file| file.strip_suffix(".log")?.strip_prefix(name.as_str())?.strip_prefix('-')?.parse::<u64>().ok());
    let last = state.of_group(name).map(|i| i.record.number).chain(logged).max().unwrap_or(0);
    GroupSummary { last: last + leap, ..GroupSummary::default() }
}

/// From time to time: declarations that were damaged or removed are rewritten from memory, and what may be readable again is read.
pub fn verify(keeper: &Keeper, state: &mut State, now: Instant) {
    if state.verified.is_some_and(|at| now.duration_since(at) < VERIFY_EVERY) {
        return;
    }
    state.verified = Some(now);
    let names: Vec<GroupName> = state.groups.keys().cloned().collect();
    for name in names {
        let path = keeper.layout.group(&name);
        let Some(group) = state.groups.get(&name) else { continue };
        let Held::Good(declared) = &group.held else { continue };
        let mark = Mark::of(&path);
        if group.mark == mark {
            continue;
        }
        let mark = match state_files::read_state::<Declared>(&path) {
            Found::Good(good) if good.value == *declared && good.twice => mark,
            Found::Good(good) if good.value == *declared => repair(keeper, &name, &path, declared, good.damage.as_deref()),
            Found::Good(_) => {
                let why = format!("{}: it says something else than was declared", path.display());
                repair(keeper, &name, &path, declared, Some(&why))
            }
            Found::Absent => repair(keeper, &name, &path, declared, Some(&format!("{}: it is missing", path.display()))),
            Found::Damaged(why) => repair(keeper, &name, &path, declared, Some(&why)),
        };
        if let Some(group) = state.groups.get_mut(&name) {
            group.mark = mark;
        }
    }
}

/// The record of an instance; a damaged copy of it is rewritten.
pub fn read_record(keeper: &Keeper, place: &InstanceDir) -> Read<Record> {
    let path = place.record();
    match state_files::read_state::<Record>(&path) {
        Found::Absent => Read::Missing,
        Found::Damaged(why) => Read::Bad(why),
        Found::Good(good) => {
            let record = good.value;
            let written = if good.twice { None } else { Some(state_files::write_json_quick(&path, &record)) };
            match written {
                None => {}
                Some(Ok(())) => {
                    if let Some(damage) = good.damage {
                        keeper.counters.change(|c| c.mended += 1);
                        let about = About {
                            service: Some(record.release.service.clone()),
                            group: Some(record.group.clone()),
                            instance: Some(record.id.clone()),
                        };
                        keeper.history.add(HappenedKind::Mended, about, &format!("{damage}; it was rewritten, and no server was touched"));
                    }
                }
                Some(Err(fault)) => tracing::warn!("{fault}"),
            }
            Read::Good(record)
        }
    }
}

/// An instance that runs and cannot be followed: it is left alone, and the balancer continues with its last report.
pub fn stray(keeper: &Keeper, name: String, why: String) {
    let group = name.rsplit_once('-').and_then(|(group, _)| GroupName::new(group).ok());
    let target = group.as_ref().and_then(|group| {
        let file = state_files::read_json::<TargetFile>(&keeper.layout.target(group)).good()?;
        file.targets.into_iter().find(|target| target.id.as_str() == name)
    });
    let text = format!(
        "{why}; {name} keeps running unsupervised: its exit would not be noticed. End it with `afresh down`, or kill it once another serves"
    );
    keeper.history.add(HappenedKind::Damaged, About { service: None, group: group.clone(), instance: name.parse().ok() }, &text);
    keeper.state().strays.insert(name, Stray { why: text, group, target });
}

/// Writes the group's target file if it would change, or if it was changed by others. A missing file removes no server from the balancer:
/// when no server is left, the file names none, and is removed much later.
pub fn publish_targets(keeper: &Keeper, state: &mut State, name: &GroupName) {
    let path = keeper.layout.target(name);
    let release = match state.groups.get(name).and_then(Group::declared).map(|d| &d.spec.desired) {
        Some(DesiredGroup::Run { release, once: None, .. }) => Some(release.clone()),
        _ => state.of_group(name).find(|i| i.record.once.is_none()).map(|i| i.record.release.clone()),
    };
    let file = release.filter(|r| r.port.is_some()).map(|release| target_file(state, name, release));
    let Some(group) = state.groups.get_mut(name) else { return };
    let result = match file.map(|file| state_files::encode(&file)) {
        Some(Ok(bytes)) => write_target(keeper, name, group, &path, bytes),
        Some(Err(fault)) => Err(fault),
        None if group.published == Published::Nothing => Ok(()),
        None => end_target(&path).map(|gone| group.published = if gone { Published::Nothing } else { Published::Unknown }),
    };
    if let Err(fault) = result {
        group.report(&fault);
    }
}

pub fn target_file(state: &State, name: &GroupName, release: Release) -> TargetFile {
    let instances = state.of_group(name).filter(|i| i.is_target());
    let mut targets: Vec<Target> = instances
        .filter_map(|i| Some(Target { id: i.record.id.clone(), addr: i.address()?, draining: i.stage == Stage::Ending }))
        .collect();
    targets.extend(state.strays.values().filter(|s| s.group.as_ref() == Some(name)).filter_map(|s| s.target.clone()));
    targets.sort_by_key(|target| target.addr);
    TargetFile {
        group: name.clone(),
        service: release.service,
        release: release.number,
        health: release.health,
        drain: release.drain,
        route: release.route,
        targets,
    }
}

fn write_target(keeper: &Keeper, name: &GroupName, group: &mut Group, path: &Path, bytes: Vec<u8>) -> Result<(), Fault> {
    let mark = Mark::of(path);
    let damaged = match &group.published {
        Published::File(told, stood) if *told == bytes && *stood == mark => return Ok(()),
        Published::File(_, stood) => *stood != mark,
        Published::Unknown => match state_files::read_state::<TargetFile>(path) {
            Found::Good(good) => good.damage.is_some(),
            Found::Damaged(_) => true,
            Found::Absent => false,
        },
        Published::Nothing => false,
    };
    state_files::write_state(path, &bytes, Lasting::Soon)?;
    group.published = Published::File(bytes, Mark::of(path));
    if damaged {
        keeper.counters.change(|c| c.mended += 1);
        let about = About { service: group.declared().map(|d| d.spec.service.clone()), group: Some(name.clone()), instance: None };
        let text = format!("{}: it was damaged or missing; it was rewritten, and no server was touched", path.display());
        keeper.history.add(HappenedKind::Mended, about, &text);
    }
    Ok(())
}

/// True: none exists any more.
fn end_target(path: &Path) -> Result<bool, Fault> {
    let old = || {
        std::fs::metadata(path).and_then(|m| m.modified()).is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|d| d > OVER_FOR))
    };
    match state_files::read_state::<TargetFile>(path) {
        Found::Absent => return Ok(true),
        Found::Good(good) if !good.value.targets.is_empty() => {
            state_files::write_state(path, &state_files::encode(&TargetFile { targets: Vec::new(), ..good.value })?, Lasting::Soon)?;
            return Ok(false);
        }
        Found::Good(_) if !old() => return Ok(false),
        Found::Good(_) | Found::Damaged(_) => {}
    }
    copies::remove(path).map(|()| true).map_err(|e| state_files::at(path, "removing", e))
}
