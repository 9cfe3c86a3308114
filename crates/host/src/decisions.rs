//! What the keeper decides from its files and its state, tested without root: nothing here launches, mounts or creates an interface.

use crate::decide::Stage;
use crate::declared::{Declared, GroupSummary, MountPoints};
use crate::group_files;
use crate::keeper::summary_path;
use crate::needs;
use crate::reconcile;
use crate::record::{Ended, Ending};
use crate::serve;
use crate::state::{Group, Held, Instance, Published, State, Stray};
use crate::state_files;
use crate::testing::{TestKeeper, gone, instances, release, run, stamp, started};
use api::host::DeclareGroup;
use disk::state::{self as copies, spare};
use model::{DesiredGroup, Fault, GroupName, GroupSpec, InstanceId, OneShot, Stamp, Target, TargetFile, Time};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

fn name() -> GroupName {
    GroupName::new("web-r1-1").unwrap()
}

fn declared(count: u32) -> Declared {
    Declared { stamp: stamp(3, 5), spec: run("web-r1-1", release(1), count) }
}

fn count(state: &State) -> Option<u32> {
    match state.groups[&name()].declared().map(|d| &d.spec.desired) {
        Some(DesiredGroup::Run { count, .. }) => Some(*count),
        _ => None,
    }
}

fn spoil(path: &Path, text: &str) {
    for file in [path.to_path_buf(), spare(path)] {
        std::fs::write(file, text).unwrap();
    }
}

fn is_lost(state: &State) -> bool {
    matches!(state.groups[&name()].held, Held::Lost { .. })
}

/// Both copies damaged, missing, or of another group: the number of servers stays, whatever happens to the file or to them.
#[test]
fn a_declaration_that_nobody_can_read_is_kept_as_the_instances_say() {
    let other = Declared { stamp: stamp(9, 9), spec: gone("web-r9-9") };
    for case in ["damaged", "missing", "about another"] {
        let t = TestKeeper::new();
        let path = t.keeper.layout.group(&name());
        match case {
            "damaged" => spoil(&path, "{"),
            "missing" => {}
            _ => state_files::write_json(&path, &other).unwrap(),
        }
        let mut state = instances(&[1, 2, 3]);
        state.instances.get_mut(&InstanceId::new("web-r1-1-3").unwrap()).unwrap().ending = Some(Ending { at: Time(1) });
        group_files::read_groups(&t.keeper, &mut state);
        assert!(is_lost(&state) && count(&state) == Some(2), "{case}");
        let seen = state.seen(&name(), Instant::now());
        assert!(seen.trouble.is_some() && seen.stamp == Some(stamp(1, 1)), "{case}: {seen:?}");
        // One server dies, and the file is damaged in another way.
        state.instances.pop_first();
        if case == "damaged" {
            spoil(&path, "still no json");
        }
        group_files::read_groups(&t.keeper, &mut state);
        group_files::verify(&t.keeper, &mut state, Instant::now());
        assert!(is_lost(&state) && count(&state) == Some(2), "{case}");
        assert_eq!(t.keeper.counters.now().mended, 0, "{case}: what to write is unknown");
        assert_eq!(t.keeper.history.after(0).len(), 1, "{case}: it is reported once");
        state_files::write_json(&path, &declared(7)).unwrap();
        group_files::read_groups(&t.keeper, &mut state);
        assert!(!is_lost(&state) && count(&state) == Some(7), "{case}: it was restored");
    }
}

#[test]
fn a_damaged_declaration_of_which_nothing_runs_wants_nothing() {
    let t = TestKeeper::new();
    spoil(&t.keeper.layout.group(&name()), "{");
    let mut state = State::default();
    group_files::read_groups(&t.keeper, &mut state);
    assert!(is_lost(&state) && state.groups[&name()].declared().is_none());
}

