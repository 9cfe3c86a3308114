//! The schedule against stepping minute by minute, decisions against what the states allow.

mod deployed;
mod world;

use super::*;
use crate::calendar::date;
use model::{Digest, ImageCheck, ImageName, ImageProbe, ImageSpec, Time};
use world::*;

const MIN: u64 = 60_000;
const DAY: u64 = 86_400_000;

/// A calendar of its own: counts days one by one.
struct Day {
    year: u32,
    month: u32,
    day: u32,
    weekday: u32,
}

fn days(n: u64) -> Vec<Day> {
    let (mut year, mut month, mut day, mut weekday) = (1970, 1, 1, 4);
    let mut all = Vec::new();
    for _ in 0..n {
        all.push(Day { year, month, day, weekday });
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let long = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
        (day, weekday) = (day + 1, (weekday + 1) % 7);
        if day > long {
            (day, month) = (1, month + 1);
        }
        if month > 12 {
            (month, year) = (1, year + 1);
        }
    }
    all
}

/// Whether a field of cron names a number, read again for each question.
fn field_has(field: &str, n: u32, low: u32, high: u32) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: u32 = step.parse().unwrap();
        let (from, to) = match range.split_once('-') {
            Some((a, b)) => (a.parse().unwrap(), b.parse().unwrap()),
            None if range == "*" => (low, high),
            None => (range.parse().unwrap(), if part.contains('/') { high } else { range.parse().unwrap() }),
        };
        n >= from && n <= to && (n - from).is_multiple_of(step)
    })
}

/// A form of cron as three lists of yes and no: minutes of an hour, hours of a day, days of the calendar.
struct Wanted {
    minutes: Vec<bool>,
    hours: Vec<bool>,
    days: Vec<bool>,
}

impl Wanted {
    fn of(cron: &str, calendar: &[Day]) -> Wanted {
        let f: Vec<&str> = cron.split(' ').collect();
        let either = !f[2].starts_with('*') && !f[4].starts_with('*');
        let day = |day: &Day| {
            let by_day = field_has(f[2], day.day, 1, 31);
            let by_week = field_has(f[4], day.weekday, 0, 7) || (day.weekday == 0 && field_has(f[4], 7, 0, 7));
            field_has(f[3], day.month, 1, 12) && if either { by_day || by_week } else { by_day && by_week }
        };
        Wanted {
            minutes: (0..60).map(|m| field_has(f[0], m, 0, 59)).collect(),
            hours: (0..24).map(|h| field_has(f[1], h, 0, 23)).collect(),
            days: calendar.iter().map(day).collect(),
        }
    }

    fn fits(&self, minute: u64) -> bool {
        let n = minute as usize;
        self.minutes[n % 60] && self.hours[n / 60 % 24] && self.days[n / 1440]
    }
}

#[test]
fn the_calendar_is_that_of_counting_days() {
    for (n, day) in days(60_000).iter().enumerate() {
        let date = date(n as u64).unwrap();
        let seen = (date.month() as u32, date.day() as u32, date.weekday().to_sunday_zero_offset() as u32);
        assert_eq!(seen, (day.month, day.day, day.weekday), "day {n}, year {}", day.year);
    }
}

#[test]
fn cron_is_what_stepping_minute_by_minute_finds() {
    let calendar = days(366 * 14);
    let forms = [
        "0 4 * * 1",
        "*/7 * * * *",
        "5 4 1-7 * 1",
        "59 23 31 12 *",
        "0 0 29 2 *",
        "17,41 2-5/2 */10 1,6 *",
        "0 12 13 * 5",
        "30 3 * * 0,7",
        "5/20 6 * * 6-7",
    ];
    for form in forms {
        let cron = Cron::parse(form).unwrap();
        let wanted = Wanted::of(form, &calendar);
        // Moments of no regular distance, in the middle of minutes and on their edges.
        let mut at = 11 * MIN;
        for n in 0..40u64 {
            at += (n * n * 97 + 31) * MIN + if n % 3 == 0 { 0 } else { n * 1_001 };
            let first = (at / MIN + 1..366 * 12 * 1440).find(|m| wanted.fits(*m)).unwrap();
            assert_eq!(cron.next(Time(at)), Some(Time(first * MIN)), "{form} after {at}");
        }
    }
    assert_eq!(Cron::parse("0 0 31 2 *").unwrap().next(Time(5)), None, "there is no such day");
    for bad in ["", "x", "60 * * * *", "* * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *"] {
        assert!(Cron::parse(bad).is_err(), "{bad:?} was taken");
    }
}

