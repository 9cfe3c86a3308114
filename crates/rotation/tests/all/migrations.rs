//! A migration runs once for each release, before its first server; nothing but a success that is recorded lets a server start.

use crate::common::*;
use model::*;
use rotation::{Decision, Declaration, Intent, Rotation, plan};

fn migrated(name: &str, number: u64) -> GroupRelease {
    let mut to = active(name, number, true);
    to.release.migrate = Some(Migrate { run: vec!["migrate".to_string()], within_ms: 10_000 });
    to
}

fn open() -> Walk {
    let spec = spec(2, vec![Wave::Percent(100)], 0, true);
    Walk::open(&spec, Some((&active("web-r1-1", 1, true), 2)), &migrated("web-r2-2", 2))
}

/// The migration is declared and has not ended.
fn running() -> Walk {
    let mut walk = open();
    walk.world.migrations = false;
    let place = walk.r.plan.steps.iter().position(|s| matches!(s.step, Step::Migrate { .. })).unwrap();
    walk.until(u32::try_from(place).unwrap());
    assert!(walk.cycle() && walk.cycle());
    assert!(matches!(walk.decide(), Decision::Wait { .. }), "{:?}", walk.decide());
    walk
}

fn end(walk: &mut Walk, exit: Exit) {
    let release = walk.r.opened.to.release.digest();
    walk.world.view.groups.get_mut(&group("web-r2-2-m")).unwrap().ended = Some(OneShotEnd { release, exit });
}

fn kinds(walk: &Walk) -> Vec<&'static str> {
    walk.r.opened.plan.steps.iter().map(|s| s.step.kind()).collect()
}

fn ends(walk: &Walk) -> Vec<&EventLine> {
    walk.lines.iter().filter(|line| matches!(line.event, Event::MigrationEnded { .. })).collect()
}

#[test]
fn it_runs_before_the_first_server_and_its_end_is_recorded_before_anything_else() {
    let mut walk = open();
    assert_eq!(kinds(&walk)[..4], ["bake", "migrate", "retire", "scale"]);
    walk.until_closed();
    assert_eq!(walk.r.closed.as_ref().unwrap().verdict, Verdict::Promoted);
    let [ended] = ends(&walk)[..] else { panic!("{:?}", ends(&walk)) };
    assert!(matches!(walk.lines[ended.seq as usize + 1].event, Event::StepSatisfied { .. }));
    assert!(walk.r.is_migrated && Rotation::fold(&walk.lines).unwrap() == walk.r);
}

#[test]
fn a_release_that_is_migrated_or_gets_no_server_has_no_such_step() {
    let to = migrated("web-r2-2", 2);
    for (count, is_migrated, expected) in [(2, false, true), (2, true, false), (0, false, false)] {
        let spec = spec(count, vec![Wave::Percent(100)], 0, true);
        let from = active("web-r1-1", 1, true);
        let world = Perfect::new(Some((&from, 2)), true);
        let intent = Intent { spec: &spec, from: Some(&from), to: &to, direction: Direction::Forward, own_count: None, is_migrated };
        let plan = plan(&intent, &world.view).unwrap();
        assert_eq!(plan.steps.iter().any(|s| matches!(s.step, Step::Migrate { .. })), expected, "{count} {is_migrated}");
    }
}

/// Every end but success is a failure, also one that nobody saw: then nothing was launched and no traffic moved.
#[test]
fn each_end_but_success_rolls_back_before_anything_changed() {
    let exit = |code| Exit::new(code, Time(1));
    for (exit, told) in [
        (Exit { lines: ["one", "two", "", "three", "four"].map(String::from).to_vec(), ..exit(3) }, "exit 3, \"two\", \"three\", \"four\""),
        (Exit { lost: true, ..exit(0) }, "its end is not known"),
        (Exit { timed_out: true, ..exit(0) }, "it ran for longer than it may"),
        (Exit { not_started: Some("no such file".to_string()), ..exit(127) }, "not started: no such file"),
    ] {
        let mut walk = running();
        end(&mut walk, exit);
        walk.until_closed();
        let closed = walk.r.closed.clone().unwrap();
        assert_eq!(closed.verdict, Verdict::RolledBack);
        assert!(closed.why.contains("the migration web-r2-2-m failed") && closed.why.contains(told), "{}", closed.why);
        assert!(!closed.why.contains("data stays"), "{}", closed.why);
        assert!(!walk.r.is_migrated && ends(&walk).len() == 1);
        let stepped = walk.r.touched.iter().map(GroupName::as_str).collect::<Vec<_>>();
        assert!(!stepped.contains(&"web-r2-2"), "{stepped:?}");
    }
}

/// A success counts also where the rotation does not go on, or a later one finds it.
#[test]
fn a_success_is_recorded_whatever_the_rotation_does() {
    for command in [RotationCommand::Rollback, RotationCommand::Stop, RotationCommand::Pause] {
        let mut walk = running();
        walk.command(1, command);
        end(&mut walk, Exit::new(0, Time(1)));
        let decision = walk.decide();
        assert!(matches!(decision, Decision::Record(Event::MigrationEnded { .. })), "{command:?}: {decision:?}");
        walk.cycle();
        if command == RotationCommand::Rollback {
            walk.until_closed();
            assert!(walk.r.closed.as_ref().unwrap().why.contains("data stays as it left it"), "{:?}", walk.r.closed);
        }
    }
}