#[test]
fn one_copy_mends_the_other_and_memory_mends_both() {
    let t = TestKeeper::new();
    let path = t.keeper.layout.group(&name());
    let whole = || {
        copies::read(&path, 1 << 20, |_| Ok(())).good().is_some() && std::fs::read(&path).unwrap() == std::fs::read(spare(&path)).unwrap()
    };
    for copy in [path.clone(), spare(&path)] {
        state_files::write_json(&path, &declared(2)).unwrap();
        std::fs::write(copy, "{").unwrap();
        let mut state = State::default();
        group_files::read_groups(&t.keeper, &mut state);
        assert!(count(&state) == Some(2) && whole());
    }
    assert_eq!(t.keeper.counters.now().mended, 1, "the repaired spare copy is not reported");
    let mut state = State::default();
    group_files::read_groups(&t.keeper, &mut state);
    let mut now = Instant::now();
    for (i, hurt) in ["damaged", "missing", "another"].iter().enumerate() {
        match *hurt {
            "damaged" => spoil(&path, "{"),
            "missing" => copies::remove(&path).unwrap(),
            _ => state_files::write_json(&path, &declared(0)).unwrap(),
        }
        group_files::read_groups(&t.keeper, &mut state);
        now += Duration::from_secs(3);
        group_files::verify(&t.keeper, &mut state, now);
        assert_eq!(state_files::read_json::<Declared>(&path).good(), Some(declared(2)), "{hurt}");
        assert!(count(&state) == Some(2) && whole(), "{hurt}");
        assert_eq!(t.keeper.counters.now().mended, 2 + i as u64, "{hurt}");
    }
    let before = copies::Mark::of(&path);
    group_files::verify(&t.keeper, &mut state, now + Duration::from_secs(3));
    assert_eq!(copies::Mark::of(&path), before, "an undamaged file is not written");
}

/// Numbers are never given twice: where the last one is unknown, counting starts far beyond every number that is found.
#[test]
fn a_lost_sum_begins_behind_every_number_in_sight() {
    let t = TestKeeper::new();
    let sum = |state: &mut State| {
        state.groups.clear();
        group_files::read_group(&t.keeper, state, &name());
        state.groups[&name()].summary.clone()
    };
    state_files::write_json(&t.keeper.layout.group(&name()), &declared(2)).unwrap();
    let path = summary_path(&t.keeper.layout, &name());
    assert_eq!(sum(&mut State::default()), GroupSummary::default(), "a new group");
    let kept = GroupSummary { last: 7, deaths: 2, counted: vec![3], proven: true, ..GroupSummary::default() };
    state_files::write_json(&path, &kept).unwrap();
    assert_eq!(sum(&mut instances(&[9])), kept);
    copies::remove(&path).unwrap();
    assert_eq!(sum(&mut instances(&[4, 9])).last, 9);
    let logs = t.keeper.layout.host().join("logs");
    std::fs::write(logs.join("web-r1-1-41.log"), "").unwrap();
    std::fs::write(logs.join("web-r1-12-99.log"), "").unwrap();
    assert_eq!(sum(&mut instances(&[4, 9])).last, 41, "a log is the last sign of it");
    spoil(&path, "{");
    assert_eq!(sum(&mut instances(&[4, 9])).last, 1_041);
}

fn target(t: &TestKeeper) -> Option<TargetFile> {
    state_files::read_json(&t.keeper.layout.target(&name())).good()
}

fn names(file: &TargetFile) -> Vec<(&str, bool)> {
    file.targets.iter().map(|t| (t.id.as_str(), t.draining)).collect()
}

