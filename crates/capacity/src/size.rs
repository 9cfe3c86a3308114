//! The smallest number of servers for an objective, and the highest utilisation that keeps it.

use crate::Refusal;
use crate::dist::{Dist, Service};
use crate::erlang::{MAX_SERVERS, Mmc};
use crate::math;
use crate::mgc::Mgc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Wait,
    Sojourn,
}

/// "A share `p` of requests has a wait (or sojourn) of at most `at_most`."
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    pub of: Of,
    pub p: f64,
    pub at_most: f64,
}

impl Objective {
    pub fn new(of: Of, p: f64, at_most: f64) -> Result<Objective, Refusal> {
        if !(p > 0.0 && p < 1.0) {
            return Err(Refusal::new("slo", format!("the share {p} is not between 0 and 1"), "write it as p50, p95, p99 or p99.9"));
        }
        if !(at_most.is_finite() && at_most >= 0.0) {
            return Err(Refusal::new("slo", format!("the bound {at_most} is not a time"), "use a time of at least 0"));
        }
        Ok(Objective { of, p, at_most })
    }

    fn is_kept_by(&self, system: &Mmc) -> bool {
        let tail = match self.of {
            Of::Wait => system.wait_tail(self.at_most),
            Of::Sojourn => system.sojourn_tail(self.at_most),
        };
        tail <= 1.0 - self.p
    }

    /// A sojourn is at least a service: some objectives no number of servers keeps.
    fn check_possible(&self, service: &impl Service) -> Result<(), Refusal> {
        if self.of == Of::Sojourn && service.tail(self.at_most) > 1.0 - self.p {
            return Err(Refusal::new(
                "slo",
                format!("{:.4} of services alone take longer than {}", service.tail(self.at_most), self.at_most),
                "no number of servers keeps it: allow more time, or make the service faster",
            ));
        }
        Ok(())
    }
}

/// 1/B(c, a) as a sum of falling powers of c over a: the terms fall from c <= a on, so few of them count.
fn inverse_b_sum(c: u32, offered: f64) -> f64 {
    let per = 1.0 / offered;
    let (mut term, mut sum, mut left) = (1.0, 1.0, f64::from(c));
    while left > 0.0 && term > sum * 1e-17 {
        term *= left * per;
        sum += term;
        left -= 1.0;
    }
    sum
}

/// The smallest number of servers of M/M/c that keeps the objective.
pub fn smallest_mmc(lambda: f64, service: f64, objective: Objective) -> Result<u32, Refusal> {
    let offered = lambda * service;
    if !(offered > 0.0 && offered < f64::from(MAX_SERVERS) - 1.0) {
        return Err(Refusal::new(
            "lambda",
            format!("the offered load is {offered} servers, not within 0 to {MAX_SERVERS}"),
            "check rate and service time",
        ));
    }
    if objective.of == Of::Sojourn {
        objective.check_possible(&Dist::Exp { mean: service })?;
    }
    let per = 1.0 / offered;
    let mut c = offered as u32 + 1;
    let mut inverse_b = inverse_b_sum(c, offered);
    loop {
        if objective.is_kept_by(&Mmc::from_inverse_b(c, lambda, service, inverse_b)) {
            return Ok(c);
        }
        if c >= MAX_SERVERS || (c > 2 * (offered as u32 + 1000) && inverse_b.is_infinite()) {
            return Err(Refusal::new("slo", "no number of servers keeps it", "allow more time or a smaller share"));
        }
        c += 1;
        inverse_b = 1.0 + inverse_b * (f64::from(c) * per);
    }
}

/// The same for M/G/c by its formulas: upwards from M/M/c's answer or downwards, whichever is needed.
pub fn smallest_mgc(lambda: f64, service: &Dist, objective: Objective) -> Result<u32, Refusal> {
    if service.is_exp() {
        return smallest_mmc(lambda, service.mean(), objective);
    }
    objective.check_possible(service)?;
    let offered = lambda * service.mean();
    let kept = |c: u32| -> Result<bool, Refusal> {
        if offered >= f64::from(c) {
            return Ok(false);
        }
        let system = Mgc::new(c, lambda, service)?;
        Ok(match objective.of {
            Of::Wait => system.wait_tail(objective.at_most) <= 1.0 - objective.p,
            Of::Sojourn => system.sojourn_quantiles(service, [objective.p])[0] <= objective.at_most,
        })
    };
    let wait = Objective { of: Of::Wait, ..objective };
    let mut c = smallest_mmc(lambda, service.mean(), wait)?;
    if kept(c)? {
        while c > 1 && kept(c - 1)? {
            c -= 1;
        }
        return Ok(c);
    }
    let from = c;
    while !kept(c)? {
        if c >= MAX_SERVERS.min(from.saturating_mul(64)) {
            return Err(Refusal::new("slo", format!("not kept by {c} servers either"), "allow more time or a smaller share"));
        }
        c += 1;
    }
    Ok(c)
}

/// Servers in zones, so that what is left after the loss of the largest zone still keeps the objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zones {
    pub total: u32,
    pub largest: u32,
    /// What the objective needs, and what is left without the largest zone
    pub needed: u32,
}

/// Spread as evenly as possible over `zones`: the largest has total / zones, rounded up.
pub fn with_zones(needed: u32, zones: u32) -> Result<Zones, Refusal> {
    if zones < 2 {
        return Err(Refusal::new("zones", format!("with {zones} zone its loss leaves nothing"), "use at least 2 zones"));
    }
    let mut total = needed + needed.div_ceil(zones - 1);
    while total > needed && total - 1 - (total - 1).div_ceil(zones) >= needed {
        total -= 1;
    }
    Ok(Zones { total, largest: total.div_ceil(zones), needed })
}

/// The highest utilisation of c servers that keeps the objective, to 6 digits; 0 where none does.
pub fn utilisation_ceiling(c: u32, service: &Dist, objective: Objective) -> Result<f64, Refusal> {
    objective.check_possible(service)?;
    let kept = |rho: f64| -> Result<bool, Refusal> {
        let lambda = rho * f64::from(c) / service.mean();
        if service.is_exp() {
            return Ok(objective.is_kept_by(&Mmc::new(c, lambda, service.mean())?));
        }
        let system = Mgc::new(c, lambda, service)?;
        Ok(match objective.of {
            Of::Wait => system.wait_tail(objective.at_most) <= 1.0 - objective.p,
            Of::Sojourn => system.sojourn_quantiles(service, [objective.p])[0] <= objective.at_most,
        })
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..24 {
        let middle = 0.5 * (low + high);
        if kept(middle)? { low = middle } else { high = middle }
    }
    Ok((low * 1e6_f64).floor() * 1e-6)
}

/// The rule of thumb that is printed beside the ceiling.
pub const RULE_OF_THUMB: f64 = 0.8;

/// What a rule of `utilisation` after the loss of one of `zones` zones means before it: 80 % of three zones is 53 %.
pub fn before_zone_loss(utilisation: f64, zones: u32) -> f64 {
    utilisation * (1.0 - 1.0 / f64::from(zones.max(1)))
}

/// Requests a second that could come on top before the ceiling, and the time until then if the rate grows by `growth` a year.
pub fn slack(c: u32, lambda: f64, service: f64, ceiling: f64, growth: f64) -> (f64, Option<f64>) {
    let most = ceiling * f64::from(c) / service;
    let years = if growth > 1.0 && most > lambda { Some(math::ln(most / lambda) / math::ln(growth)) } else { None };
    (most - lambda, years)
}
