//! What must hold for every input, checked against oracles that are not the code: counting, a model in a map, and interleavings.

use balance::{
    Account, Attempt, Budget, Condition, Failure, Next, Rank, Replay, ReusePolicy, Share, TargetHealth, after, best, choose, replay_of,
};
use proptest::prelude::*;

fn window(order: &[u16], from: usize, length: usize, group: u16) -> f64 {
    (from..from + length).filter(|turn| order[turn % order.len()] == group).count() as f64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_prefix_is_within_one_of_the_weights(weights in prop::collection::vec(0_u32..=60, 1..6)) {
        let share = Share::of(&weights).unwrap();
        let sum: u32 = weights.iter().sum();
        prop_assume!(sum > 0);
        for (group, weight) in (0_u16..).zip(&weights) {
            for length in 0..=2 * share.order().len() {
                let fair = f64::from(*weight) / f64::from(sum) * length as f64;
                let had = window(share.order(), 0, length, group);
                prop_assert!((had - fair).abs() < 1.0, "group {group}: {had} of {length}, fair is {fair}");
                prop_assert!(*weight > 0 || had == 0.0);
            }
        }
    }

    /// The case of a rotation: from any turn on, for any length.
    #[test]
    fn two_groups_are_within_one_in_every_window(weight in 0_u32..=100, from in 0_usize..200) {
        let share = Share::of(&[weight, 100 - weight]).unwrap();
        for length in 0..=200 {
            let fair = f64::from(weight) / 100.0 * length as f64;
            let had = window(share.order(), from, length, 0);
            prop_assert!((had - fair).abs() <= 1.0 + 1e-9, "{had} of {length} from {from}, fair is {fair}");
        }
    }

    #[test]
    fn the_best_is_what_a_sort_would_find(
        targets in prop::collection::vec((0_u8..4, 0_u64..5), 0..9), turn in 0_usize..100, failing in any::<bool>(),
    ) {
        let rank = |n: u8| [None, Some(Rank::Good), Some(Rank::Suspected), Some(Rank::Failing)][usize::from(n)];
        let worst = if failing { Rank::Failing } else { Rank::Suspected };
        let got = best(targets.len(), turn, worst, |i| rank(targets[i].0).map(|r| (r, targets[i].1)));
        let n = targets.len();
        let mut allowed: Vec<_> = (0..n)
            .filter_map(|i| rank(targets[i].0).map(|r| (r, targets[i].1, (i + n - turn % n) % n, i)))
            .filter(|t| t.0 <= worst)
            .collect();
        allowed.sort();
        prop_assert_eq!(got, allowed.first().map(|t| t.3));
    }

    /// A group is skipped only if no target in it can serve, and no request is refused while any target can serve.
    #[test]
    fn somebody_serves_if_anybody_can(
        weights in prop::collection::vec(1_u32..=9, 1..5), ranks in prop::collection::vec(0_u8..4, 5), turn in 0_usize..500,
    ) {
        let share = Share::of(&weights).unwrap();
        let rank = |g: u16| [None, Some(Rank::Good), Some(Rank::Suspected), Some(Rank::Failing)][usize::from(ranks[usize::from(g)])];
        let got = choose(share.order(), turn, |g, worst| rank(g).filter(|r| *r <= worst));
        let own = share.order()[turn % share.order().len()];
        let routed = 0..weights.len() as u16;
        match got {
            None => prop_assert!(routed.into_iter().all(|g| rank(g).is_none())),
            Some((group, r)) => {
                prop_assert_eq!(rank(group), Some(r));
                if rank(own).is_some_and(|r| r <= Rank::Suspected) {
                    prop_assert_eq!(group, own);
                }
                if r == Rank::Failing {
                    prop_assert!(routed.into_iter().all(|g| rank(g).is_none_or(|r| r == Rank::Failing)));
                }
            }
        }
    }

    /// Counting passes and failures by hand gives the same condition.
    #[test]
    fn health_is_a_count_of_failures_in_a_row(probes in prop::collection::vec(any::<bool>(), 0..60), after in 1_u32..5) {
        let mut health = TargetHealth::default();
        for (now, pass) in (1_u64..).zip(&probes) {
            if *pass { health.passed(now - 1, now) } else { health.failed(after) }
            let so_far = &probes[..now as usize];
            let run = so_far.iter().rev().take_while(|p| !**p).count() as u32;
            let ever = so_far.iter().any(|p| *p);
            let healthy = ever && run < after;
            prop_assert_eq!(health.healthy_ms(now).is_some(), healthy);
            prop_assert_eq!(health.rank(now).is_none(), !ever, "untried targets are never chosen");
            if let Condition::Healthy { since_ms } = health.condition() {
                // Nothing since then made it unhealthy: no run of `after` failures in the probes after `since`.
                let tail = &so_far[since_ms as usize - 1..];
                prop_assert!(tail[0]);
                prop_assert!(!tail.windows(after as usize).any(|w| w.iter().all(|p| !*p)));
            }
        }
    }

    #[test]
    fn suspicion_lowers_the_rank_and_never_removes_it(at in 0_u64..5_000, now in 0_u64..9_000) {
        let mut health = TargetHealth::default();
        health.passed(0, 0);
        health.suspect(at);
        prop_assert!(health.rank(now.max(at)).is_some());
    }

    #[test]
    fn what_cannot_be_replayed_is_never_sent_twice(
        number in 1_u32..5, reused in any::<bool>(), replayed in any::<bool>(), answered in any::<bool>(), kind in 0_u8..4,
    ) {
        let failure = [Failure::NoConnection, Failure::Unsent, Failure::Broken { answered }, Failure::Late][usize::from(kind)];
        let attempt = Attempt { number, reused, replayed };
        let wrote = matches!(failure, Failure::Broken { .. } | Failure::Late);
        if wrote {
            prop_assert_eq!(after(failure, attempt, Replay::Never), Next::GiveUp);
        }
        if wrote && (replayed || answered) {
            prop_assert_eq!(after(failure, attempt, Replay::Safe), Next::GiveUp);
        }
        if number >= 3 {
            prop_assert_eq!(after(failure, attempt, Replay::Safe), Next::GiveUp);
        }
    }

    /// Never more than a fifth of the requests, ten a second and what is saved at first.
    #[test]
    fn the_budget_holds(steps in prop::collection::vec((0_u64..300, 0_u64..50, 0_u64..100), 1..80)) {
        let (mut now, mut requests, mut taken) = (0, 0, 0_u64);
        let mut budget = Budget::new(0);
        for (wait, came, tries) in steps {
            now += wait;
            requests += came;
            for _ in 0..tries {
                taken += u64::from(budget.take(now, requests));
            }
            prop_assert!(taken * 1_000 <= 20_000 + requests * 200 + now * 10);
        }
    }

    /// A model of an account as a number and a flag.
    #[test]
    fn accounts_are_never_negative_and_drained_is_final(moves in prop::collection::vec(0_u8..3, 0..200)) {
        let account = Account::default();
        let (mut inside, mut closed, mut drained) = (0_u64, false, false);
        for step in moves {
            match step {
                0 => {
                    let entered = account.enter();
                    prop_assert_eq!(entered, !closed);
                    prop_assert!(!(entered && drained), "a request entered a drained account");
                    inside += u64::from(entered);
                }
                1 if inside > 0 => { inside -= 1; prop_assert_eq!(account.leave(), inside); }
                1 => {}
                _ => { account.close(); closed = true; }
            }
            prop_assert_eq!(account.in_flight(), inside);
            drained |= account.is_drained();
            prop_assert_eq!(account.is_drained(), drained, "a drained account is no longer drained");
        }
    }
}