#[test]
fn the_balancer_is_told_of_who_runs_and_nobody_is_taken_out_by_absence() {
    let t = TestKeeper::new();
    let path = t.keeper.layout.target(&name());
    let mut state = instances(&[1, 2, 3, 4]);
    for (one, stage) in state.instances.values_mut().zip([Stage::Up, Stage::Ending, Stage::Dead, Stage::Intended]) {
        one.stage = stage;
        one.started = (stage != Stage::Intended).then(started);
    }
    state.groups.insert(name(), Group::new(Held::Good(declared(4)), GroupSummary::default()));
    // An instance that cannot be followed: the balancer continues with its last report.
    let id = InstanceId::new("web-r1-1-9").unwrap();
    let stray = Target { id: id.clone(), addr: "198.18.7.99:8080".parse().unwrap(), draining: false };
    let told = TargetFile { targets: vec![stray], ..group_files::target_file(&state, &name(), release(1)) };
    state_files::write_json(&path, &told).unwrap();
    t.keeper.state().instances.clear();
    group_files::stray(&t.keeper, id.to_string(), "it is damaged".to_string());
    state.strays = std::mem::take(&mut t.keeper.state().strays);
    group_files::publish_targets(&t.keeper, &mut state, &name());
    let file = target(&t).unwrap();
    assert_eq!(names(&file), [("web-r1-1-1", false), ("web-r1-1-2", true), ("web-r1-1-9", false)]);
    assert!(state.addresses().contains(&[198, 18, 7, 99].into()), "no other instance gets its address");
    let mark = copies::Mark::of(&path);
    group_files::publish_targets(&t.keeper, &mut state, &name());
    assert_eq!(copies::Mark::of(&path), mark, "reported twice, written once");
    spoil(&path, "{");
    group_files::publish_targets(&t.keeper, &mut state, &name());
    assert_eq!((target(&t).as_ref(), t.keeper.counters.now().mended), (Some(&file), 1));
    // The group is gone with all its instances: the file names none, and is removed much later.
    state.instances.clear();
    state.strays.clear();
    state.groups.get_mut(&name()).unwrap().held = Held::Good(Declared { stamp: stamp(4, 0), spec: gone("web-r1-1") });
    group_files::publish_targets(&t.keeper, &mut state, &name());
    assert_eq!(target(&t).map(|file| file.targets.len()), Some(0));
    group_files::publish_targets(&t.keeper, &mut state, &name());
    assert!(path.exists() && state.groups[&name()].published != Published::Nothing);
    let old = SystemTime::now() - Duration::from_secs(601);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    group_files::publish_targets(&t.keeper, &mut state, &name());
    assert!(!path.exists() && !spare(&path).exists() && state.groups[&name()].published == Published::Nothing);
}

fn code(result: Result<(), Fault>) -> String {
    result.err().map_or_else(String::new, |fault| fault.code)
}

fn take(t: &TestKeeper, stamp: Stamp, spec: &GroupSpec) -> String {
    code(serve::take(&t.keeper, DeclareGroup { stamp, spec: spec.clone() }))
}

#[test]
fn a_lost_declaration_is_still_fenced_and_a_lost_tombstone_is_no_free_name() {
    let t = TestKeeper::new();
    let path = t.keeper.layout.group(&name());
    spoil(&path, "{");
    let run = |count| run("web-r1-1", release(1), count);
    // The file is not read yet, then it is; nothing of it runs.
    for read in [false, true] {
        if read {
            group_files::read_groups(&t.keeper, &mut t.keeper.state());
        }
        assert_eq!(take(&t, stamp(9, 9), &run(1)), "corrupt-state", "it may have been a tombstone");
    }
    assert_eq!(take(&t, stamp(9, 9), &gone("web-r1-1")), "", "gone may always be declared");
    assert_eq!(take(&t, stamp(9, 10), &run(1)), "group-gone");
    // Its instances run: their stamp (1, 1) is a lower bound of the group's.
    for missing in [false, true] {
        let t = TestKeeper::new();
        let path = t.keeper.layout.group(&name());
        if !missing {
            spoil(&path, "{");
        }
        *t.keeper.state() = instances(&[1, 2]);
        assert_eq!(take(&t, stamp(1, 0), &run(2)), "stale-stamp", "missing: {missing}");
        assert_eq!(take(&t, stamp(1, 1), &run(2)), "", "what is known is accepted, and written again");
        assert_eq!(state_files::read_json::<Declared>(&path).good().map(|d| d.stamp), Some(stamp(1, 1)), "missing: {missing}");
        assert_eq!(take(&t, stamp(1, 2), &crate::testing::run("web-r1-1", release(2), 2)), "release-changed");
        assert_eq!(take(&t, stamp(1, 2), &run(5)), "");
        assert_eq!(take(&t, stamp(1, 1), &run(2)), "stale-stamp");
    }
}

