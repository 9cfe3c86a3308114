//! The smallest number of servers, against trying each, and the figures of the utilisation ceiling.

use capacity::dist::Dist;
use capacity::erlang::Mmc;
use capacity::size::{Objective, Of, before_zone_loss, smallest_mgc, smallest_mmc, utilisation_ceiling, with_zones};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_server_less_breaks_the_objective(offered in 0.05..400.0_f64, p in 0.5..0.9999_f64, at_most in 0.0..3.0_f64, is_wait: bool) {
        let of = if is_wait { Of::Wait } else { Of::Sojourn };
        let at_most = if is_wait { at_most } else { at_most - (1.0 - p).ln() * 1.01 };
        let c = smallest_mmc(offered, 1.0, Objective::new(of, p, at_most).unwrap()).unwrap();
        let tail = |c: u32| Mmc::new(c, offered, 1.0).map(|system| match of {
            Of::Wait => system.wait_tail(at_most),
            Of::Sojourn => system.sojourn_tail(at_most),
        });
        assert!(tail(c).unwrap() <= 1.0 - p + 1e-12);
        if let Ok(worse) = if c > 1 { tail(c - 1) } else { Ok(1.0) } {
            assert!(worse > 1.0 - p - 1e-12, "{} servers also keep it: {worse}", c - 1);
        }
    }

    #[test]
    fn zones_survive_the_largest_and_not_with_one_server_less(needed in 1..500_u32, zones in 2..6_u32) {
        let found = with_zones(needed, zones).unwrap();
        assert!(found.total - found.largest >= needed);
        let less = found.total - 1;
        assert!(less - less.div_ceil(zones) < needed);
    }
}

/// The ceilings that the issue names, for p99 wait <= 3 service times.
#[test]
fn ceilings_for_few_and_many_servers() {
    let objective = Objective::new(Of::Wait, 0.99, 3.0).unwrap();
    for (c, exponential, varied) in [(3, 0.60, 0.35), (20, 0.93, 0.85), (100, 0.99, 0.97)] {
        let one = utilisation_ceiling(c, &Dist::Exp { mean: 1.0 }, objective).unwrap();
        let four = utilisation_ceiling(c, &Dist::H2 { mean: 1.0, scv: 4.0 }, objective).unwrap();
        println!("{c} servers: {one:.3} at SCV 1, {four:.3} at SCV 4");
        assert!((one - exponential).abs() < 0.015, "{c}: {one}");
        assert!((four - varied).abs() < 0.06, "{c}: {four}");
    }
    assert!((before_zone_loss(0.8, 3) - 0.533).abs() < 0.001);
}

#[test]
fn what_no_number_of_servers_keeps_is_refused() {
    let refused = smallest_mmc(10.0, 1.0, Objective::new(Of::Sojourn, 0.99, 2.0).unwrap()).unwrap_err();
    assert!(refused.reason.contains("services alone"), "{refused}");
    assert!(Objective::new(Of::Wait, 1.0, 2.0).is_err());
    assert!(Objective::new(Of::Wait, 0.9, f64::NAN).is_err());
    assert!(with_zones(5, 1).is_err());
}

#[test]
fn varied_service_needs_more_servers() {
    let objective = Objective::new(Of::Wait, 0.99, 0.5).unwrap();
    let sizes = [Dist::Det { mean: 1.0 }, Dist::Exp { mean: 1.0 }, Dist::Lognormal { mean: 1.0, scv: 6.0 }]
        .map(|service| smallest_mgc(20.0, &service, objective).unwrap());
    assert!(sizes[0] <= sizes[1] && sizes[1] < sizes[2], "{sizes:?}");
}