#[test]
fn spans_are_what_stepping_minute_by_minute_finds() {
    // Minutes of the span by hand: Monday is day 4 of 1970.
    let weekday_minute = |day: u64, h: u64, m: u64| (4 + day) * 1440 + h * 60 + m;
    let span = Span::parse("Fri 18:00-Mon 06:00").unwrap();
    let (begin, end) = (weekday_minute(4, 18, 0), weekday_minute(7, 6, 0));
    for minute in weekday_minute(0, 6, 0)..weekday_minute(7, 6, 0) {
        let t = Time(minute * MIN + 59_999);
        assert_eq!(span.has(t), minute >= begin && minute < end, "{minute}");
        let opens = if minute < begin { Time(begin * MIN) } else { t };
        assert_eq!(span.opens(t), opens);
        let frozen = frozen(&[span], t);
        assert_eq!(frozen, (minute >= begin).then_some(Time(end * MIN)), "{minute}");
    }
    let night = Span::parse("22:30-04:00").unwrap();
    for minute in 0..3 * 1440u64 {
        let of_day = minute % 1440;
        assert_eq!(night.has(Time(minute * MIN)), !(4 * 60..22 * 60 + 30).contains(&of_day), "{minute}");
    }
    assert_eq!(night.length_ms(), (5 * 60 + 30) * MIN);
    // Two that follow each other are one; a whole week has no end, and counts as very long.
    let two = [Span::parse("08:00-12:00").unwrap(), Span::parse("12:00-18:00").unwrap()];
    assert_eq!(frozen(&two, Time(9 * 60 * MIN)), Some(Time(18 * 60 * MIN)));
    let always = [Span::parse("00:00-12:00").unwrap(), Span::parse("12:00-24:00").unwrap()];
    assert!(frozen(&always, Time(5)).unwrap() > Time(7 * DAY));
    for bad in ["", "x", "02:00", "2:00-2:00", "Fri 18:00-06:00", "24:01-03:00", "Xyz 01:00-Mon 02:00"] {
        assert!(Span::parse(bad).is_err(), "{bad:?} was taken");
    }
}

#[test]
fn each_slot_is_due_once_and_in_its_window() {
    for (rebuild, window, jitter_ms, least, most) in [
        ("daily", None, 0, DAY, DAY),
        ("daily", Some("02:00-05:00"), 3 * 3_600_000, DAY, DAY),
        ("hourly", Some("22:00-01:00"), 600_000, 1, 23 * 3_600_000),
        ("weekly", Some("02:00-05:00"), 7_200_000, 7 * DAY, 7 * DAY),
        ("0 12 * * 1-5", Some("02:00-05:00"), 0, DAY, 3 * DAY),
    ] {
        let spec = ImageSpec { rebuild: Some(rebuild.into()), window: window.map(str::to_string), jitter_ms, ..spec() };
        let schedule = Schedule::of(&spec).unwrap().unwrap();
        assert_eq!(schedule.due(None), Some(Time(0)), "never looked at: at once");
        let mut last = schedule.due(Some(Time(40 * DAY))).unwrap();
        for _ in 0..100 {
            let due = schedule.due(Some(last)).unwrap();
            let gap = due.since(last);
            assert!(gap >= least && gap <= most, "{rebuild} {window:?}: {gap} after {last:?}");
            assert!(window.is_none_or(|w| Span::parse(w).unwrap().has(due)), "{rebuild} {window:?}: {due:?}");
            last = due;
        }
    }
    assert_eq!(offset(&name(), 0), 0);
    assert!(offset(&name(), 1_000) < 1_000);
    assert_eq!(offset(&name(), 1 << 40), offset(&name(), 1 << 40));
    assert_ne!(offset(&name(), 1 << 40), offset(&ImageName::new("other").unwrap(), 1 << 40));
}