/// An unexpected exit counts once, also for the next keeper; an expected one, or a check's, does not.
#[test]
fn deaths_are_counted_once_and_only_those_that_nobody_asked_for() {
    let t = TestKeeper::new();
    let mut state = instances(&[1, 2, 3, 4]);
    state.groups.insert(name(), Group::new(Held::Good(declared(4)), GroupSummary::default()));
    for one in state.instances.values_mut() {
        (one.stage, one.ended) = (Stage::Dead, Some(Ended::new(1, None)));
    }
    let mut all = state.instances.values_mut();
    all.next().unwrap();
    all.next().unwrap().ending = Some(Ending { at: Time(1) });
    all.next().unwrap().record.once = Some(OneShot::default());
    all.next().unwrap().stage = Stage::Removing;
    let now = Instant::now();
    reconcile::count_deaths(&t.keeper, &mut state, &name(), now);
    reconcile::count_deaths(&t.keeper, &mut state, &name(), now);
    let sum = state.groups[&name()].summary.clone();
    assert_eq!((sum.deaths, sum.counted.clone(), t.keeper.counters.now().deaths), (1, vec![1], 1));
    assert!(state.groups[&name()].not_before.is_some_and(|at| at > now), "the next launch waits");
    assert_eq!(state_files::read_json::<GroupSummary>(&summary_path(&t.keeper.layout, &name())).good(), Some(sum.clone()));
    // The next keeper finds the same directory.
    state.instances.values_mut().for_each(|one| one.counted_dead = false);
    reconcile::count_deaths(&t.keeper, &mut state, &name(), now);
    assert_eq!(state.groups[&name()].summary.deaths, 1);
    // It is gone: its number is forgotten.
    state.instances.pop_first();
    reconcile::count_deaths(&t.keeper, &mut state, &name(), now);
    assert_eq!(state.groups[&name()].summary.counted, [0; 0]);
}

#[test]
fn a_replacement_counts_as_a_death_and_only_a_proven_group_has_sick_ones() {
    let t = TestKeeper::new();
    let now = Instant::now();
    let mut state = instances(&[1]);
    state.groups.insert(name(), Group::new(Held::Good(declared(1)), GroupSummary::default()));
    let id = InstanceId::new("web-r1-1-1").unwrap();
    let one = state.instances.get_mut(&id).unwrap();
    (one.stage, one.was_healthy) = (Stage::Up, true);
    (0..9).for_each(|_| one.probes.record(false, 3, now));
    let later = now + Duration::from_secs(61);
    assert!(state.instances[&id].sick_ms(later).is_some());
    assert!(!state.there(&name(), later)[0].sick, "the rotation judges it");
    state.groups.get_mut(&name()).unwrap().summary.proven = true;
    assert!(state.there(&name(), later)[0].sick);
    state.instances.get_mut(&id).unwrap().record.once = Some(OneShot::default());
    assert!(!state.there(&name(), later)[0].sick, "a one-shot is never replaced");
    state.instances.get_mut(&id).unwrap().record.once = None;
    std::fs::create_dir_all(t.keeper.layout.instance(&id)).unwrap();
    reconcile::replace(&t.keeper, &mut state, &id, later);
    assert_eq!((state.groups[&name()].summary.deaths, t.keeper.counters.now().replaced), (1, 1));
    assert_eq!(state.instances[&id].stage, Stage::Ending);
    assert_eq!(state_files::read_json::<GroupSummary>(&summary_path(&t.keeper.layout, &name())).good().map(|sum| sum.deaths), Some(1));
}