#[test]
fn methods_are_told_apart() {
    assert_eq!(replay_of("GET", true), Replay::Safe);
    assert_eq!(replay_of("PUT", false), Replay::Never);
    for method in ["POST", "PATCH", "get", "BREW"] {
        assert_eq!(replay_of(method, true), Replay::Never, "{method}");
    }
}

#[test]
fn a_post_gets_a_kept_socket_only_from_a_target_that_keeps_them() {
    let mut policy = ReusePolicy::default();
    assert!(policy.may_reuse(Replay::Safe, 10) && !policy.may_reuse(Replay::Never, 10), "nothing is known yet");
    (0..32).for_each(|_| policy.kept(40));
    assert!(policy.may_reuse(Replay::Never, 20) && !policy.may_reuse(Replay::Never, 21), "only for half of what was seen");
    policy.kept(1_500);
    assert!(policy.may_reuse(Replay::Never, 750) && !policy.may_reuse(Replay::Never, 1_000));
    assert!(policy.may_reuse(Replay::Safe, 1_499) && !policy.may_reuse(Replay::Safe, 1_500));
    policy.closed();
    (0..99).for_each(|_| policy.kept(1_500));
    assert!(!policy.may_reuse(Replay::Never, 0), "one that closes without announcing it is never trusted again");
    assert!(policy.may_reuse(Replay::Safe, 10));
}

#[test]
fn too_many_groups_and_too_large_weights_are_refused() {
    assert_eq!(Share::of(&[1; 101]), None);
    assert_eq!(Share::of(&[u32::MAX, 1]), None);
    assert_eq!(Share::of(&[]).unwrap().order(), &[] as &[u16]);
    assert_eq!(Share::of(&[0, 0]).unwrap().order(), &[] as &[u16]);
    assert_eq!(Share::of(&[0, 100]).unwrap().order(), &[1]);
}