#[test]
fn a_month_of_days_in_which_some_are_broken() {
    let mut w = World::new(spec());
    w.settle();
    assert_eq!((w.count("adopt"), w.count("check"), w.count("bake")), (1, 1, 0), "what is there is the newest");
    let letters: Vec<char> = "bcdef".chars().collect();
    w.broken = vec!['c', 'e'];
    for day in 1..=30u64 {
        w.now = Time((100 + day) * DAY + 5);
        w.newest[0] = if day % 6 == 0 { letters[(day / 6 - 1) as usize] } else { w.newest[0] };
        w.settle();
        let good = !w.broken.contains(&w.newest[0]);
        let stands = if good { digest(w.newest[0]) } else { digest(char::from(w.newest[0] as u8 - 1)) };
        assert_eq!(w.on, [stands.clone(), stands.clone()], "day {day}: both services, also the one that had gone ahead");
        assert_eq!(w.store, Some(stands));
        assert_eq!(w.life.image(&digest(w.newest[0])).unwrap().state == State::Bad, !good);
    }
    assert_eq!((w.count("check"), w.count("bake"), w.count("bad")), (31, 5, 2), "a bad one is not tried again");
    // Two tiers for each good one; for a bad one the first tier there and back, and the second once.
    assert_eq!(w.count("rollout"), 3 * 2 + 2 * 3);
    assert!(w.life.images.iter().all(|i| !i.story.is_empty()));
}

fn handed(letter: char, checks: Vec<ImageCheck>) -> Option<Handed> {
    Some(Handed { digest: digest(letter), patched: Time(0), checks })
}

#[test]
fn an_alarm_is_told_once_when_it_comes_and_once_when_it_goes() {
    let mut life = Life::new(name());
    let old = |hours: u32| vec![format!("base 3fa9 is {hours} hours old")];
    assert_eq!(life.heed(&old(170), Time(DAY)), old(170));
    let back: Life = serde_json::from_str(&serde_json::to_string(&life).unwrap()).unwrap();
    life = back;
    assert!(life.heed(&old(171), Time(DAY + 60 * MIN)).is_empty(), "also over a restart, and though its words differ");
    let both = [old(172), vec!["the check fails".to_string()]].concat();
    assert_eq!(life.heed(&both, Time(2 * DAY)), ["the check fails"]);
    assert!(life.heed(&both[1..], Time(3 * DAY)).is_empty());
    let rang: Vec<&str> = life.rang.iter().map(|t| t.text.as_str()).collect();
    assert_eq!(rang, ["alarm: base 3fa9 is 170 hours old", "alarm: the check fails", "over after 2 days: base 3fa9 is 170 hours old"]);
    assert_eq!(life.heed(&old(1), Time(4 * DAY)), old(1), "and again when it comes again");
    (0..1_000u64).for_each(|n| drop(life.heed(&if n % 2 == 0 { old(1) } else { Vec::new() }, Time(5 * DAY + n))));
    assert!(life.rang.len() <= 200, "it does not grow forever");
}

#[test]
fn what_somebody_bakes_is_tested_by_its_own_checks_and_then_current() {
    let mut w = World::new(spec());
    w.settle();
    let check = ImageCheck { name: "x".into(), what: ImageProbe::Absent { path: "/x".into() }, within_ms: 1_000 };
    w.now = w.now.plus(MIN);
    w.handed = handed('b', vec![check]);
    assert!(w.step() && w.step());
    assert_eq!((w.count("taken"), w.count("test")), (1, 1), "the deployed recipe has no check, its own has one");
    assert_eq!(w.store, Some(digest('a')), "not before it is tested");
    let now = w.now;
    w.life.turn(&digest('b'), State::Tested, now, "tested");
    w.settle();
    assert_eq!((&w.store, &w.on), (&Some(digest('b')), &[digest('a'), digest('a')]), "current, and not rolled out by itself");
    // Once more: it is current already, and nothing comes of it.
    w.handed = handed('b', Vec::new());
    w.settle();
    assert_eq!((w.count("taken"), w.life.current().map(|c| &c.digest)), (2, Some(&digest('b'))));
    // A retired one goes the whole way again.
    w.now = w.now.plus(MIN);
    w.handed = handed('a', Vec::new());
    w.settle();
    assert_eq!(w.store, Some(digest('a')));
}

#[test]
fn what_is_bad_or_revoked_is_not_made_current_by_hand() {
    for state in [State::Bad, State::Revoked] {
        let mut w = World::new(spec());
        w.settle();
        (w.newest[0], w.now) = ('b', w.now.plus(DAY));
        w.settle();
        let now = w.now;
        w.store = match state {
            State::Bad => w.life.found_bad(&digest('b'), Evidence::Rollout(model::RolloutId::of(1)), now, "so"),
            _ => w.life.went_bad(&digest('b'), state, now, "so"),
        };
        w.handed = handed('b', Vec::new());
        w.settle();
        assert_eq!((&w.store, w.life.image(&digest('b')).unwrap().state), (&Some(digest('a')), state));
        // Also by whoever writes the store itself.
        w.store = Some(digest('b'));
        w.settle();
        assert_eq!((&w.store, w.life.image(&digest('b')).unwrap().state), (&Some(digest('a')), state));
    }
}

