//! Exponential service on c servers with arrivals that are no renewal process of one phase: exact, by a Markov chain.
//!
//! | arrivals | solved by | source |
//! | --- | --- | --- |
//! | two-phase Markovian arrivals: MMPP, hyperexponential times | matrix-geometric levels | Neuts 1981, ch. 1 and 3; Latouche and Ramaswami 1999 |
//! | batches, fixed or geometric | balance over each cut between n and n + 1 jobs | Chaudhry and Templeton 1983, 4.1 |
//!
//! Both give the number of jobs that an arrival finds, and from it every figure of the wait: an arrival that finds n >= c waits
//! for n - c + 1 ends of service at the rate c mu. Domain: at most 1,000,000 states to hold all but 1e-16 of the probability.

use crate::Refusal;
use crate::erlang::check_system;
use crate::math;
use crate::simulate::arrivals::Mmpp;

const MOST_STATES: usize = 1_000_000;
const NEGLIGIBLE: f64 = 1e-16;

type Pair = [f64; 2];
type Square = [[f64; 2]; 2];

/// What arrivals find.
#[derive(Clone, Debug)]
pub struct Found {
    c: f64,
    service: f64,
    pub p_wait: f64,
    pub wait_mean: f64,
    /// P(an arrival finds at least c + k), for k = 0, 1, ...
    tail: Vec<f64>,
}

impl Found {
    /// From the probabilities with which arrivals find c, c + 1, ... jobs.
    fn new(c: u32, service: f64, busy: &[f64]) -> Found {
        let mut tail = vec![0.0; busy.len()];
        let mut sum = 0.0;
        for (k, share) in busy.iter().enumerate().rev() {
            sum += share;
            tail[k] = sum;
        }
        let wait_mean = tail.iter().rev().sum::<f64>() * service / f64::from(c);
        Found { c: f64::from(c), service, p_wait: sum.min(1.0), wait_mean, tail }
    }

    /// P(wait > t): of the ends of service within t, a Poisson number j, more than j must be needed.
    pub fn wait_tail(&self, t: f64) -> f64 {
        let mean = self.c * t / self.service;
        if mean <= 0.0 {
            return self.p_wait;
        }
        let width = 14.0 * mean.sqrt() + 40.0;
        let first = (mean - width).max(0.0).floor();
        let mut p = math::exp(first * math::ln(mean) - mean - math::ln_gamma(first + 1.0));
        let (mut sum, mut j) = (0.0, first);
        while j < mean + width {
            let Some(more) = self.tail.get(j as usize) else { break };
            sum += p * more;
            j += 1.0;
            p *= mean / j;
        }
        sum.min(1.0)
    }

    pub fn wait_quantile(&self, p: f64) -> f64 {
        let beyond = 1.0 - p;
        if self.p_wait <= beyond { 0.0 } else { math::tail_quantile(self.wait_mean / self.p_wait, beyond, |t| self.wait_tail(t)) }
    }

    /// P(sojourn > t): wait and service are independent. By Gauss-Legendre over the wait, which is smooth above 0.
    pub fn sojourn_tail(&self, t: f64) -> f64 {
        // P(W + S > t) = P(W > t) + e^-mu t + integral over w of mu e^(-mu (t - w)) (P(W > w) - 0), by parts:
        // = e^(-mu t) + integral from 0 to t of mu e^(-mu (t - w)) P(W > w) dw.
        let mu = 1.0 / self.service;
        let steps = (2.0 * t * mu * (1.0 + 0.5 * self.c.sqrt())).ceil().clamp(16.0, 400.0);
        math::exp(-mu * t) + math::integral(t, steps, |w| mu * math::exp(-mu * (t - w)) * self.wait_tail(w))
    }

    pub fn sojourn_quantile(&self, p: f64) -> f64 {
        math::tail_quantile(self.service + self.wait_mean, 1.0 - p, |t| self.sojourn_tail(t))
    }
}

fn too_long() -> Refusal {
    Refusal::new("lambda", "the queue is so long that its chain has more than 1,000,000 states", "use method simulate")
}

