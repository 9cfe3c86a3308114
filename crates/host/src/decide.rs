//! Decides the next actions for one group, from its desired state and its instances. Pure: no clock, no disk.
//!
//! ```text
//!  Create ─▶ Intended ─Launch▶ Launching ─started▶ Up ─End▶ Ending ─exit▶ Dead ─Remove▶ Removing ─▶ (nothing)
//!               │ Remove (never launched)   │ End             ▲
//!               └────────▶ Removing         └── exits by itself: Dead (kept only for `once`)
//! ```

use model::InstanceId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Recorded, not launched.
    Intended,
    Launching,
    Up,
    Ending,
    Dead,
    Removing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub id: InstanceId,
    pub number: u64,
    pub stage: Stage,
    pub healthy: bool,
    /// It has failed its health checks for long enough to be replaced.
    pub sick: bool,
    /// An earlier keeper launched it, and this one's health checks have no result yet.
    pub unknown: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub count: u32,
    /// A one-shot: an instance that has ended is kept and not replaced.
    pub once: bool,
    /// It has ended, or its time is over: nothing is launched for it any more.
    pub spent: bool,
    /// Its objects are mounted and no backoff is running.
    pub ready: bool,
    /// How many may exist beyond the count, to replace sick ones.
    pub surge: u32,
    /// Whether another replacement may be created now.
    pub may_replace: bool,
    /// Exclusive: one server at most, and none is launched before every other is gone.
    pub alone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Create(u32),
    Launch(InstanceId),
    /// A sick one that a healthy one replaces.
    Replace(InstanceId),
    End(InstanceId),
    Remove(InstanceId),
}

/// `wanted` None: the group is gone, or was never declared.
pub fn next(wanted: Option<Desired>, there: &[Observed]) -> Vec<Act> {
    let wanted = wanted.unwrap_or_default();
    let mut acts = Vec::new();
    let mut counted: Vec<&Observed> = Vec::new();
    for one in there {
        match one.stage {
            Stage::Intended if wanted.spent => acts.push(Act::Remove(one.id.clone())),
            Stage::Intended | Stage::Launching | Stage::Up => counted.push(one),
            Stage::Dead if wanted.once => counted.push(one),
            Stage::Dead => acts.push(Act::Remove(one.id.clone())),
            Stage::Ending | Stage::Removing => {}
        }
    }
    let count = if wanted.alone { wanted.count.min(1) } else { wanted.count } as usize;
    // What has not been removed may still run.
    let waits = wanted.alone && there.iter().any(|one| matches!(one.stage, Stage::Ending | Stage::Dead | Stage::Removing));
    // A sick one is ended only when the healthy and the other sick ones suffice without it: it may still serve some requests.
    let healthy = counted.iter().filter(|one| one.healthy).count();
    let mut sick: Vec<&Observed> = counted.iter().copied().filter(|one| one.sick).collect();
    sick.sort_by_key(|one| std::cmp::Reverse(one.number));
    let filled = match wanted.alone {
        // It is ended first: nobody can take its place while it is there.
        true if wanted.may_replace && count > 0 => sick.len(),
        true => 0,
        false => (healthy + sick.len()).saturating_sub(count).min(sick.len()),
    };
    acts.extend(sick[..filled].iter().map(|one| Act::Replace(one.id.clone())));
    counted.retain(|one| !sick[..filled].iter().any(|gone| gone.id == one.id));
    let held = waits || wanted.alone && filled > 0;
    let surge = if wanted.alone { 0 } else { (sick.len() - filled).min(wanted.surge as usize) };
    // Ended first: what never ran, then what is not healthy (the sick last: they may still serve), then the newest.
    counted.sort_by_key(|one| (one.stage != Stage::Intended, one.healthy, one.sick, std::cmp::Reverse(one.number)));
    let mut excess = counted.len().saturating_sub(count + surge);
    if count > 0 && counted.iter().any(|one| one.unknown) {
        // Which of them serves is not known yet: only what never ran may be removed.
        excess = excess.min(counted.iter().filter(|one| one.stage == Stage::Intended).count());
    }
    for (i, one) in counted.iter().enumerate() {
        let id = one.id.clone();
        match one.stage {
            Stage::Intended | Stage::Dead if i < excess => acts.push(Act::Remove(id)),
            _ if i < excess => acts.push(Act::End(id)),
            Stage::Intended if wanted.ready && !held => acts.push(Act::Launch(id)),
            _ => {}
        }
    }
    let most = if held { 0 } else { count + if wanted.may_replace { surge } else { 0 } };
    let missing = most.saturating_sub(counted.len());
    if missing > 0 && wanted.ready && !wanted.spent {
        acts.push(Act::Create(u32::try_from(missing).unwrap_or(u32::MAX)));
    }
    acts
}