#[test]
fn a_later_failure_says_that_data_stays() {
    let mut walk = open();
    walk.until(3);
    walk.command(1, RotationCommand::Rollback);
    walk.until_closed();
    let why = walk.r.closed.unwrap().why;
    assert!(why.ends_with("its migration has run: data stays as it left it"), "{why}");
}

/// What a stopped rotation left of a migration is gone before the next begins, and if it succeeded, none begins.
#[test]
fn a_stopped_rotations_migration_is_retired_first_and_its_success_counts() {
    for (code, runs_again) in [(0, false), (143, true)] {
        let (from, to) = (active("web-r1-1", 1, true), migrated("web-r2-3", 2));
        let spec = spec(2, vec![Wave::Percent(100)], 0, true);
        let mut world = Perfect::new(Some((&from, 2)), true);
        let old = group("web-r2-2-m");
        world.runs.insert(old.clone(), to.release.digest());
        world.scale(&old, Some(Stamp { fence: Fence(1), seq: 1 }), 2, 1);
        let own_count = Some(2);
        let intent = Intent { spec: &spec, from: Some(&from), to: &to, direction: Direction::Forward, own_count, is_migrated: false };
        let plan = plan(&intent, &world.view).unwrap();
        assert!(matches!(&plan.steps[1].step, Step::Retire { group } if *group == old), "{plan:?}");
        assert_eq!((plan.steps[0].capacity, plan.floor), (2, 2), "it carries nothing");
        let opened = Opened { spec, from: Some(from), to: to.clone(), plan, why: "test".to_string() };
        let mut walk = Walk::with(opened, world);
        walk.fence = Fence(9);
        walk.until(1);
        let mut declared = 0;
        loop {
            if let Decision::Declare(Declaration::Group(_, spec)) = walk.decide() {
                let gone = spec.group == old;
                declared += u32::from(spec.group.as_str() == "web-r2-3-m" && spec.desired != DesiredGroup::Gone);
                walk.cycle();
                if gone {
                    let exit = Exit::new(code, Time(5));
                    walk.world.view.groups.get_mut(&old).unwrap().ended = Some(OneShotEnd { release: to.release.digest(), exit });
                }
            } else if !walk.cycle() {
                break;
            }
        }
        assert_eq!(walk.r.closed.as_ref().unwrap().verdict, Verdict::Promoted);
        assert_eq!(declared, u32::from(runs_again), "exit {code}");
        assert_eq!(ends(&walk).len(), 1);
    }
}

#[test]
fn a_line_that_cannot_be_is_refused() {
    let walk = running();
    let release = walk.r.opened.to.release.digest();
    let line = |group: &str, release: &Digest| EventLine {
        rotation: walk.r.id.clone(),
        seq: walk.r.len,
        at: walk.world.now,
        fence: walk.fence,
        event: Event::MigrationEnded { group: self::group(group), release: release.clone(), exit: Exit::new(0, Time(1)) },
    };
    let other = walk.r.opened.from.as_ref().unwrap().release.digest();
    for bad in [line("web-r1-2-m", &release), line("web-r2-2", &release), line("mail-r2-2-m", &release), line("web-r2-2-m", &other)] {
        assert!(walk.r.clone().apply(&bad).is_err(), "{bad:?}");
    }
    let mut r = walk.r.clone();
    r.apply(&line("web-r2-2-m", &release)).unwrap();
    assert!(r.apply(&EventLine { seq: r.len, ..line("web-r2-2-m", &release) }).is_err(), "it ended a second time");
}

/// The keeper's word about another release, or about a group that this rotation did not declare, is nothing.
#[test]
fn only_its_own_end_counts() {
    let mut walk = running();
    let other = walk.r.opened.from.as_ref().unwrap().release.digest();
    let seen = walk.world.view.groups.get_mut(&group("web-r2-2-m")).unwrap();
    seen.ended = Some(OneShotEnd { release: other, exit: Exit::new(0, Time(1)) });
    assert!(matches!(walk.decide(), Decision::Wait { .. }), "{:?}", walk.decide());
    let spec = spec(2, vec![Wave::Percent(100)], 0, true);
    let step = Step::Migrate { group: group("web-r1-1-m"), of: group("web-r1-1"), command: vec!["x".to_string()], within_ms: 1 };
    let fault = manual_step(&spec, &step, &walk.world.view).unwrap_err();
    assert_eq!(fault.code, "not-by-hand");
}

#[test]
fn one_that_is_never_launched_is_given_up_in_the_end() {
    let mut walk = running();
    walk.world.view.groups.get_mut(&group("web-r2-2-m")).unwrap().trouble = Some("no room".to_string());
    walk.world.pass(10_000 + 60_000);
    walk.until_closed();
    let why = walk.r.closed.unwrap().why;
    assert!(why.contains("took too long") && why.contains("cannot launch the migration web-r2-2-m: no room"), "{why}");
}
