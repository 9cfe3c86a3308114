//! Distributions of service times, patience and set-up times, given by mean and squared coefficient of variation (SCV).

use crate::Refusal;
use crate::math;

/// A distribution of positive times. `H2` is hyperexponential with balanced means; gamma and lognormal have two parameters,
/// so mean and SCV say all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dist {
    Det { mean: f64 },
    Exp { mean: f64 },
    Gamma { mean: f64, scv: f64 },
    Lognormal { mean: f64, scv: f64 },
    H2 { mean: f64, scv: f64 },
}

/// What the formulas need of a service-time distribution.
pub trait Service {
    fn mean(&self) -> f64;
    fn scv(&self) -> f64;
    /// E[S^3]
    fn third(&self) -> f64;
    /// P(S > t)
    fn tail(&self, t: f64) -> f64;
    /// P(residual > t) of a service seen at a random moment
    fn residual_tail(&self, t: f64) -> f64;
    /// The mean and second moment of the least of `c` residuals, where they are known in closed form
    fn least_residual(&self, _c: u32) -> Option<(f64, f64)> {
        None
    }
    fn second(&self) -> f64 {
        self.mean() * self.mean() * (1.0 + self.scv())
    }
}

/// Phases of a hyperexponential distribution with balanced means: (probability, mean) of each (Whitt 1982, eq. 3.7).
pub fn balanced_h2(mean: f64, scv: f64) -> [(f64, f64); 2] {
    let p = 0.5 * (1.0 + ((scv - 1.0) / (scv + 1.0)).max(0.0).sqrt());
    // 1 - p suffers cancellation for a large SCV: (1 - r) / 2 = (1 - r^2) / (2 (1 + r)), and 1 - r^2 = 2 / (scv + 1).
    let q = 1.0 / ((scv + 1.0) * 2.0 * p);
    [(p, 0.5 * mean / p), (q, 0.5 * mean / q)]
}

/// Phases of the hyperexponential distribution with three given moments (Whitt 1982, eq. 3.5 and 3.6); none where a
/// distribution with these moments is not hyperexponential.
pub fn h2_of_moments(m1: f64, m2: f64, m3: f64) -> Option<[(f64, f64); 2]> {
    let (x, y) = (m1 * m3 - 1.5 * m2 * m2, m2 - 2.0 * m1 * m1);
    if y <= 1e-9 * m2 || x <= 0.0 {
        return None;
    }
    let root = ((x + 1.5 * y * y - 3.0 * m1 * m1 * y) * (x + 1.5 * y * y - 3.0 * m1 * m1 * y) + 18.0 * m1 * m1 * y * y * y).sqrt();
    let sum = x + 1.5 * y * y + 3.0 * m1 * m1 * y;
    let (long, short) = ((sum + root) / (6.0 * m1 * y), (sum - root) / (6.0 * m1 * y));
    let p = (m1 - short) / (long - short);
    (short > 0.0 && (0.0..=1.0).contains(&p)).then_some([(p, long), (1.0 - p, short)])
}

impl Dist {
    /// Checks mean and SCV against the family's domain. `place` is where the distribution stands in a request.
    pub fn new(family: &str, mean: f64, scv: Option<f64>, place: &str) -> Result<Dist, Refusal> {
        let at = |field: &str| format!("{place}.{field}");
        if !(1e-12..=1e12).contains(&mean) {
            return Err(Refusal::new(at("mean"), format!("the mean is {mean}, not within 1e-12 to 1e12"), "use another unit of time"));
        }
        let fixed = |name: &str, only: f64| match scv {
            Some(scv) if (scv - only).abs() > 1e-9 => Err(Refusal::new(
                at("scv"),
                format!("the SCV is {scv}, and that of {name} is always {only}"),
                "leave scv out, or choose dist gamma, lognormal or h2",
            )),
            _ => Ok(()),
        };
        let needed = |least: f64, most: f64| match scv {
            None => {
                Err(Refusal::new(at("scv"), format!("dist {family} needs its SCV (variance / mean^2)"), "add scv, or use dist exp or det"))
            }
            Some(scv) if !(least..=most).contains(&scv) => Err(Refusal::new(
                at("scv"),
                format!("the SCV is {scv}; dist {family} covers {least} to {most}"),
                if scv == 0.0 {
                    "for times without variation use dist det"
                } else {
                    "for a smaller SCV use gamma or lognormal; check the value"
                },
            )),
            Some(scv) => Ok(scv),
        };
        match family {
            "det" => fixed("det", 0.0).map(|()| Dist::Det { mean }),
            "exp" => fixed("exp", 1.0).map(|()| Dist::Exp { mean }),
            "gamma" => Ok(Dist::Gamma { mean, scv: needed(1e-3, 100.0)? }),
            "lognormal" => Ok(Dist::Lognormal { mean, scv: needed(1e-3, 1000.0)? }),
            "h2" => Ok(Dist::H2 { mean, scv: needed(1.0, 1000.0)? }),
            other => Err(Refusal::new(at("dist"), format!("unknown distribution {other:?}"), "use one of det, exp, gamma, lognormal, h2")),
        }
    }

