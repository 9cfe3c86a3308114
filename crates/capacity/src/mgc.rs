//! M/G/c: Poisson arrivals, any service distribution, c servers, first come first served.
//!
//! | figure | formula | kind |
//! | --- | --- | --- |
//! | mean wait, c = 1 | Pollaczek 1930, Khinchine 1932 | exact |
//! | mean wait, det service | Crommelin 1932; Cosmetatos 1975 near saturation | exact; within 1 % |
//! | mean wait, c > 1 | Boxma, Cohen, Huffels 1979, eq. 2.9 (exact in light and heavy traffic) | approximation |
//! | mean wait from two moments alone | Kimura 1986, eq. 3.7 | approximation |
//! | probability of waiting, c > 1 | Erlang C (insensitive to about 5 %) | approximation |
//! | wait quantiles | a gamma distribution of the waits above 0, with their first two moments (Tijms 2003, 9.6.2) | approximation |
//!
//! Domain: utilisation below 1; SCV of service at most 100 (above, the mean of a few long services decides: simulate).

use crate::Refusal;
use crate::dist::Service;
use crate::erlang::{Mmc, check_system};
use crate::math;

pub const MAX_SCV: f64 = 100.0;

/// E[W] of M/G/1: Pollaczek-Khinchine.
pub fn pollaczek_khinchine(lambda: f64, service: &impl Service) -> Result<f64, Refusal> {
    check_system(1, lambda, service.mean())?;
    Ok(lambda * service.second() / (2.0 * lambda.mul_add(-service.mean(), 1.0)))
}

/// E[W] of M/D/c, relative to that of M/M/c.
///
/// Crommelin's sum, sum over w of P(N(aw) >= wc) - P(N(aw) > wc) / rho with Poisson N, needs about 70 rho / (c (1 - rho)^2)
/// terms and loses digits near saturation; there Cosmetatos 1975 is within 1 % of it.
pub fn md_ratio(c: u32, utilisation: f64) -> f64 {
    if c == 1 {
        return 0.5;
    }
    let n = f64::from(c);
    let rest = 1.0 - utilisation;
    let cosmetatos = 0.5 * (1.0 + rest * (n - 1.0) * ((4.0 + 5.0 * n).sqrt() - 2.0) / (16.0 * n * utilisation));
    let terms = 70.0 * utilisation / (n * rest * rest);
    let a = n * utilisation;
    if !(1e-9..300.0).contains(&a) || terms > 400.0 {
        return cosmetatos.min(n / (n + 1.0));
    }
    let mut sum = 0.0;
    for w in 1..2000 {
        let w = f64::from(w);
        let term = poisson_excess(a * w, n * w);
        sum += term;
        if term < sum * 1e-13 {
            break;
        }
    }
    let per_mm = Mmc::new(c, a, 1.0).map(|mm| mm.wait_mean()).unwrap_or(f64::INFINITY);
    let ratio = sum / per_mm;
    // Where both waits underflow, the limit for light traffic.
    if ratio.is_finite() && ratio > 0.0 { ratio.clamp(0.5, n / (n + 1.0)) } else { n / (n + 1.0) }
}

/// P(N >= k) - P(N > k) / rho for Poisson N of mean m = rho k, as a sum of positive terms:
/// E[(N - k)+] / m = sum over j >= 1 of j P(N = k + j) / m.
fn poisson_excess(mean: f64, k: f64) -> f64 {
    let ln_p = k * math::ln(mean) - mean - math::ln_gamma(k + 1.0);
    let (mut p, mut sum, mut j) = (1.0, 0.0, 0.0);
    loop {
        j += 1.0;
        p *= mean / (k + j);
        let term = j * p;
        sum += term;
        if term < sum * 1e-15 || p == 0.0 {
            break;
        }
    }
    math::exp(ln_p) * sum / mean
}

/// E[W] from the first two moments alone: Kimura 1986, the harmonic mean of M/M/c and M/D/c.
pub fn kimura(c: u32, lambda: f64, mean: f64, scv: f64) -> Result<f64, Refusal> {
    check_scv(scv)?;
    let mm = Mmc::new(c, lambda, mean)?;
    let ratio = md_ratio(c, mm.utilisation());
    Ok(mm.wait_mean() * (1.0 + scv) / (2.0 * scv + (1.0 - scv) / ratio).max(f64::MIN_POSITIVE))
}