fn product(a: Square, b: Square) -> Square {
    let entry = |i: usize, j: usize| a[i][0] * b[0][j] + a[i][1] * b[1][j];
    [[entry(0, 0), entry(0, 1)], [entry(1, 0), entry(1, 1)]]
}

fn times(v: Pair, m: Square) -> Pair {
    [v[0] * m[0][0] + v[1] * m[1][0], v[0] * m[0][1] + v[1] * m[1][1]]
}

/// (diag(leave) - m)^-1 for a matrix of non-negative rates `m`: leave_i is what leaves phase i in all, without cancellation
/// in the determinant where `rest_i` = leave_i - sum of m_ij is known.
fn inverse(m: Square, rest: Pair) -> Square {
    // M = diag(rest + row sums) - m; its determinant is rest0 rest1 + rest0 m10 + rest1 m01.
    let det = rest[0] * rest[1] + rest[0] * m[1][0] + rest[1] * m[0][1];
    [[(rest[1] + m[1][0]) / det, m[0][1] / det], [m[1][0] / det, (rest[0] + m[0][1]) / det]]
}

/// Arrivals of two phases: `change` moves without an arrival, `arrive` with one.
fn two_phases(c: u32, service: f64, change: Square, arrive: Square) -> Result<Found, Refusal> {
    let n = c as usize;
    let mu = 1.0 / service;
    let full = f64::from(c) * mu;
    // R of the levels from c on: the least solution of 0 = A0 + R A1 + R^2 A2, by logarithmic reduction of the matrix G of
    // first passage one level down (Latouche and Ramaswami 1993). A level loses arrivals and services.
    let loss = |level: f64| [arrive[0][0] + arrive[0][1] + level, arrive[1][0] + arrive[1][1] + level];
    let base = inverse(change, loss(full));
    let (mut up, mut down) = (product(base, arrive), base.map(|row| row.map(|x| x * full)));
    let (mut g, mut climbed) = (down, up);
    for _ in 0..60 {
        let (both, upup, downdown) = (sum(product(up, down), product(down, up)), product(up, up), product(down, down));
        let rest = [1.0 - both[0][0] - both[0][1], 1.0 - both[1][0] - both[1][1]];
        let fixed = inverse([[0.0, both[0][1]], [both[1][0], 0.0]], rest);
        (up, down) = (product(fixed, upup), product(fixed, downdown));
        let more = product(climbed, down);
        g = sum(g, more);
        climbed = product(climbed, up);
        if more.iter().flatten().all(|x| *x < 1e-17) {
            break;
        }
    }
    // R = A0 (-(A1 + A0 G))^-1; A0 G moves between phases without changing the level for good.
    let returning = product(arrive, g);
    let r = product(arrive, inverse(sum(change, returning), [full, full]));
    // Levels below c by elimination from above: x_(k+1) = x_k R_k, R_k = A0 (-(local of k + 1 + R_(k+1) A2 of k + 2))^-1.
    // What comes back from above enters a level by services; what a level loses for good are its own services.
    let mut rates = vec![[[0.0; 2]; 2]; n];
    let mut above = r;
    for level in (1..=n).rev() {
        let rate = (level as f64) * mu;
        let back = above.map(|row| row.map(|x| x * (level as f64 + 1.0).min(f64::from(c)) * mu));
        // Rows of `arrive` return through `back` in full, so that only services are lost.
        let to = inverse(sum(change, back), [rate, rate]);
        rates[level - 1] = product(arrive, to);
        above = rates[level - 1];
    }
    // Level 0: x (change + back) is balanced between its two phases.
    let back = above.map(|row| row.map(|x| x * mu));
    let swap = sum(change, back);
    let mut at = [swap[1][0], swap[0][1]];
    if at[0] + at[1] <= 0.0 {
        at = [1.0, 0.0];
    }
    let seen = |x: Pair| x[0] * (arrive[0][0] + arrive[0][1]) + x[1] * (arrive[1][0] + arrive[1][1]);
    let (mut total, mut below) = (0.0, 0.0);
    for rates in &rates {
        total += at[0] + at[1];
        below += seen(at);
        at = times(at, *rates);
        if total > 1e200 {
            (total, below) = (total * 1e-200, below * 1e-200);
            at = at.map(|x| x * 1e-200);
        }
    }
    let mut busy = Vec::new();
    let (mut here, mut all) = (at, 0.0);
    loop {
        let share = seen(here);
        all += share;
        busy.push(share);
        here = times(here, r);
        if seen(here) <= NEGLIGIBLE * 1e-3 * all || all <= 0.0 {
            break;
        }
        if busy.len() > MOST_STATES {
            return Err(too_long());
        }
    }
    let arrivals = below + all;
    busy.iter_mut().for_each(|share| *share /= arrivals);
    Ok(Found::new(c, service, &busy))
}