#[test]
fn what_somebody_rolls_back_by_hand_is_left_alone() {
    let mut w = World::new(spec());
    w.settle();
    (w.newest[0], w.now) = ('b', w.now.plus(DAY));
    w.settle();
    assert_eq!(w.on[1], digest('b'));
    w.roll_back(1, 'a', 1);
    let before = w.count("rollout");
    for _ in 0..5 {
        w.now = w.now.plus(DAY);
        w.settle();
    }
    assert_eq!((w.count("rollout"), &w.on[1]), (before, &digest('a')));
    // The next image goes there again.
    (w.newest[0], w.now) = ('c', w.now.plus(DAY));
    w.settle();
    assert_eq!(w.on, [digest('c'), digest('c')]);
}

#[test]
fn a_revoked_image_is_left_only_when_that_is_asked_for() {
    let mut w = World::new(spec());
    w.settle();
    (w.newest[0], w.now) = ('b', w.now.plus(DAY));
    w.settle();
    w.store = w.life.went_bad(&digest('b'), State::Revoked, w.now, "a key was in it");
    assert_eq!(w.store, Some(digest('a')));
    w.settle();
    assert_eq!(w.on, [digest('b'), digest('b')], "it is reported, and nothing moves by itself");
    assert_eq!(alarms(&w.life, &w.users(), w.now).len(), 1);
    w.life.replace = Some(Replace { digest: digest('b'), by: "me".into() });
    w.settle();
    assert_eq!(w.on, [digest('a'), digest('a')]);
    w.now = w.now.plus(DAY);
    w.settle();
    assert_eq!(w.on, [digest('a'), digest('a')], "equal inputs give equal bytes: it does not come back");
}

/// The first of two tiers could not run on an image, and it was marked bad for both.
#[test]
fn who_cannot_run_on_an_image_is_left_out_and_the_others_get_it() {
    for (unfit, service) in NAMES.iter().enumerate() {
        let mut w = World::new(spec());
        w.settle();
        (w.newest[0], w.unusable, w.now) = ('b', vec![('b', unfit)], w.now.plus(DAY));
        w.settle();
        let stands = if unfit == 0 { "ab" } else { "ba" };
        assert_eq!((w.stands().as_str(), w.state('b'), w.count("bad")), (stands, Some(State::Current), 0));
        let alarm = alarms(&w.life, &w.users(), w.now);
        assert!(alarm.len() == 1 && alarm[0].starts_with(&format!("{service} stays on base aaaa")), "{alarm:?}");
        assert!(alarm[0].contains("it cannot run on the current image bbbb") && alarm[0].ends_with("name a user, and deploy it"));
        w.days(5);
        assert_eq!((w.stands().as_str(), w.count("left out")), (stands, 1), "it is not decided again");
        // Also not by who wants everybody off an image.
        w.life.went_bad(&digest('a'), State::Revoked, w.now, "a key was in it");
        w.life.replace = Some(Replace { digest: digest('a'), by: "me".into() });
        w.settle();
        assert_eq!(w.stands(), stands);
        // Its next deploy comes with settings that fit.
        w.unusable.clear();
        w.deploy('b', 2, &[unfit]);
        w.settle();
        assert_eq!((w.stands().as_str(), alarms(&w.life, &w.users(), w.now)), ("bb", Vec::new()));
    }
}

#[test]
fn an_image_that_no_service_can_run_on_is_bad() {
    let mut w = World::new(spec());
    w.settle();
    (w.newest[0], w.unusable, w.now) = ('b', vec![('b', 0), ('b', 1)], w.now.plus(DAY));
    w.days(3);
    assert_eq!((w.stands().as_str(), w.state('b'), w.store.clone()), ("aa", Some(State::Bad), Some(digest('a'))));
    assert_eq!((w.count("left out"), w.count("bad"), w.count("rollout")), (0, 1, 0));
    // A request to try it again clears who was left out of it.
    let one = w.life.image_mut(&digest('b')).unwrap();
    one.left_out.insert(model::ServiceName::new("web").unwrap(), LeftOut { on: digest('a'), why: String::new() });
    w.life.try_again(&digest('b'), w.now, "me");
    w.unusable.clear();
    w.settle();
    assert_eq!(w.stands(), "bb");
}

