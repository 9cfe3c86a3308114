//! Erlang-A (M/M/c+M): as M/M/c, and those who wait give up after an exponential patience. All of it is exact.
//!
//! Sources: Palm 1957; Garnett, Mandelbaum, Reiman 2002; the distribution of the wait as in Zeltyn and Mandelbaum 2005, eq. 9.
//! It has a steady state at any load. Domain: exponential service and patience, patience x arrival rate at most 10,000,000.
//! Waits are of all arrivals and end with service or with giving up; a sojourn of one who gives up is its wait.

use crate::Refusal;
use crate::erlang::{MAX_SERVERS, inverse_erlang_b};
use crate::math;

#[derive(Clone, Copy, Debug)]
pub struct ErlangA {
    c: f64,
    lambda: f64,
    mu: f64,
    theta: f64,
    p_wait: f64,
    wait_mean: f64,
}

const MOST_IN_PATIENCE: f64 = 1e7;

impl ErlangA {
    pub fn new(c: u32, lambda: f64, service: f64, patience: f64) -> Result<ErlangA, Refusal> {
        if c == 0 || c > MAX_SERVERS {
            return Err(Refusal::new("c", format!("{c} servers, not within 1 to {MAX_SERVERS}"), "state how many servers there are"));
        }
        for (place, value) in [("lambda", lambda), ("service.mean", service), ("patience.mean", patience)] {
            if !(1e-12..=1e12).contains(&value) {
                return Err(Refusal::new(place, format!("{value} is not within 1e-12 to 1e12"), "use another unit of time"));
            }
        }
        if lambda * patience > MOST_IN_PATIENCE {
            return Err(Refusal::new(
                "patience.mean",
                format!("{:.3e} arrivals come during one patience; the sums are bounded at 1e7 terms", lambda * patience),
                "use method simulate, or model mmc where nobody gives up",
            ));
        }
        let (n, mu, theta) = (f64::from(c), 1.0 / service, 1.0 / patience);
        // States c + j relative to state c: products of lambda / (c mu + i theta).
        let (mut term, mut total, mut queue, mut j) = (1.0, 1.0, 0.0, 0.0);
        let mut shift = 0.0;
        loop {
            j += 1.0;
            term *= lambda / (n * mu + j * theta);
            total += term;
            queue += j * term;
            if term * j < queue * 1e-17 || term == 0.0 {
                break;
            }
            if total > 1e200 || queue > 1e200 {
                (term, total, queue) = (term * 1e-200, total * 1e-200, queue * 1e-200);
                shift += 1.0;
            }
        }
        // State c has probability B relative to the states up to c.
        let rest = if shift > 1.0 { 0.0 } else { (inverse_erlang_b(c, lambda * service) - 1.0) * if shift > 0.0 { 1e-200 } else { 1.0 } };
        let all = rest + total;
        let p_wait = if all.is_finite() { total / all } else { 0.0 };
        let wait_mean = if all.is_finite() { queue / all / lambda } else { 0.0 };
        Ok(ErlangA { c: n, lambda, mu, theta, p_wait, wait_mean })
    }

    pub fn p_wait(&self) -> f64 {
        self.p_wait
    }

    pub fn wait_mean(&self) -> f64 {
        self.wait_mean
    }

    pub fn p_abandon(&self) -> f64 {
        (self.theta * self.wait_mean).min(1.0)
    }

    pub fn sojourn_mean(&self) -> f64 {
        self.wait_mean + (1.0 - self.p_abandon()) / self.mu
    }

    /// P(wait > t) = e^(-theta t) P(V > t), V the wait of one who never gives up.
    pub fn wait_tail(&self, t: f64) -> f64 {
        let (a, y) = (self.c * self.mu / self.theta, self.lambda / self.theta);
        self.p_wait * math::exp(self.ln_offered_tail(t, a, y, ln_series(a, y)) - self.theta * t)
    }

    /// ln P(V > t given V > 0) = ln of the ratio of lower incomplete gamma functions at y e^(-theta t) and y, by their series.
    fn ln_offered_tail(&self, t: f64, a: f64, y: f64, ln_at_0: f64) -> f64 {
        let shrink = math::exp(-self.theta * t);
        let exponent = -self.c * self.mu * t - y * math::exp_m1(-self.theta * t);
        (exponent + ln_series(a, y * shrink) - ln_at_0).min(0.0)
    }

    pub fn wait_quantile(&self, p: f64) -> f64 {
        let beyond = 1.0 - p;
        if self.p_wait <= beyond {
            return 0.0;
        }
        let (a, y) = (self.c * self.mu / self.theta, self.lambda / self.theta);
        let at_0 = ln_series(a, y);
        let tail = |t: f64| self.p_wait * math::exp(self.ln_offered_tail(t, a, y, at_0) - self.theta * t);
        math::tail_quantile(self.wait_mean / self.p_wait, beyond, tail)
    }

    /// P(sojourn > t) = P(wait > t) + the served whose service lasts beyond t, integrated over the wait.
    pub fn sojourn_quantiles<const N: usize>(&self, levels: [f64; N]) -> [f64; N] {
        let (a, y) = (self.c * self.mu / self.theta, self.lambda / self.theta);
        let at_0 = ln_series(a, y);
        // The density of V at w is P(V > 0) e^g(w) / J with J = a-series / theta: integral of e^g over all w.
        let density = |w: f64| {
            let g = -self.c * self.mu * w - y * math::exp_m1(-self.theta * w);
            self.p_wait * self.theta * math::exp(g - at_0)
        };
        let tail = |t: f64| {
            let waiting = self.p_wait * math::exp(self.ln_offered_tail(t, a, y, at_0) - self.theta * t);
            let served = |w: f64| density(w) * math::exp(-self.theta * w - self.mu * (t - w));
            waiting + (1.0 - self.p_wait) * math::exp(-self.mu * t) + self.integrate(served, t)
        };
        levels.map(|p| math::tail_quantile(self.sojourn_mean(), 1.0 - p, tail))
    }

    /// Steps of the integration are short beside the width of the density's peak.
    fn integrate(&self, f: impl Fn(f64) -> f64, t: f64) -> f64 {
        // The exponent's slope and curvature at the peak give its width.
        let slope = (self.c * self.mu - self.lambda).abs() + self.mu + self.theta;
        let curve = (self.theta * self.lambda).sqrt();
        let steps = (2.0 * t * (slope + curve)).ceil().clamp(40.0, 4000.0);
        math::integral(t, steps, f)
    }
}

/// ln of sum over n of y^n / (a (a+1) ... (a+n)), which is the lower incomplete gamma function times y^-a e^y.
fn ln_series(a: f64, y: f64) -> f64 {
    let (mut term, mut sum, mut n, mut shift) = (1.0, 1.0, a, 0.0);
    loop {
        n += 1.0;
        term *= y / n;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
        if sum > 1e200 {
            (term, sum) = (term * 1e-200, sum * 1e-200);
            shift += 200.0 * std::f64::consts::LN_10;
        }
    }
    math::ln(sum) + shift - math::ln(a)
}
