//! Exact expectations: tables written out by hand, and models that share no code with what they judge.

use balance::{Attempt, Budget, Condition, Failure, Next, Rank, Replay, ReusePolicy, Share, TargetHealth, after, best, choose, replay_of};
use proptest::prelude::*;
use std::collections::BTreeMap;

const FAILURES: [Failure; 5] =
    [Failure::NoConnection, Failure::Unsent, Failure::Broken { answered: false }, Failure::Broken { answered: true }, Failure::Late];

/// The table at the head of `retry.rs`, row by row, for all 120 cases.
#[test]
fn what_may_be_tried_again_is_the_table() {
    for number in 1..=4 {
        for reused in [false, true] {
            for replayed in [false, true] {
                for replay in [Replay::Safe, Replay::Never] {
                    for failure in FAILURES {
                        let safe = replay == Replay::Safe;
                        // (again, paid, counted as sent twice)
                        let wanted = match failure {
                            _ if number == 3 || number == 4 => None,
                            Failure::NoConnection => Some((true, replayed)),
                            Failure::Unsent => Some((!reused, replayed)),
                            Failure::Broken { answered: false } if safe && !replayed => Some((!reused, true)),
                            Failure::Broken { .. } | Failure::Late => None,
                        };
                        let wanted = wanted.map_or(Next::GiveUp, |(paid, replayed)| Next::Again { paid, replayed });
                        let attempt = Attempt { number, reused, replayed };
                        assert_eq!(after(failure, attempt, replay), wanted, "{failure:?} {attempt:?} {replay:?}");
                    }
                }
            }
        }
    }
}

/// RFC 9110, 9.2.2, and nothing else.
#[test]
fn exactly_the_idempotent_methods_are_replayed() {
    let safe: Vec<_> = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "LOCK", "put", ""]
        .into_iter()
        .filter(|method| replay_of(method, true) == Replay::Safe)
        .collect();
    assert_eq!(safe, ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);
    assert!(safe.iter().all(|method| replay_of(method, false) == Replay::Never), "a body that is gone cannot be sent again");
}

/// How many tries in a row are paid.
fn run_dry(budget: &mut Budget, now_ms: u64, requests: u64) -> u64 {
    (0..1_000_000).take_while(|_| budget.take(now_ms, requests)).count() as u64
}

#[test]
fn the_budget_pays_to_the_last_one() {
    let mut budget = Budget::new(5_000);
    assert_eq!(run_dry(&mut budget, 5_000, 0), 20, "saved at first");
    assert_eq!(run_dry(&mut budget, 5_000, 0), 0);
    assert_eq!(run_dry(&mut budget, 5_000, 50), 10, "a fifth of the requests");
    assert_eq!(run_dry(&mut budget, 5_000, 50), 0, "each request pays once");
    assert_eq!(run_dry(&mut budget, 6_000, 50), 10, "ten a second");
    assert_eq!(run_dry(&mut budget, 6_000, 50), 0, "each second pays once");
    assert_eq!(run_dry(&mut budget, 5_500, 20), 0, "a clock or a count that is behind pays nothing");
    assert_eq!(run_dry(&mut budget, 6_000, 50), 0, "and is not paid for again");
    assert_eq!(run_dry(&mut budget, 6_099, 50), 0);
    assert_eq!(run_dry(&mut budget, 6_100, 50), 1, "parts of one add up");
    assert_eq!(run_dry(&mut budget, 1_000_000_000, 1_000_000_000), 200, "no more than this is saved");
    assert_eq!(run_dry(&mut budget, u64::MAX, u64::MAX), 200, "and nothing overflows");
}