/// The waits of one M/G/c system.
#[derive(Clone, Copy, Debug)]
pub struct Mgc {
    pub p_wait: f64,
    pub wait_mean: f64,
    /// SCV of the waits above 0
    pub wait_scv: f64,
}

impl Mgc {
    /// Boxma, Cohen and Huffels; Pollaczek-Khinchine for one server.
    pub fn new(c: u32, lambda: f64, service: &impl Service) -> Result<Mgc, Refusal> {
        check_scv(service.scv())?;
        let mm = Mmc::new(c, lambda, service.mean())?;
        let (mean, rho) = (service.mean(), mm.utilisation());
        let n = f64::from(c);
        let (least, least_second) = service.least_residual(c).unwrap_or_else(|| {
            let scale = mean / n;
            let raised = |t: f64| math::pow(service.residual_tail(t), n);
            (math::integral_from_zero(scale, raised), 2.0 * math::integral_from_zero(scale, |t| t * raised(t)))
        });
        let factor = if c == 1 {
            0.5 * (1.0 + service.scv())
        } else {
            let ratio = md_ratio(c, rho);
            let alpha = (service.second() / (least * mean) - n - 1.0) / (n - 1.0);
            (1.0 + service.scv()) * ratio / (2.0 * alpha * ratio + 1.0 - alpha)
        };
        // Waits above 0: exact for one server (Takacs 1962), which is the weighted mean of light and heavy traffic.
        let light = (least_second / (least * least) - 1.0).max(0.0);
        Ok(Mgc { p_wait: mm.p_wait(), wait_mean: mm.wait_mean() * factor, wait_scv: rho + (1.0 - rho) * light })
    }

    pub fn wait_tail(&self, t: f64) -> f64 {
        if self.p_wait <= 0.0 { 0.0 } else { self.p_wait * self.positive_tail(t) }
    }

    /// P(wait > t given that it is above 0)
    fn positive_tail(&self, t: f64) -> f64 {
        let mean = self.wait_mean / self.p_wait;
        math::gamma_tail(1.0 / self.wait_scv, t / (mean * self.wait_scv))
    }

    pub fn wait_quantile(&self, p: f64) -> f64 {
        let beyond = 1.0 - p;
        if self.p_wait <= beyond || self.wait_mean <= 0.0 {
            return 0.0;
        }
        let level = beyond / self.p_wait;
        math::tail_quantile(self.wait_mean / self.p_wait, level, |t| self.positive_tail(t))
    }

    /// Quantiles of wait + service, which are independent: the wait as 250 steps of its distribution.
    pub fn sojourn_quantiles<const N: usize>(&self, service: &impl Service, levels: [f64; N]) -> [f64; N] {
        let mut steps = vec![(0.0, 1.0 - self.p_wait)];
        if self.p_wait > 1e-15 && self.wait_mean > 0.0 {
            let mean = self.wait_mean / self.p_wait;
            let (from, to) = (1e-4 * mean, 40.0 * mean * self.wait_scv.max(1.0));
            let growth = math::pow(to / from, 1.0 / 250.0);
            let (mut left, mut tail_left) = (0.0, 1.0);
            let mut right = from;
            for _ in 0..=250 {
                let tail_right = self.positive_tail(right);
                steps.push((0.5 * (left + right), self.p_wait * (tail_left - tail_right)));
                (left, tail_left) = (right, tail_right);
                right *= growth;
            }
        }
        let tail = |t: f64| steps.iter().map(|(wait, share)| share * service.tail(t - wait)).sum::<f64>();
        levels.map(|p| {
            let beyond = 1.0 - p;
            if service.scv() == 0.0 {
                return service.mean() + self.wait_quantile(p);
            }
            math::tail_quantile_within(1e-6, service.mean() + self.wait_mean, beyond, tail)
        })
    }
}

fn check_scv(scv: f64) -> Result<(), Refusal> {
    if scv > MAX_SCV {
        return Err(Refusal::new(
            "service.scv",
            format!("the SCV of service is {scv}; the M/G/c formulas were checked up to {MAX_SCV}"),
            "use method simulate",
        ));
    }
    Ok(())
}