/// How many replacements of a group may exist at once: one for up to ten servers, two for up to twenty. If all are sick, the cause may
/// be something that they share, and more new ones would make it worse.
pub fn surge(count: u32) -> u32 {
    1 + count.saturating_sub(1) / 10
}

/// How long the next replacement waits after the `streak`th one.
pub fn replacement_pause_ms(streak: u32) -> u64 {
    if streak == 0 { 0 } else { (2_000u64 << (streak - 1).min(8)).min(300_000) }
}

/// A server that was healthy is sick after failing for this time: three times what makes it unhealthy.
pub fn sick_after_ms(every_ms: u64, unhealthy_after: u32) -> u64 {
    every_ms.saturating_mul(u64::from(unhealthy_after)).saturating_mul(3).clamp(2_000, 60_000)
}

/// As above, for a server that was never healthy, in a group that was.
pub const NEVER_HEALTHY_MS: u64 = 300_000;

/// How long after a death the next launch waits. `streak`: early deaths and failed launches in a row.
pub fn backoff_ms(streak: u32) -> u64 {
    if streak == 0 { 0 } else { (100u64 << (streak - 1).min(10)).min(10_000) }
}

/// An instance that ran for this time did not fail at its start.
pub const LONG_LIFE_MS: u64 = 10_000;