#[test]
fn what_somebody_may_need_is_in_use() {
    let mut state = instances(&[1, 2]);
    let (first, release) = (InstanceId::new("web-r1-1-1").unwrap(), release(1));
    let (image, code) = (release.image.hex().to_string(), release.artifact.clone().unwrap().hex().to_string());
    for object in [&image, &code] {
        assert!(state.uses(object, None) && state.uses(object, Some(&first)), "the other one needs it");
    }
    assert!(!state.uses("00", None));
    state.instances.pop_last();
    assert!(state.uses(&image, None) && !state.uses(&image, Some(&first)));
    state.groups.insert(name(), Group::new(Held::Good(declared(0)), GroupSummary::default()));
    assert!(state.uses(&image, Some(&first)), "declared, and none exists yet");
    state.groups.insert(name(), Group::new(Held::Good(Declared { stamp: stamp(4, 0), spec: gone("web-r1-1") }), GroupSummary::default()));
    assert!(!state.uses(&image, Some(&first)));
}

#[test]
fn the_pauses_between_replacements_grow_and_are_forgotten_in_half_an_hour() {
    let mut group = Group::new(Held::Good(declared(1)), GroupSummary::default());
    let begin = Instant::now();
    let mut pause = |after_s| {
        let now = begin + Duration::from_secs(after_s);
        group.slow_replacements(now);
        (group.no_replacement_before.unwrap() - now).as_secs()
    };
    assert_eq!([pause(0), pause(10), pause(20), pause(1_820), pause(3_700)], [2, 4, 8, 16, 2]);
}

/// The backoff of a group whose servers die as they start, and what ends it.
#[test]
fn a_long_life_ends_the_backoff() {
    let mut group = Group::new(Held::Good(declared(1)), GroupSummary::default());
    let begin = Instant::now();
    let mut wait = |at_ms, lived_ms| {
        let now = begin + Duration::from_millis(at_ms);
        group.slow_down(lived_ms, now);
        (group.not_before.unwrap() - now).as_millis()
    };
    assert_eq!([wait(0, 5), wait(10, 5), wait(300, 5), wait(900, 20_000), wait(2_000, 5)], [100, 100, 200, 0, 100]);
}

/// The last lines of a dying server are in the group's view, in the history, and known to the next keeper.
#[test]
fn a_death_keeps_its_last_lines_and_its_last_health_check() {
    let t = TestKeeper::new();
    let mut state = instances(&[1]);
    state.groups.insert(name(), Group::new(Held::Good(declared(1)), GroupSummary::default()));
    let one = state.instances.values_mut().next().unwrap();
    (one.stage, one.ended, one.started) = (Stage::Dead, Some(Ended::new(1, None)), Some(started()));
    one.last_lines = vec!["Traceback (most recent call last):".into(), "ModuleNotFoundError: No module named 'x'".into()];
    let probe = model::FailedProbe {
        instance: one.record.id.clone(),
        at: Time(1),
        probe: "TCP".into(),
        answer: "refused".into(),
        lines: Vec::new(),
    };
    one.failed_probe = Some(probe.clone());
    assert_eq!(one.seen(Instant::now()).failed_probe, None, "it is dead: its exit explains more");
    reconcile::count_deaths(&t.keeper, &mut state, &name(), Instant::now());
    let failure = state.seen(&name(), Instant::now()).failure().unwrap();
    assert_eq!(failure.to_string(), "last death: exit 1, \"ModuleNotFoundError: No module named 'x'\"");
    let death = failure.last_death.unwrap();
    assert_eq!((death.exit.as_ref().unwrap().lines.len(), death.probe.as_ref()), (2, Some(&probe)));
    let text = &t.keeper.history.after(0)[0].text;
    assert!(text.ends_with("exited with code 1; its last line: \"ModuleNotFoundError: No module named 'x'\""), "{text}");
    let sum = state_files::read_json::<GroupSummary>(&summary_path(&t.keeper.layout, &name())).good();
    assert_eq!(sum.unwrap().last_death, Some(death), "on the disk");
}

