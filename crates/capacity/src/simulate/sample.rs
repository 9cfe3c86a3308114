//! Draws of the distributions of [`Dist`].

use super::rng::{Rng, unit};
use crate::dist::{Dist, balanced_h2};
use crate::math;

const LAYERS: usize = 256;
const EXP_R: f64 = 7.697_117_470_131_05;
const EXP_V: f64 = 0.003_949_659_822_581_557;
const NORMAL_R: f64 = 3.654_152_885_361_009;
const NORMAL_V: f64 = 0.004_928_673_233_997_087;

/// The ziggurat's layers (Marsaglia and Tsang 2000) for the exponential and the normal density.
#[derive(Clone, Debug)]
pub struct Tables {
    exp_x: [f64; LAYERS + 1],
    exp_f: [f64; LAYERS + 1],
    normal_x: [f64; LAYERS + 1],
    normal_f: [f64; LAYERS + 1],
}

fn layers(r: f64, v: f64, density: impl Fn(f64) -> f64, inverse: impl Fn(f64) -> f64) -> ([f64; LAYERS + 1], [f64; LAYERS + 1]) {
    let mut x = [0.0; LAYERS + 1];
    x[0] = v / density(r);
    x[1] = r;
    for i in 2..LAYERS {
        x[i] = inverse(v / x[i - 1] + density(x[i - 1]));
    }
    let f = x.map(&density);
    (x, f)
}

impl Default for Tables {
    fn default() -> Tables {
        Tables::new()
    }
}

impl Tables {
    pub fn new() -> Tables {
        let (exp_x, exp_f) = layers(EXP_R, EXP_V, |x| math::exp(-x), |f| -math::ln(f));
        let (normal_x, normal_f) = layers(NORMAL_R, NORMAL_V, |x| math::exp(-0.5 * x * x), |f| (-2.0 * math::ln(f)).sqrt());
        Tables { exp_x, exp_f, normal_x, normal_f }
    }

    /// Exponential with mean 1.
    #[inline]
    pub fn exp(&self, rng: &mut Rng) -> f64 {
        let bits = rng.bits();
        let layer = (bits & 255) as usize;
        let x = unit(bits) * self.exp_x[layer];
        if x < self.exp_x[layer + 1] { x } else { self.exp_edge(rng, layer, x) }
    }

    #[cold]
    fn exp_edge(&self, rng: &mut Rng, mut layer: usize, mut x: f64) -> f64 {
        let mut beyond = 0.0;
        loop {
            if layer == 0 {
                beyond += EXP_R;
            } else if self.exp_f[layer + 1] + rng.uniform() * (self.exp_f[layer] - self.exp_f[layer + 1]) < math::exp(-x) {
                return beyond + x;
            }
            let bits = rng.bits();
            layer = (bits & 255) as usize;
            x = unit(bits) * self.exp_x[layer];
            if x < self.exp_x[layer + 1] {
                return beyond + x;
            }
        }
    }

    /// Standard normal.
    #[inline]
    pub fn normal(&self, rng: &mut Rng) -> f64 {
        loop {
            let bits = rng.bits();
            let layer = (bits & 255) as usize;
            let sign = if bits & 256 == 0 { 1.0 } else { -1.0 };
            let x = unit(bits) * self.normal_x[layer];
            if x < self.normal_x[layer + 1] {
                return sign * x;
            }
            if layer == 0 {
                loop {
                    let (tail, y) = (self.exp(rng) / NORMAL_R, self.exp(rng));
                    if 2.0 * y > tail * tail {
                        return sign * (NORMAL_R + tail);
                    }
                }
            }
            if self.normal_f[layer + 1] + rng.uniform() * (self.normal_f[layer] - self.normal_f[layer + 1]) < math::exp(-0.5 * x * x) {
                return sign * x;
            }
        }
    }

    /// Gamma of `shape` >= 1 and scale 1 (Marsaglia and Tsang 2000b); `d` = shape - 1/3.
    #[inline]
    fn gamma(&self, rng: &mut Rng, d: f64, slope: f64) -> f64 {
        loop {
            let z = self.normal(rng);
            let root = 1.0 + slope * z;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            let u = rng.uniform();
            let z2 = z * z;
            if u < 1.0 - 0.0331 * z2 * z2 || math::ln(u) < 0.5 * z2 + d * (1.0 - v + math::ln(v)) {
                return d * v;
            }
        }
    }
}

/// A distribution made ready for drawing.
#[derive(Clone, Copy, Debug)]
pub enum Sampler {
    Det {
        mean: f64,
    },
    Exp {
        mean: f64,
    },
    /// `boost` is scv where the shape is below 1: gamma(k) = gamma(k + 1) U^(1/k)
    Gamma {
        d: f64,
        slope: f64,
        scale: f64,
        boost: f64,
    },
    Lognormal {
        mu: f64,
        sigma: f64,
    },
    H2 {
        p: f64,
        often: f64,
        seldom: f64,
    },
}

impl Sampler {
    pub fn new(dist: &Dist) -> Sampler {
        match *dist {
            Dist::Det { mean } => Sampler::Det { mean },
            Dist::Exp { mean } => Sampler::Exp { mean },
            Dist::Gamma { mean, scv } => {
                let shape = 1.0 / scv;
                let boost = if shape < 1.0 { scv } else { 0.0 };
                let d = if shape < 1.0 { shape + 1.0 } else { shape } - 1.0 / 3.0;
                Sampler::Gamma { d, slope: 1.0 / (9.0 * d).sqrt(), scale: mean * scv, boost }
            }
            Dist::Lognormal { mean, scv } => {
                let v = math::ln_1p(scv);
                Sampler::Lognormal { mu: math::ln(mean) - 0.5 * v, sigma: v.sqrt() }
            }
            Dist::H2 { mean, scv } => {
                let [(p, often), (_, seldom)] = balanced_h2(mean, scv);
                Sampler::H2 { p, often, seldom }
            }
        }
    }

    #[inline]
    pub fn draw(&self, tables: &Tables, rng: &mut Rng) -> f64 {
        match *self {
            Sampler::Det { mean } => mean,
            Sampler::Exp { mean } => mean * tables.exp(rng),
            Sampler::Gamma { d, slope, scale, boost } => {
                let plain = scale * tables.gamma(rng, d, slope);
                if boost > 0.0 { plain * math::exp(-boost * tables.exp(rng)) } else { plain }
            }
            Sampler::Lognormal { mu, sigma } => math::exp(mu + sigma * tables.normal(rng)),
            Sampler::H2 { p, often, seldom } => {
                let mean = if rng.uniform() < p { often } else { seldom };
                mean * tables.exp(rng)
            }
        }
    }
}