/// The streak after a round of deaths: several instances that die together count once.
pub fn streak_after(streak: u32, lived_ms: u64, since_last_death_ms: Option<u64>) -> u32 {
    if lived_ms >= LONG_LIFE_MS {
        0
    } else if streak > 0 && since_last_death_ms.is_some_and(|ms| ms < 50) {
        streak
    } else {
        streak.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Stage::*;

    fn there(list: &[(u64, Stage, bool)]) -> Vec<Observed> {
        let id = |n: u64| InstanceId::new(format!("web-r1-1-{n}")).unwrap();
        list.iter()
            .map(|&(number, stage, healthy)| Observed { id: id(number), number, stage, healthy, sick: false, unknown: false })
            .collect()
    }

    /// `h` healthy, `s` sick, `n` new, `u` unknown: by number.
    fn health(list: &str) -> Vec<Observed> {
        let mut all = there(&(1..).zip(list.chars()).map(|(n, c)| (n, Up, c == 'h')).collect::<Vec<_>>());
        all.iter_mut().zip(list.chars()).for_each(|(one, c)| (one.sick, one.unknown) = (c == 's', c == 'u'));
        all
    }

    fn words(wanted: Option<Desired>, list: &[(u64, Stage, bool)]) -> Vec<String> {
        spoken(next(wanted, &there(list)))
    }

    fn spoken(acts: Vec<Act>) -> Vec<String> {
        let number = |id: InstanceId| id.as_str().rsplit('-').next().unwrap().to_string();
        acts.into_iter()
            .map(|act| match act {
                Act::Create(n) => format!("create {n}"),
                Act::Launch(id) => format!("launch {}", number(id)),
                Act::Replace(id) => format!("replace {}", number(id)),
                Act::End(id) => format!("end {}", number(id)),
                Act::Remove(id) => format!("remove {}", number(id)),
            })
            .collect()
    }

    fn want(count: u32) -> Option<Desired> {
        Some(Desired { count, ready: true, ..Desired::default() })
    }

    #[test]
    fn a_group_grows_shrinks_and_goes() {
        assert_eq!(words(want(3), &[]), ["create 3"]);
        assert_eq!(words(want(3), &[(1, Up, true), (2, Launching, false)]), ["create 1"]);
        assert_eq!(words(want(2), &[(1, Intended, false), (2, Up, true)]), ["launch 1"]);
        assert_eq!(words(want(2), &[(1, Up, true), (2, Up, true)]), [""; 0]);
        assert_eq!(words(want(1), &[(1, Up, true), (2, Up, true), (3, Up, true)]), ["end 3", "end 2"]);
        assert_eq!(words(want(2), &[(1, Up, false), (2, Up, true), (3, Up, true)]), ["end 1"]);
        assert_eq!(words(want(1), &[(1, Up, true), (2, Intended, false), (3, Launching, false)]), ["remove 2", "end 3"]);
        assert_eq!(
            words(None, &[(1, Up, true), (2, Intended, false), (3, Dead, false), (4, Ending, true)]),
            ["remove 3", "remove 2", "end 1"]
        );
    }

    #[test]
    fn what_is_ending_does_not_count_and_what_is_dead_is_replaced() {
        assert_eq!(words(want(1), &[(1, Ending, true)]), ["create 1"]);
        assert_eq!(words(want(1), &[(1, Dead, false)]), ["remove 1", "create 1"]);
        assert_eq!(words(want(1), &[(1, Removing, false), (2, Up, true)]), [""; 0]);
    }

    /// A keeper that has just started does not know which servers serve.
    #[test]
    fn nobody_is_ended_before_it_is_known_who_serves() {
        let now = |list: &str| spoken(next(want(2), &health(list)));
        for list in ["uuu", "huu", "hhu", "nuu", "uhh"] {
            assert_eq!(now(list), [""; 0], "{list}");
        }
        assert_eq!((now("nhh"), now("hhh")), (vec!["end 1".to_string()], vec!["end 3".to_string()]));
        let mut with_intended = health("uuh");
        with_intended[2].stage = Intended;
        assert_eq!(spoken(next(want(2), &with_intended)), ["remove 3"], "it never ran");
        assert_eq!(spoken(next(want(0), &health("uu"))), ["end 2", "end 1"], "none of them stays");
    }

    #[test]
    fn nothing_is_launched_while_not_ready() {
        let wanted = Some(Desired { count: 2, ..Desired::default() });
        assert_eq!(words(wanted, &[(1, Dead, false), (2, Intended, false)]), ["remove 1"]);
    }

    #[test]
    fn a_sick_one_goes_when_its_place_is_filled_and_not_before() {
        let cured = |count, may_replace, list: &str| {
            spoken(next(Some(Desired { count, ready: true, surge: surge(count), may_replace, ..Desired::default() }), &health(list)))
        };
        let table: [(u32, bool, &str, &[&str]); 13] = [
            (3, true, "hhs", &["create 1"]),
            (3, false, "hhs", &[]),
            (3, true, "hhsn", &[]),
            (3, true, "hhsh", &["replace 3"]),
            // It recovered: its replacement is ended.
            (3, true, "hhhn", &["end 4"]),
            // All are sick: one replacement is created, and none is ended until that is healthy.
            (3, true, "sss", &["create 1"]),
            (3, true, "sssn", &[]),
            (3, false, "sssh", &["replace 3"]),
            (3, true, "sssh", &["replace 3", "create 1"]),
            // The replacement is sick as well: it is ended, and not those that may still serve.
            (3, false, "ssss", &["replace 4"]),
            (2, true, "hhs", &["replace 3"]),
            (1, true, "hs", &["replace 2"]),
            (0, true, "hs", &["replace 2", "end 1"]),
        ];
        for (count, may_replace, list, want) in table {
            assert_eq!(cured(count, may_replace, list), want, "{count} of {list}, may make one: {may_replace}");
        }
        assert_eq!([1, 10, 11, 20, 100].map(surge), [1, 1, 2, 2, 10]);
    }

    /// For any mix of healthy, sick and new: no more than `surge` are created at once, and what may serve never falls below the count
    /// or what there was.
    #[test]
    fn no_cure_takes_more_than_it_gives() {
        for code in 0..3usize.pow(6) {
            let list: String = (0..6).map(|i| ['h', 's', 'n'][code / 3usize.pow(i) % 3]).collect();
            for count in 1..6u32 {
                let now = health(&list);
                let acts = next(Some(Desired { count, ready: true, surge: surge(count), may_replace: true, ..Desired::default() }), &now);
                let gone: Vec<&InstanceId> =
                    acts.iter().filter_map(|act| if let Act::Replace(id) | Act::End(id) = act { Some(id) } else { None }).collect();
                let made: u32 = acts.iter().map(|act| if let Act::Create(n) = act { *n } else { 0 }).sum();
                let carry = |left: &dyn Fn(&Observed) -> bool| now.iter().filter(|o| (o.healthy || o.sick) && left(o)).count();
                let (before, after) = (carry(&|_| true), carry(&|o| !gone.contains(&&o.id)));
                assert!(after >= before.min(count as usize), "{count} of {list}: {acts:?}");
                let left = now.len() - gone.len() + made as usize;
                assert!(left <= (count + surge(count)) as usize, "{count} of {list}: {acts:?}");
                let replaced_healthy =
                    acts.iter().any(|act| matches!(act, Act::Replace(id) if now.iter().any(|o| o.id == *id && o.healthy)));
                assert!(!replaced_healthy, "{count} of {list}: {acts:?}");
            }
        }
    }

    /// An exclusive group: whatever there is, no launch while another server may still run, and never two.
    #[test]
    fn an_exclusive_server_starts_when_every_other_is_gone() {
        let alone =
            |count, may_replace| Some(Desired { count, ready: true, may_replace, alone: true, surge: surge(count), ..Desired::default() });
        let now = |list: &[(u64, Stage, bool)]| words(alone(1, true), list);
        assert_eq!(now(&[]), ["create 1"]);
        assert_eq!(now(&[(1, Dead, false)]), ["remove 1"]);
        for stage in [Ending, Removing] {
            assert_eq!(now(&[(1, stage, true)]), [""; 0], "{stage:?}");
            assert_eq!(now(&[(1, stage, true), (2, Intended, false)]), [""; 0], "{stage:?}");
        }
        assert_eq!(now(&[(1, Dead, false), (2, Intended, false)]), ["remove 1"]);
        assert_eq!(spoken(next(alone(1, true), &health("s"))), ["replace 1"]);
        assert_eq!(spoken(next(alone(1, false), &health("s"))), [""; 0], "not so soon after the last");
        assert_eq!(words(alone(3, true), &[]), ["create 1"], "one, whatever is declared");
        let stages = [Intended, Launching, Up, Ending, Dead, Removing];
        for code in 0..6usize.pow(3) {
            let list: Vec<_> = (0..3).map(|i| (i as u64 + 1, stages[code / 6usize.pow(i) % 6], i % 2 == 0)).collect();
            for sick in [None, Some(0), Some(1)] {
                let mut there = there(&list);
                if let Some(one) = sick.map(|i: usize| &mut there[i]).filter(|one| one.stage == Up) {
                    one.sick = true;
                }
                let acts = next(alone(1, true), &there);
                let launches = acts.iter().filter(|act| matches!(act, Act::Create(_) | Act::Launch(_))).count();
                let may_run = there.iter().filter(|one| one.stage != Intended).count();
                assert!(launches == 0 || launches == 1 && may_run == 0, "{list:?}, sick {sick:?}: {acts:?}");
            }
        }
    }

    #[test]
    fn cures_are_slowed() {
        assert_eq!([0, 1, 2, 3, 8, 9, 50].map(replacement_pause_ms), [0, 2_000, 4_000, 8_000, 256_000, 300_000, 300_000]);
        assert_eq!((sick_after_ms(1_000, 3), sick_after_ms(100, 1), sick_after_ms(60_000, 9)), (9_000, 2_000, 60_000));
    }

    #[test]
    fn a_test_runs_once() {
        let test = |count| Some(Desired { count, once: true, ready: true, ..Desired::default() });
        let wanted = test(1);
        assert_eq!(words(wanted, &[]), ["create 1"]);
        assert_eq!(words(wanted, &[(1, Up, false)]), [""; 0]);
        assert_eq!(words(wanted, &[(1, Dead, false)]), [""; 0]);
        assert_eq!(words(None, &[(1, Dead, false)]), ["remove 1"]);
        assert_eq!(words(test(0), &[(1, Dead, false)]), ["remove 1"]);
        let spent = test(1).map(|wanted| Desired { spent: true, ..wanted });
        assert_eq!(words(spent, &[]), [""; 0], "it is never launched a second time");
        assert_eq!(words(spent, &[(1, Intended, false)]), ["remove 1"]);
        assert_eq!((words(spent, &[(1, Dead, false)]), words(spent, &[(1, Up, false)])), (vec![], vec![]));
    }

    /// From any state the acts reach the desired count, never touch an instance twice, and repeating them settles.
    #[test]
    fn every_small_group_settles() {
        let stages = [Intended, Launching, Up, Ending, Dead, Removing];
        for code in 0..6usize.pow(4) {
            for count in 0..4u32 {
                let list: Vec<_> = (0..4).map(|i| (i as u64 + 1, stages[code / 6usize.pow(i) % 6], i % 2 == 0)).collect();
                let mut now = there(&list);
                let mut number = 4;
                for _round in 0..6 {
                    let acts = next(Some(Desired { count, ready: true, ..Desired::default() }), &now);
                    let mut touched = std::collections::BTreeSet::new();
                    for act in acts {
                        match act {
                            Act::Create(n) => (0..n).for_each(|_| {
                                number += 1;
                                now.extend(there(&[(number, Intended, false)]));
                            }),
                            Act::Launch(id) | Act::Replace(id) | Act::End(id) | Act::Remove(id) if !touched.insert(id.clone()) => {
                                panic!("{id} twice")
                            }
                            Act::Launch(id) => now.iter_mut().find(|o| o.id == id).unwrap().stage = Launching,
                            Act::Replace(id) | Act::End(id) => now.iter_mut().find(|o| o.id == id).unwrap().stage = Ending,
                            Act::Remove(id) => now.iter_mut().find(|o| o.id == id).unwrap().stage = Removing,
                        }
                    }
                    now.retain(|o| o.stage != Removing);
                    for one in &mut now {
                        one.stage = match one.stage {
                            Launching => Up,
                            Ending => Dead,
                            other => other,
                        };
                    }
                }
                assert!(now.iter().all(|o| o.stage == Up) && now.len() == count as usize, "{list:?} to {count}: {now:?}");
            }
        }
    }

    #[test]
    fn a_crash_loop_is_slowed_but_three_deaths_come_within_two_seconds() {
        assert_eq!((0..10).map(backoff_ms).collect::<Vec<_>>(), [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert!(backoff_ms(1) + backoff_ms(2) <= 2_000);
        assert_eq!(backoff_ms(u32::MAX), 10_000);
        assert_eq!(streak_after(0, 5, None), 1);
        assert_eq!(streak_after(1, 5, Some(3)), 1, "those that die together are one step");
        assert_eq!(streak_after(1, 5, Some(300)), 2);
        assert_eq!(streak_after(7, LONG_LIFE_MS, Some(300)), 0);
    }
}
