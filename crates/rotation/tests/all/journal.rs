//! The fold: invalid journals are refused with the line, and never by a panic.

use crate::common::*;
use model::*;
use proptest::prelude::*;
use rotation::Rotation;

/// A whole rotation with a rollback in it.
fn journal() -> Vec<EventLine> {
    let spec = spec(4, vec![Wave::Percent(50), Wave::Percent(100)], 1_000, true);
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    let mut walk = Walk::open(&spec, Some((&old, 4)), &new);
    walk.until(1);
    walk.command(1, RotationCommand::Pause);
    walk.command(2, RotationCommand::Resume);
    walk.until(4);
    walk.cycle();
    walk.fence = Fence(2);
    walk.until(5);
    walk.command(3, RotationCommand::Rollback);
    walk.until_closed();
    walk.lines
}

#[test]
fn every_prefix_folds_and_the_rest_applies() {
    let lines = journal();
    for cut in 1..lines.len() {
        let mut r = Rotation::fold(&lines[..cut]).unwrap();
        assert_eq!(r.len, cut as u64);
        for line in &lines[cut..] {
            r.apply(line).unwrap();
        }
        assert_eq!(r, Rotation::fold(&lines).unwrap());
    }
}

#[test]
fn a_line_missing_or_doubled_is_refused_with_its_place() {
    let lines = journal();
    for at in 0..lines.len() - 1 {
        let mut missing = lines.clone();
        missing.remove(at);
        let fault = Rotation::fold(&missing).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.blame), ("bad-journal", Blame::Ours));
        assert!(fault.message.contains(&format!("line {}", at + 1)), "{fault}");
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        assert!(Rotation::fold(&doubled).is_err());
    }
    assert!(Rotation::fold(&[]).is_err());
}

#[test]
fn what_cannot_follow_is_refused_and_changes_nothing() {
    let lines = journal();
    let impossible: Vec<Event> = vec![
        lines[0].event.clone(),
        Event::StepStarted { step: 9, stamp: Stamp { fence: Fence(2), seq: 1 }, mark: None, clock: None },
        Event::StepStarted { step: 0, stamp: Stamp::default(), mark: None, clock: None },
        Event::StepSatisfied { step: 0, seen: String::new() },
        Event::PlanReplaced { why: String::new(), plan: Plan::default(), failure: None },
    ];
    let opened = Rotation::fold(&lines[..1]).unwrap();
    for event in impossible {
        let mut r = opened.clone();
        let line = EventLine { rotation: r.id.clone(), seq: 1, at: Time(0), fence: Fence(2), event };
        assert!(r.apply(&line).is_err(), "{line:?}");
        assert_eq!(r, opened);
    }
    let mut closed = Rotation::fold(&lines).unwrap();
    let before = closed.clone();
    let issued = Event::CommandTaken(IssuedCommand { n: 9, command: RotationCommand::Stop, by: String::new() });
    let line = EventLine { rotation: closed.id.clone(), seq: closed.len, at: Time(0), fence: Fence(9), event: issued };
    assert!(closed.apply(&line).is_err());
    assert_eq!(closed, before);
}

#[test]
fn an_older_fence_another_rotation_and_a_command_taken_twice_are_refused() {
    let lines = journal();
    let mut older = lines.clone();
    older.last_mut().unwrap().fence = Fence(1);
    assert!(Rotation::fold(&older).unwrap_err().message.contains("fence 1 after fence 2"));
    let mut other = lines.clone();
    other.last_mut().unwrap().rotation = RotationId::of(&service(), 8);
    assert!(Rotation::fold(&other).unwrap_err().message.contains("journal of web.7"));
    let mut again = Rotation::fold(&lines[..1]).unwrap();
    let command_at = |seq| EventLine {
        rotation: again.id.clone(),
        seq,
        at: Time(0),
        fence: Fence(1),
        event: Event::CommandTaken(IssuedCommand { n: 1, command: RotationCommand::Pause, by: String::new() }),
    };
    let (first, second) = (command_at(1), command_at(2));
    again.apply(&first).unwrap();
    assert!(again.apply(&second).unwrap_err().message.contains("a second time"));
}