/// Targets with requests in flight, chosen again and again: nobody ever waits behind a server that has more to do.
#[test]
fn requests_spread_evenly_and_equals_take_turns() {
    let mut in_flight = [0_u64; 5];
    for turn in 0..5_000 {
        let chosen = best(5, turn, Rank::Failing, |i| Some((Rank::Good, in_flight[i]))).unwrap();
        assert_eq!(in_flight[chosen], *in_flight.iter().min().unwrap());
        in_flight[chosen] += 1;
    }
    assert_eq!(in_flight, [1_000; 5]);
    // All equal, and each request ends at once: then it is the turn alone that spreads them.
    let mut served = [0; 5];
    (0..5_000).for_each(|turn| served[best(5, turn, Rank::Failing, |_| Some((Rank::Good, 0))).unwrap()] += 1);
    assert_eq!(served, [1_000; 5]);
    // A better rank outweighs any number of requests.
    let ranks = [Rank::Failing, Rank::Suspected, Rank::Good];
    assert_eq!(best(3, 0, Rank::Failing, |i| Some((ranks[i], [0, 5, 1_000][i]))), Some(2));
    assert_eq!(best(0, 3, Rank::Failing, |_| Some((Rank::Good, 0))), None);
}

/// Each group is asked once for each rank, in the order of turns.
#[test]
fn groups_are_asked_in_order_and_once() {
    let order = [0, 1, 0, 2, 0];
    let mut asked = Vec::new();
    let got: Option<(u16, ())> = choose(&order, 8, |group, worst| {
        asked.push((group, worst));
        None
    });
    let wanted: Vec<_> = [Rank::Suspected, Rank::Failing].into_iter().flat_map(|worst| [2, 0, 1].map(|group| (group, worst))).collect();
    assert_eq!((got, asked), (None, wanted));
    assert_eq!(choose::<()>(&[], 5, |_, _| Some(())), None, "nobody is routed");
    // 128 routed groups would not fit, 100 do, and the last of them can be chosen.
    let share = Share::of(&[1; 100]).unwrap();
    assert_eq!(choose(share.order(), 0, |group, _| (group == 99).then_some(())), Some((99, ())));
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    Pass { took_ms: u64 },
    Fail,
    Suspect,
}