    /// The same distribution with another mean.
    pub fn with_mean(self, mean: f64) -> Dist {
        match self {
            Dist::Det { .. } => Dist::Det { mean },
            Dist::Exp { .. } => Dist::Exp { mean },
            Dist::Gamma { scv, .. } => Dist::Gamma { mean, scv },
            Dist::Lognormal { scv, .. } => Dist::Lognormal { mean, scv },
            Dist::H2 { scv, .. } => Dist::H2 { mean, scv },
        }
    }

    pub fn is_exp(&self) -> bool {
        matches!(self, Dist::Exp { .. })
    }
}

impl Service for Dist {
    fn mean(&self) -> f64 {
        match *self {
            Dist::Det { mean } | Dist::Exp { mean } | Dist::Gamma { mean, .. } | Dist::Lognormal { mean, .. } | Dist::H2 { mean, .. } => {
                mean
            }
        }
    }

    fn scv(&self) -> f64 {
        match *self {
            Dist::Det { .. } => 0.0,
            Dist::Exp { .. } => 1.0,
            Dist::Gamma { scv, .. } | Dist::Lognormal { scv, .. } | Dist::H2 { scv, .. } => scv,
        }
    }

    fn third(&self) -> f64 {
        let m3 = self.mean() * self.mean() * self.mean();
        match *self {
            Dist::Det { .. } => m3,
            Dist::Exp { .. } => 6.0 * m3,
            Dist::Gamma { scv, .. } => m3 * (1.0 + scv) * (1.0 + 2.0 * scv),
            Dist::Lognormal { scv, .. } => m3 * (1.0 + scv) * (1.0 + scv) * (1.0 + scv),
            Dist::H2 { mean, scv } => balanced_h2(mean, scv).iter().map(|(p, m)| 6.0 * p * m * m * m).sum(),
        }
    }

    fn tail(&self, t: f64) -> f64 {
        if t <= 0.0 {
            return if t < 0.0 || !matches!(self, Dist::Det { mean } if *mean <= 0.0) { 1.0 } else { 0.0 };
        }
        match *self {
            Dist::Det { mean } => f64::from(u8::from(t < mean)),
            Dist::Exp { mean } => math::exp(-t / mean),
            Dist::Gamma { mean, scv } => math::gamma_tail(1.0 / scv, t / (mean * scv)),
            Dist::Lognormal { mean, scv } => {
                let v = math::ln_1p(scv);
                math::normal_tail((math::ln(t / mean) + 0.5 * v) / v.sqrt())
            }
            Dist::H2 { mean, scv } => balanced_h2(mean, scv).iter().map(|(p, m)| p * math::exp(-t / m)).sum(),
        }
    }

    fn residual_tail(&self, t: f64) -> f64 {
        if t <= 0.0 {
            return 1.0;
        }
        let value = match *self {
            Dist::Det { mean } => 1.0 - t / mean,
            Dist::Exp { mean } => math::exp(-t / mean),
            Dist::Gamma { mean, scv } => {
                let (k, x) = (1.0 / scv, t / (mean * scv));
                math::gamma_tail(k + 1.0, x) - t / mean * math::gamma_tail(k, x)
            }
            Dist::Lognormal { mean, scv } => {
                let v = math::ln_1p(scv);
                let z = (math::ln(t / mean) + 0.5 * v) / v.sqrt();
                math::normal_tail(z - v.sqrt()) - t / mean * math::normal_tail(z)
            }
            Dist::H2 { mean, scv } => balanced_h2(mean, scv).iter().map(|(p, m)| p * m / mean * math::exp(-t / m)).sum(),
        };
        value.clamp(0.0, 1.0)
    }

    fn least_residual(&self, c: u32) -> Option<(f64, f64)> {
        let n = f64::from(c);
        match *self {
            Dist::Det { mean } => Some((mean / (n + 1.0), 2.0 * mean * mean / ((n + 1.0) * (n + 2.0)))),
            Dist::Exp { mean } => Some((mean / n, 2.0 * mean * mean / (n * n))),
            _ => None,
        }
    }
}

/// Two classes of jobs in one queue, each drawn with its weight.
#[derive(Clone, Copy, Debug)]
pub struct Mixture {
    pub parts: [(f64, Dist); 2],
}

impl Service for Mixture {
    fn mean(&self) -> f64 {
        self.parts.iter().map(|(w, d)| w * d.mean()).sum()
    }

    fn scv(&self) -> f64 {
        let second: f64 = self.parts.iter().map(|(w, d)| w * d.second()).sum();
        second / (self.mean() * self.mean()) - 1.0
    }

    fn third(&self) -> f64 {
        self.parts.iter().map(|(w, d)| w * d.third()).sum()
    }

    fn tail(&self, t: f64) -> f64 {
        self.parts.iter().map(|(w, d)| w * d.tail(t)).sum()
    }

    fn residual_tail(&self, t: f64) -> f64 {
        let mean = self.mean();
        self.parts.iter().map(|(w, d)| w * d.mean() / mean * d.residual_tail(t)).sum()
    }
}