fn event() -> impl Strategy<Value = Event> {
    let plan = |direction| Plan { direction, ..Plan::default() };
    let stamp = || (0u64..4, 0u64..12).prop_map(|(f, seq)| Stamp { fence: Fence(f), seq });
    let mark = prop::option::of((0u64..3).prop_map(|epoch| TrafficMark { epoch, requests: 5, errors: 1, deaths: None }));
    let command_at = prop_oneof![
        Just(RotationCommand::Pause),
        Just(RotationCommand::Resume),
        Just(RotationCommand::Rollback),
        Just(RotationCommand::Stop)
    ];
    prop_oneof![
        (0u32..12, stamp(), mark).prop_map(|(step, stamp, mark)| Event::StepStarted { step, stamp, mark, clock: None }),
        (0u32..12).prop_map(|step| Event::StepSatisfied { step, seen: "seen".to_string() }),
        prop_oneof![Just(Direction::Forward), Just(Direction::Back)].prop_map(move |d| Event::PlanReplaced {
            why: "why".to_string(),
            plan: plan(d),
            failure: None
        }),
        (0u64..5, command_at).prop_map(|(n, command)| Event::CommandTaken(IssuedCommand { n, command, by: "x".to_string() })),
        Just(Event::Closed { verdict: Verdict::Promoted, why: String::new(), final_inventory: FinalInventory::default() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    /// Any lines in any order give a rotation or an error. A rotation can be decided and explained on an empty view, and on a
    /// perfect one, without a panic.
    #[test]
    fn no_journal_makes_it_panic(events in prop::collection::vec((event(), 0u64..4, 0u64..u64::MAX), 0..30)) {
        let lines = journal();
        let mut r = Rotation::fold(&lines[..1]).unwrap();
        let world = Walk::open(&r.opened.spec.clone(), None, &r.opened.to.clone()).world;
        for (event, fence, at) in events {
            // Half of the starts carry the right stamp, so that some journals get further.
            let event = match event {
                Event::StepStarted { mark, .. } if at % 2 == 0 => {
                    Event::StepStarted { step: r.cursor, stamp: Stamp { fence: Fence(fence), seq: r.len }, mark, clock: None }
                }
                Event::StepSatisfied { seen, .. } if at % 2 == 0 => Event::StepSatisfied { step: r.cursor, seen },
                other => other,
            };
            let line = EventLine { rotation: r.id.clone(), seq: r.len, at: Time(at), fence: Fence(fence), event };
            let before = r.clone();
            if r.apply(&line).is_err() {
                prop_assert_eq!(&r, &before);
            }
            for view in [View::default(), world.view.clone(), View { at: Time(u64::MAX), ..world.view.clone() }] {
                for now in [Time(0), Time(at), Time(u64::MAX)] {
                    let _ = rotation::decide(&r, &view, &[], now, Fence(fence));
                    let _ = rotation::explain(&r, &view, now);
                    let _ = rotation::step_status(&r, r.cursor, &view, now);
                }
            }
            let (_, _, _, _) = (r.groups(), r.route(), r.objects(), r.remnants());
        }
    }

    /// A valid journal with one line replaced or moved.
    #[test]
    fn a_journal_with_lines_exchanged_folds_or_is_refused(a in 0usize..60, b in 0usize..60) {
        let mut lines = journal();
        let (a, b) = (a % lines.len(), b % lines.len());
        lines.swap(a, b);
        prop_assert_eq!(Rotation::fold(&lines).is_ok(), a == b);
        let mut events = journal();
        let moved = events[a].event.clone();
        events[b].event = moved;
        let _ = Rotation::fold(&events);
    }
}