fn probes() -> impl Strategy<Value = Vec<(u64, Probe)>> {
    let probe = prop_oneof![
        3 => (0_u64..800).prop_map(|took_ms| Probe::Pass { took_ms }),
        3 => Just(Probe::Fail),
        1 => Just(Probe::Suspect),
    ];
    prop::collection::vec((0_u64..700, probe), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The whole history is kept and evaluated again after each probe, where the code keeps three numbers.
    #[test]
    fn health_is_what_its_history_says(history in probes(), unhealthy_after in 0_u32..5, every_ms in 0_u64..3_000) {
        let mut health = TargetHealth::default();
        let mut now = 1;
        let mut told: Vec<(u64, Probe)> = Vec::new();
        for (wait, probe) in history {
            now += wait;
            match probe {
                Probe::Pass { took_ms } => health.passed(now.saturating_sub(took_ms), now),
                Probe::Fail => health.failed(unhealthy_after),
                Probe::Suspect => health.suspect(now),
            }
            told.push((now, probe));

            // Healthy since the first pass after the last time that enough failures came in a row.
            let (mut since, mut passed, mut row) = (None, false, 0);
            for (at, probe) in &told {
                match probe {
                    Probe::Pass { .. } => {
                        passed = true;
                        row = 0;
                        since = since.or(Some(*at));
                    }
                    Probe::Fail => {
                        row += 1;
                        if row >= unhealthy_after.max(1) {
                            since = None;
                        }
                    }
                    Probe::Suspect => {}
                }
            }
            let last_suspicion = told.iter().rposition(|(_, p)| matches!(p, Probe::Suspect)).map(|i| (i, told[i].0));
            let cleared = |i: usize, at: u64| told[i..].iter().any(|(end, p)| matches!(p, Probe::Pass { took_ms } if end.saturating_sub(*took_ms) > at));
            let open_suspicion = last_suspicion.filter(|(i, at)| !cleared(*i, *at)).map(|(_, at)| at);

            for later in [0, 1, 1_000, 1_999, 2_000, 2_001, 60_000] {
                let suspected = open_suspicion.is_some_and(|at| now + later < at + 2_000);
                let rank = match (passed, since) {
                    (false, _) => None,
                    (true, None) => Some(Rank::Failing),
                    (true, Some(_)) if suspected => Some(Rank::Suspected),
                    (true, Some(_)) => Some(Rank::Good),
                };
                prop_assert_eq!(health.rank(now + later), rank, "{:?}, {} ms later", told, later);
                prop_assert_eq!(health.healthy_ms(now + later), since.map(|s| now + later - s));
            }
            let condition = match (passed, since) {
                (false, _) => Condition::Untried,
                (true, None) => Condition::Failing,
                (true, Some(since_ms)) => Condition::Healthy { since_ms },
            };
            prop_assert_eq!(health.condition(), condition);
            let calm = since.is_some() && row == 0 && open_suspicion.is_none();
            prop_assert_eq!(health.probe_again_ms(every_ms), if calm { every_ms.max(10) } else { every_ms.clamp(10, 100) });
        }
    }

    /// A connection's history as a list, evaluated again for every question.
    #[test]
    fn kept_sockets_are_trusted_by_their_history(
        history in prop::collection::vec(prop_oneof![40 => (0_u64..3_000).prop_map(Some), 1 => Just(None)], 0..80), idle_ms in 0_u64..2_000,
    ) {
        let mut policy = ReusePolicy::default();
        history.iter().for_each(|one| match one {
            Some(idle_ms) => policy.kept(*idle_ms),
            None => policy.closed(),
        });
        let kept: Vec<u64> = history.iter().copied().flatten().collect();
        let polite = kept.len() == history.len() && kept.len() >= 32;
        let tried = kept.iter().any(|longest| *longest >= 2 * idle_ms);
        prop_assert_eq!(policy.may_reuse(Replay::Safe, idle_ms), idle_ms < 1_500);
        prop_assert_eq!(policy.may_reuse(Replay::Never, idle_ms), polite && tried && idle_ms < 1_000);
    }

    /// One period has exactly the shares, in lowest terms.
    #[test]
    fn one_period_is_exactly_the_weights(weights in prop::collection::vec(0_u32..=40, 1..8)) {
        let share = Share::of(&weights).unwrap();
        let mut had = BTreeMap::new();
        share.order().iter().for_each(|group| *had.entry(usize::from(*group)).or_insert(0_u64) += 1);
        let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let period = share.order().len() as u64;
        for (group, weight) in weights.iter().enumerate() {
            prop_assert_eq!(had.get(&group).copied().unwrap_or(0) * sum, u64::from(*weight) * period);
        }
        let halves = |d: u64| had.values().all(|n| n % d == 0);
        prop_assert!((2..=period).all(|d| !halves(d)), "the period {period} is not in lowest terms");
        // Tijdeman's bound, not merely within one turn.
        let k = had.len() as f64;
        let bound = if k < 2.0 { 0.0 } else { 1.0 - 1.0 / (2.0 * k - 2.0) };
        for (group, weight) in weights.iter().enumerate() {
            let mut count = 0.0;
            for (n, turn) in (1_u32..).zip(share.order()) {
                count += f64::from(u8::from(usize::from(*turn) == group));
                let fair = f64::from(*weight) / sum as f64 * f64::from(n);
                prop_assert!((count - fair).abs() <= bound + 1e-9, "group {group}: {count} of {n}, fair is {fair}, bound {bound}");
            }
        }
    }
}

#[test]
fn as_many_groups_and_turns_as_are_promised() {
    assert_eq!(Share::of(&[1; 100]).unwrap().order().len(), 100);
    assert_eq!(Share::of(&[9_999, 1]).unwrap().order().len(), 10_000);
    assert_eq!(Share::of(&[10_000, 1]), None);
    assert_eq!(Share::of(&[20_000, 2]).unwrap_or_default().order().len(), 0, "10,001 turns in lowest terms");
    assert_eq!(Share::of(&[u32::MAX, u32::MAX]).unwrap().order().len(), 2);
}