/// Either of both is enough: the release before may have been exclusive, or this one is.
#[test]
fn an_exclusive_server_and_any_other_of_its_service_wait_for_each_other() {
    let is_beside = |(old, new): (bool, bool), stage: Stage, change: &dyn Fn(&mut Instance)| {
        let mut state = instances(&[1]);
        let one = state.instances.values_mut().next().unwrap();
        (one.stage, one.record.release.exclusive) = (stage, old);
        change(one);
        let release = model::Release { exclusive: new, ..release(2) };
        reconcile::beside(&state, &GroupName::new("web-r2-2").unwrap(), &release).is_some()
    };
    let as_it_is = |_: &mut Instance| ();
    for stage in [Stage::Launching, Stage::Up, Stage::Ending, Stage::Dead, Stage::Removing] {
        let seen = [(true, false), (false, true), (true, true), (false, false)].map(|both| is_beside(both, stage, &as_it_is));
        assert_eq!(seen, [true, true, true, false], "{stage:?}");
    }
    let exclusive = (true, true);
    assert!(!is_beside(exclusive, Stage::Intended, &as_it_is), "it was not launched");
    assert!(!is_beside(exclusive, Stage::Up, &|one| one.record.once = Some(OneShot::of(vec!["true".to_string()]))), "a command");
    assert!(!is_beside(exclusive, Stage::Up, &|one| one.record.release.service = "api".parse().unwrap()), "another service");
    assert!(!is_beside(exclusive, Stage::Up, &|one| one.record.group = GroupName::new("web-r2-2").unwrap()), "its own group");
    // One whose record cannot be read may be anybody's.
    let of_stray = |exclusive: bool, group: Option<&str>| {
        let mut state = State::default();
        let group = group.map(|group| GroupName::new(group).unwrap());
        state.strays.insert("web-r1-1-1".to_string(), Stray { why: String::new(), group, target: None });
        let release = model::Release { exclusive, ..release(2) };
        reconcile::beside(&state, &GroupName::new("web-r2-2").unwrap(), &release).is_some()
    };
    assert!(of_stray(true, None) && of_stray(true, Some("web-r1-1")));
    assert!(!of_stray(true, Some("api-r1-1")) && !of_stray(false, None));
}

/// Of a group that has begun; without its summary the record of its newest server says it.
#[test]
fn what_had_to_be_mounted_for_a_group_is_remembered() {
    let points = |path: &str| MountPoints::from([(model::VolumeName::new("db").unwrap(), path.to_string())]);
    let mut state = instances(&[1, 2]);
    for one in state.instances.values_mut() {
        one.record.placement.mount_points = points(if one.record.number == 2 { "/srv/newest" } else { "/srv/first" });
    }
    let of = |state: &State| needs::Group::of(state, &name());
    assert_eq!(of(&state), needs::Group::New);
    let group = |last, mount_points| Group::new(Held::Good(declared(2)), GroupSummary { last, mount_points, ..GroupSummary::default() });
    state.groups.insert(name(), group(0, None));
    assert_eq!(of(&state), needs::Group::New, "it never had a server");
    state.groups.insert(name(), group(1_002, None));
    assert_eq!(of(&state), needs::Group::Begun(Some(points("/srv/newest"))));
    state.instances.clear();
    assert_eq!(of(&state), needs::Group::Begun(None), "unknown is not nothing");
    state.groups.insert(name(), group(3, Some(points("/srv/db"))));
    assert_eq!(of(&state), needs::Group::Begun(Some(points("/srv/db"))));
}
