//! M/M/c: Poisson arrivals, exponential service, c servers, one queue, first come first served. All of it is exact.
//!
//! Sources: Erlang 1917 (B and C); the recursion for B is stable because every step adds positive numbers and shrinks the
//! error of the one before (Cooper, Introduction to Queueing Theory, 1981, 3.3); wait and sojourn distributions as in
//! Kleinrock, Queueing Systems I, 1975, 3.5. Domain: 1 <= c <= 1,000,000, utilisation below 1.

use crate::Refusal;
use crate::math;

/// The most servers of a formula.
pub const MAX_SERVERS: u32 = 1_000_000;

/// 1/B(c, a): B is the share of arrivals that find all c servers busy when nobody waits. Infinite where B underflows.
pub fn inverse_erlang_b(c: u32, offered: f64) -> f64 {
    let per = 1.0 / offered;
    let mut inverse = 1.0;
    for n in 1..=c {
        inverse = 1.0 + inverse * (f64::from(n) * per);
    }
    inverse
}

pub fn erlang_b(c: u32, offered: f64) -> f64 {
    1.0 / inverse_erlang_b(c, offered)
}

/// One M/M/c system with a steady state.
#[derive(Clone, Copy, Debug)]
pub struct Mmc {
    c: f64,
    service: f64,
    /// c - a, in servers: computed with one rounding, since it is small when the load is high
    spare: f64,
    p_wait: f64,
}

impl Mmc {
    pub fn new(c: u32, lambda: f64, service: f64) -> Result<Mmc, Refusal> {
        check_system(c, lambda, service)?;
        Ok(Mmc::from_inverse_b(c, lambda, service, inverse_erlang_b(c, lambda * service)))
    }

    /// For callers that have 1/B at hand; the system must have a steady state.
    pub(crate) fn from_inverse_b(c: u32, lambda: f64, service: f64, inverse_b: f64) -> Mmc {
        let spare = lambda.mul_add(-service, f64::from(c));
        // C = c B / (c - a (1 - B)) = c / ((c - a) / B + a)
        let p_wait = (f64::from(c) / (spare * inverse_b + lambda * service)).min(1.0);
        Mmc { c: f64::from(c), service, spare, p_wait }
    }

    pub fn utilisation(&self) -> f64 {
        1.0 - self.spare / self.c
    }

    /// Erlang C: the probability that an arrival waits.
    pub fn p_wait(&self) -> f64 {
        self.p_wait
    }

    pub fn wait_mean(&self) -> f64 {
        self.p_wait * self.service / self.spare
    }

    pub fn sojourn_mean(&self) -> f64 {
        self.wait_mean() + self.service
    }

    /// P(wait > t)
    pub fn wait_tail(&self, t: f64) -> f64 {
        self.p_wait * math::exp(-self.spare * t / self.service)
    }

    /// P(sojourn > t) = e^-t + C t e^(-min(1, d) t) (1 - e^(-|1-d| t)) / (|1-d| t) in units of the service time, d = c - a:
    /// the textbook formula without its difference of nearly equal numbers.
    pub fn sojourn_tail(&self, t: f64) -> f64 {
        let (x, d) = (t / self.service, self.spare);
        math::exp(-x) + self.p_wait * x * math::exp(-d.min(1.0) * x) * math::exp_ratio((1.0 - d).abs() * x)
    }

    /// The wait that a share `p` of arrivals does not exceed.
    pub fn wait_quantile(&self, p: f64) -> f64 {
        let beyond = 1.0 - p;
        if self.p_wait <= beyond { 0.0 } else { math::ln(self.p_wait / beyond) * self.service / self.spare }
    }

    pub fn sojourn_quantile(&self, p: f64) -> f64 {
        let scale = self.service * (1.0 + self.p_wait / self.spare);
        math::tail_quantile(scale, 1.0 - p, |t| self.sojourn_tail(t))
    }
}

/// What every system with a steady state must satisfy.
pub fn check_system(c: u32, lambda: f64, service: f64) -> Result<(), Refusal> {
    if c == 0 || c > MAX_SERVERS {
        return Err(Refusal::new("c", format!("{c} servers, not within 1 to {MAX_SERVERS}"), "state how many servers there are"));
    }
    if !(1e-12..=1e12).contains(&lambda) {
        return Err(Refusal::new("lambda", format!("the arrival rate is {lambda}, not within 1e-12 to 1e12"), "use another unit of time"));
    }
    if !(1e-12..=1e12).contains(&service) {
        return Err(Refusal::new("service.mean", format!("the mean is {service}, not within 1e-12 to 1e12"), "use another unit of time"));
    }
    if lambda.mul_add(-service, f64::from(c)) <= 0.0 {
        return Err(Refusal::overloaded("lambda", c, lambda * service));
    }
    Ok(())
}
