//! What to do next for one group, from what is wished and what is there. Pure: no clock, no disk.
//!
//! ```text
//!  Create ─▶ Intended ─Launch▶ Launching ─started▶ Up ─End▶ Ending ─exit▶ Dead ─Remove▶ Removing ─▶ (nothing)
//!               │ Remove (never launched)   │ End             ▲
//!               └────────▶ Removing         └── exits by itself: Dead (kept only for `once`)
//! ```

use model::InstanceId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Written down, not launched.
    Intended,
    Launching,
    Up,
    Ending,
    Dead,
    Removing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct There {
    pub id: InstanceId,
    pub number: u64,
    pub stage: Stage,
    pub healthy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub count: u32,
    /// A test: what has ended is kept and not replaced.
    pub once: bool,
    /// Its objects are mounted and no backoff is running.
    pub ready: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Create(u32),
    Launch(InstanceId),
    End(InstanceId),
    Remove(InstanceId),
}

/// `wanted` None: the group is gone, or nobody ever declared it.
pub fn next(wanted: Option<Wanted>, there: &[There]) -> Vec<Act> {
    let wanted = wanted.unwrap_or(Wanted { count: 0, once: false, ready: false });
    let keeps_dead = wanted.once && wanted.count > 0;
    let mut acts = Vec::new();
    let mut counted: Vec<&There> = Vec::new();
    for one in there {
        match one.stage {
            Stage::Intended | Stage::Launching | Stage::Up => counted.push(one),
            Stage::Dead if keeps_dead => counted.push(one),
            Stage::Dead => acts.push(Act::Remove(one.id.clone())),
            Stage::Ending | Stage::Removing => {}
        }
    }
    // First to go: what never ran, then what is not healthy, then the newest.
    counted.sort_by_key(|one| (one.stage != Stage::Intended, one.healthy, std::cmp::Reverse(one.number)));
    let count = wanted.count as usize;
    let excess = counted.len().saturating_sub(count);
    for (i, one) in counted.iter().enumerate() {
        let id = one.id.clone();
        match one.stage {
            Stage::Intended | Stage::Dead if i < excess => acts.push(Act::Remove(id)),
            _ if i < excess => acts.push(Act::End(id)),
            Stage::Intended if wanted.ready => acts.push(Act::Launch(id)),
            _ => {}
        }
    }
    let missing = count.saturating_sub(counted.len());
    if missing > 0 && wanted.ready {
        acts.push(Act::Create(u32::try_from(missing).unwrap_or(u32::MAX)));
    }
    acts
}

/// How long after a death the next launch waits. `streak`: early deaths and failed launches in a row.
pub fn backoff_ms(streak: u32) -> u64 {
    if streak == 0 { 0 } else { (100u64 << (streak - 1).min(10)).min(10_000) }
}

/// An instance that lived so long did not die of being started.
pub const LONG_LIFE_MS: u64 = 10_000;

/// The streak after a round of deaths: several instances that die together are one step, not several.
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

    fn there(list: &[(u64, Stage, bool)]) -> Vec<There> {
        let id = |n: u64| InstanceId::new(format!("web-r1-1-{n}")).unwrap();
        list.iter().map(|&(number, stage, healthy)| There { id: id(number), number, stage, healthy }).collect()
    }

    fn words(wanted: Option<Wanted>, list: &[(u64, Stage, bool)]) -> Vec<String> {
        let number = |id: InstanceId| id.as_str().rsplit('-').next().unwrap().to_string();
        next(wanted, &there(list))
            .into_iter()
            .map(|act| match act {
                Act::Create(n) => format!("create {n}"),
                Act::Launch(id) => format!("launch {}", number(id)),
                Act::End(id) => format!("end {}", number(id)),
                Act::Remove(id) => format!("remove {}", number(id)),
            })
            .collect()
    }

    fn want(count: u32) -> Option<Wanted> {
        Some(Wanted { count, once: false, ready: true })
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

    #[test]
    fn nothing_is_launched_while_not_ready() {
        let wanted = Some(Wanted { count: 2, once: false, ready: false });
        assert_eq!(words(wanted, &[(1, Dead, false), (2, Intended, false)]), ["remove 1"]);
    }

    #[test]
    fn a_test_runs_once() {
        let wanted = Some(Wanted { count: 1, once: true, ready: true });
        assert_eq!(words(wanted, &[]), ["create 1"]);
        assert_eq!(words(wanted, &[(1, Up, false)]), [""; 0]);
        assert_eq!(words(wanted, &[(1, Dead, false)]), [""; 0]);
        assert_eq!(words(None, &[(1, Dead, false)]), ["remove 1"]);
    }

    /// Whatever is there, the acts bring the count to what is wished, never touch an instance twice, and repeating settles.
    #[test]
    fn every_small_group_settles() {
        let stages = [Intended, Launching, Up, Ending, Dead, Removing];
        for code in 0..6usize.pow(4) {
            for count in 0..4u32 {
                let list: Vec<_> = (0..4).map(|i| (i as u64 + 1, stages[code / 6usize.pow(i) % 6], i % 2 == 0)).collect();
                let mut now = there(&list);
                let mut number = 4;
                for _round in 0..6 {
                    let acts = next(Some(Wanted { count, once: false, ready: true }), &now);
                    let mut touched = std::collections::BTreeSet::new();
                    for act in acts {
                        match act {
                            Act::Create(n) => (0..n).for_each(|_| {
                                number += 1;
                                now.extend(there(&[(number, Intended, false)]));
                            }),
                            Act::Launch(id) | Act::End(id) | Act::Remove(id) if !touched.insert(id.clone()) => panic!("{id} twice"),
                            Act::Launch(id) => now.iter_mut().find(|o| o.id == id).unwrap().stage = Launching,
                            Act::End(id) => now.iter_mut().find(|o| o.id == id).unwrap().stage = Ending,
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