fn sum(a: Square, b: Square) -> Square {
    [[a[0][0] + b[0][0], a[0][1] + b[0][1]], [a[1][0] + b[1][0], a[1][1] + b[1][1]]]
}

/// MMPP/M/c
pub fn mmpp(c: u32, service: f64, process: Mmpp) -> Result<Found, Refusal> {
    check_system(c, process.rate(), service)?;
    let change = [[0.0, process.high_to_low], [process.low_to_high, 0.0]];
    two_phases(c, service, change, [[process.rate_high, 0.0], [0.0, process.rate_low]])
}

/// H2/M/c with the phases (probability, mean) of the interarrival times.
pub fn hyperexponential(c: u32, service: f64, phases: [(f64, f64); 2]) -> Result<Found, Refusal> {
    let mean: f64 = phases.iter().map(|(p, m)| p * m).sum();
    check_system(c, 1.0 / mean, service)?;
    let [(p, first), (q, second)] = phases;
    two_phases(c, service, [[0.0; 2]; 2], [[p / first, q / first], [p / second, q / second]])
}

/// Sizes of batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Batches {
    Fixed(u32),
    /// The mean
    Geometric(f64),
}

impl Batches {
    pub fn mean(self) -> f64 {
        match self {
            Batches::Fixed(size) => f64::from(size),
            Batches::Geometric(mean) => mean,
        }
    }

    /// E[X^2] / E[X], the dispersion of counts
    pub fn dispersion(self) -> f64 {
        match self {
            Batches::Fixed(size) => f64::from(size),
            Batches::Geometric(mean) => 2.0 * mean - 1.0,
        }
    }
}

/// M^X/M/c with `lambda` jobs in all.
pub fn batches(c: u32, lambda: f64, service: f64, sizes: Batches) -> Result<Found, Refusal> {
    check_system(c, lambda, service)?;
    let (n, per) = (c as usize, lambda * service / sizes.mean());
    // p(k + 1) min(k + 1, c) = per * sum over i <= k of p(i) P(X > k - i), and that sum / mean is what members find.
    let mut p = vec![1.0];
    let mut beyond: Vec<f64> = Vec::new();
    let (mut window, mut total) = (0.0, 0.0);
    loop {
        let k = p.len() - 1;
        total += p[k];
        window = match sizes {
            Batches::Fixed(size) => {
                let size = size as usize;
                // Summed again now and then: a running difference gathers errors.
                if k % 64 == 0 || size < 64 {
                    p[(k + 1).saturating_sub(size)..].iter().sum()
                } else {
                    window + p[k] - p[k - size.min(k)] * f64::from(u8::from(k >= size))
                }
            }
            Batches::Geometric(mean) => (1.0 - 1.0 / mean) * window + p[k],
        };
        beyond.push(window);
        let next = per * window / ((k + 1).min(n) as f64);
        if k > n && next <= NEGLIGIBLE * 1e-3 * total && window <= NEGLIGIBLE * total {
            break;
        }
        if p.len() > MOST_STATES + n {
            return Err(too_long());
        }
        p.push(next);
        if next > 1e200 {
            p.iter_mut().chain(&mut beyond).for_each(|x| *x *= 1e-200);
            (window, total) = (window * 1e-200, total * 1e-200);
        }
    }
    let arrivals: f64 = beyond.iter().sum();
    let busy: Vec<f64> = beyond.iter().skip(n).map(|share| share / arrivals).collect();
    Ok(Found::new(c, service, &busy))
}
