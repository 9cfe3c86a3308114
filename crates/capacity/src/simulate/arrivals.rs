//! Arrival processes: each gives the time from one arrival to the next (0 within a batch).

use super::rng::Rng;
use super::sample::{Sampler, Tables};
use crate::dist::Dist;
use crate::math;
use std::sync::Arc;

/// Two rates of Poisson arrivals that alternate by a Markov chain (Markov-modulated Poisson process).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmpp {
    pub rate_high: f64,
    pub rate_low: f64,
    pub high_to_low: f64,
    pub low_to_high: f64,
}

impl Mmpp {
    pub fn rate(&self) -> f64 {
        let high = self.low_to_high / (self.low_to_high + self.high_to_low);
        high * self.rate_high + (1.0 - high) * self.rate_low
    }

    /// The limit of the index of dispersion for counts over long windows (Heffes and Lucantoni 1986).
    pub fn dispersion(&self) -> f64 {
        let (r, s) = (self.high_to_low, self.low_to_high);
        let d = self.rate_high - self.rate_low;
        1.0 + 2.0 * d * d * r * s / ((r + s) * (r + s) * (self.rate_high * s + self.rate_low * r))
    }
}

#[derive(Clone, Debug)]
pub enum Arrivals {
    Renewal(Sampler),
    BatchFixed {
        between: f64,
        size: u32,
        left: u32,
    },
    BatchGeometric {
        between: f64,
        mean: f64,
        left: u64,
    },
    Mmpp {
        process: Mmpp,
        is_high: bool,
    },
    /// Blocks of recorded interarrival times, drawn with replacement (block bootstrap)
    Trace {
        times: Arc<[f64]>,
        block: usize,
        at: usize,
        left: usize,
    },
}

impl Arrivals {
    pub fn renewal(dist: &Dist) -> Arrivals {
        Arrivals::Renewal(Sampler::new(dist))
    }

    pub fn poisson(lambda: f64) -> Arrivals {
        Arrivals::Renewal(Sampler::Exp { mean: 1.0 / lambda })
    }

    /// Batches of `size` whose members arrive at the rate `lambda` in all.
    pub fn batch_fixed(lambda: f64, size: u32) -> Arrivals {
        Arrivals::BatchFixed { between: f64::from(size) / lambda, size, left: 0 }
    }

    /// Batches of 1, 2, ... members with geometric probabilities.
    pub fn batch_geometric(lambda: f64, mean: f64) -> Arrivals {
        Arrivals::BatchGeometric { between: mean / lambda, mean, left: 0 }
    }

    pub fn mmpp(process: Mmpp) -> Arrivals {
        Arrivals::Mmpp { process, is_high: true }
    }

    /// A recorded sequence of interarrival times, repeated in random blocks of `block` arrivals.
    pub fn trace(times: Arc<[f64]>, block: usize) -> Arrivals {
        let block = block.clamp(1, times.len().max(1));
        Arrivals::Trace { times, block, at: 0, left: 0 }
    }

    #[inline]
    pub fn next(&mut self, tables: &Tables, rng: &mut Rng) -> f64 {
        match self {
            Arrivals::Renewal(sampler) => sampler.draw(tables, rng),
            Arrivals::BatchFixed { between, size, left } => {
                if *left > 0 {
                    *left -= 1;
                    return 0.0;
                }
                *left = *size - 1;
                *between * tables.exp(rng)
            }
            Arrivals::BatchGeometric { between, mean, left } => {
                if *left > 0 {
                    *left -= 1;
                    return 0.0;
                }
                // Members beyond the first: floor(E / -ln(1 - 1/mean)).
                *left = if *mean > 1.0 { (tables.exp(rng) / -math::ln_1p(-1.0 / *mean)) as u64 } else { 0 };
                *between * tables.exp(rng)
            }
            Arrivals::Mmpp { process, is_high } => {
                let mut passed = 0.0;
                loop {
                    let (rate, leave) =
                        if *is_high { (process.rate_high, process.high_to_low) } else { (process.rate_low, process.low_to_high) };
                    passed += tables.exp(rng) / (rate + leave);
                    if rng.uniform() * (rate + leave) < rate {
                        return passed;
                    }
                    *is_high = !*is_high;
                }
            }
            Arrivals::Trace { times, block, at, left } => {
                if *left == 0 {
                    *at = rng.below(times.len() - *block + 1);
                    *left = *block;
                }
                *left -= 1;
                *at += 1;
                times[*at - 1]
            }
        }
    }
}