#[test]
fn checks_windows_and_freezes_hold_things_up_and_say_until_when() {
    let check = ImageCheck { name: "python".into(), what: ImageProbe::Run { command: vec!["true".into()] }, within_ms: 60_000 };
    let mut w = World::new(ImageSpec { checks: vec![check], window: Some("02:00-05:00".into()), ..spec() });
    w.now = Time(100 * DAY + 12 * 3_600_000);
    assert!(w.step(), "the image that is there is taken over at any time");
    let opens = Time(101 * DAY + 2 * 3_600_000);
    assert!(matches!(decide(&w.life, &w.seen()), Decision::Wait { until: Some(t), .. } if t == opens));
    w.now = opens;
    w.newest[0] = 'b';
    assert!(w.step() && w.step(), "looks and bakes");
    assert_eq!(decide(&w.life, &w.seen()), Decision::Test { digest: digest('b'), check: 0 });
    let group = model::GroupName::new("image-base-1").unwrap();
    w.life.work = Some(Work::Test(Test { digest: digest('b'), check: 0, group, begun: w.now }));
    let now = |test| decide(&w.life, &Seen { test, ..w.seen() });
    assert_eq!(now(TestNow::NotThere), Decision::Test { digest: digest('b'), check: 0 }, "a test that was never begun is begun");
    assert!(matches!(now(TestNow::Running), Decision::Wait { .. }));
    assert_eq!(now(TestNow::Passed), Decision::Tested { digest: digest('b') });
    assert!(
        matches!(now(TestNow::Failed("exit 1".into())), Decision::MarkBad { why, evidence: Evidence::Checks(_), .. } if why.contains("exit 1"))
    );
    let late = Seen { wall: w.now.plus(60_001), test: TestNow::Running, ..w.seen() };
    assert!(matches!(decide(&w.life, &late), Decision::MarkBad { .. }));
    w.life.work = None;
    w.life.turn(&digest('b'), State::Tested, w.now, "");
    assert!(w.step(), "promotes");
    let mut seen = w.seen();
    seen.services.iter_mut().for_each(|b| b.freeze = vec!["00:00-04:00".into()]);
    assert!(matches!(decide(&w.life, &seen), Decision::Wait { until: Some(t), .. } if t == Time(101 * DAY + 4 * 3_600_000)));
    seen.now = Time(101 * DAY + 4 * 3_600_000);
    assert!(matches!(decide(&w.life, &seen), Decision::RollOut { .. }));
    seen.now = Time(101 * DAY + 6 * 3_600_000);
    assert!(matches!(decide(&w.life, &seen), Decision::Wait { until: Some(t), .. } if t == Time(102 * DAY + 2 * 3_600_000)));
    seen.now = opens;
    seen.services.iter_mut().for_each(|b| (b.freeze, b.busy) = (Vec::new(), Some("web.7".into())));
    assert!(matches!(decide(&w.life, &seen), Decision::Wait { why, .. } if why.contains("web.7")));
}

#[test]
fn trouble_is_tried_again_later_and_later_and_a_hopeless_bake_only_when_its_inputs_differ() {
    let mut w = World::new(spec());
    w.settle();
    w.now = w.now.plus(DAY);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(decide(&w.life, &w.seen()), Decision::Check);
        w.life.failed("check", "mirror down", true, None, w.now, MIN);
        let Decision::Wait { until: Some(until), why } = decide(&w.life, &w.seen()) else { panic!() };
        assert!(why.contains("mirror down"));
        waits.push(until.since(w.now) / MIN);
        w.now = until;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert!(alarms(&w.life, &[], w.now)[0].contains("mirror down"));
    w.newest[0] = 'b';
    assert!(w.step());
    assert!(w.life.trouble.is_none());
    assert_eq!(decide(&w.life, &w.seen()), Decision::Bake);
    w.life.failed("bake", "a script failed", false, Some(digest('b')), w.now, MIN);
    for _ in 0..3 {
        let Decision::Wait { until: Some(until), .. } = decide(&w.life, &w.seen()) else { panic!() };
        w.now = until;
        assert!(w.step());
    }
    assert_eq!((w.count("check"), w.count("bake")), (5, 0), "looked at daily, not baked");
    (w.newest[0], w.now) = ('c', w.now.plus(DAY));
    w.settle();
    assert_eq!(w.on[0], digest('c'));
}

/// A bake that killed its control plane each time was begun again each time, at once, and nothing said so.
#[test]
fn a_bake_in_which_the_control_plane_ends_is_a_failure() {
    let mut w = World::new(spec());
    w.settle();
    (w.newest[0], w.now) = ('b', w.now.plus(DAY));
    assert!(w.step());
    assert_eq!((decide(&w.life, &w.seen()), w.life.was_interrupted(w.now, MIN)), (Decision::Bake, None));
    w.life.wanted = Some(state::Wanted { at: w.now, by: "me".into() });
    let mut waits = Vec::new();
    for times in 1..=4 {
        w.life.baking = Some(Baking { begun: w.now, inputs: digest('b') });
        w.life = serde_json::from_str(&serde_json::to_string(&w.life).unwrap()).unwrap();
        assert!(w.life.was_interrupted(w.now, MIN).is_some() && w.life.baking.is_none());
        let alarms = alarms(&w.life, &w.users(), w.now);
        assert!(alarms.len() == 1 && alarms[0].contains("the bake fails") && alarms[0].contains("ended in the middle"), "{alarms:?}");
        // Who asked for it does not wait, once.
        assert_eq!((w.life.wanted.is_some(), decide(&w.life, &w.seen()) == Decision::Bake), (times == 1, times == 1));
        if let Decision::Wait { until: Some(until), .. } = decide(&w.life, &w.seen()) {
            waits.push(until.since(w.now) / MIN);
            w.now = until;
        }
        assert_eq!(decide(&w.life, &w.seen()), Decision::Bake);
    }
    assert_eq!(waits, [2, 4, 8]);
    w.settle();
    assert_eq!((w.stands().as_str(), &w.life.trouble, alarms(&w.life, &w.users(), w.now)), ("bb", &None, Vec::new()));
}

#[test]
fn an_image_is_as_old_as_the_last_time_it_was_the_newest() {
    let mut w = World::new(spec());
    for _ in 0..40 {
        w.settle();
        assert_eq!(alarms(&w.life, &w.users(), w.now), [""; 0]);
        w.now = w.now.plus(DAY);
    }
    // Something newer that never works: after max_age it is reported.
    (w.newest[0], w.broken) = ('b', vec!['b']);
    let mut told = 0;
    for day in 1..=9 {
        w.settle();
        told += usize::from(alarms(&w.life, &w.users(), w.now).iter().any(|text| text.contains("max_age")));
        assert_eq!(told > 0, day > 7, "day {day}");
        w.now = w.now.plus(DAY);
    }
}

/// Found by a reader: an image was rolled back and marked bad, and the check for alarms was silent.
#[test]
fn an_image_that_was_rolled_back_is_an_alarm_until_there_is_a_newer_one() {
    let mut w = World::new(spec());
    w.settle();
    let told = |w: &World| alarms(&w.life, &w.users(), w.now);
    assert_eq!(told(&w), [""; 0]);
    (w.newest[0], w.broken, w.now) = ('b', vec!['b'], w.now.plus(DAY));
    w.settle();
    for _ in 0..3 {
        let said = told(&w);
        let is_named = |letter| said[0].contains(digest(letter).short());
        assert!(said.len() == 1 && is_named('a') && is_named('b') && said[0].contains("web rolled back"), "{said:?}");
        w.days(1);
    }
    assert_eq!(alarms(&w.life, &[], w.now), [""; 0], "nobody waits for it");
    (w.newest[0], w.now) = ('c', w.now.plus(DAY));
    w.settle();
    assert_eq!((told(&w), w.stands().as_str()), (Vec::new(), "cc"));
}

#[test]
fn the_changes_are_told_with_what_they_fix() {
    let a = [("openssl", "3.0.15-1"), ("libc6", "2.36-9"), ("gone", "1")];
    let b = [("openssl", "3.0.16-1"), ("libc6", "2.36-9"), ("new", "2")];
    let all = changes(a, b);
    let found = ["CVE-2026-1234", "CVE-2026-99999"].map(String::from);
    assert_eq!(sentence(&all, &found), "gone 1 went, new 2 came in, openssl 3.0.15-1 -> 3.0.16-1 (fixes CVE-2026-1234, CVE-2026-99999)");
}
