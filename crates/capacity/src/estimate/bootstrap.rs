//! The moving-block bootstrap: intervals for statistics of dependent observations (Kuensch 1989).

use crate::batches::Figure;
use crate::simulate::Rng;

/// A block long enough for n observations: n^(1/3) keeps the bias small (Hall, Horowitz, Jing 1995), and a longer one where
/// the caller knows of longer correlation.
pub fn block_length(n: usize, least: usize) -> usize {
    (libm::cbrt(n as f64).ceil() as usize).max(least).clamp(1, n.max(1))
}

/// The statistic of `data` with its 90 % interval: the 5th and 95th percentile over `rounds` resamples, mirrored at the value
/// (basic bootstrap), so that a bias of the resampled statistic is taken out and not doubled.
pub fn block_bootstrap(data: &[f64], block: usize, rounds: usize, seed: u64, statistic: impl Fn(&[f64]) -> f64) -> Figure {
    let value = statistic(data);
    let n = data.len();
    if n < 2 || rounds < 20 {
        return Figure { value, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let block = block.clamp(1, n);
    let mut rng = Rng::new(seed);
    let mut sample = Vec::with_capacity(n + block);
    let mut found: Vec<f64> = (0..rounds)
        .map(|_| {
            sample.clear();
            while sample.len() < n {
                let at = rng.below(n - block + 1);
                sample.extend_from_slice(&data[at..at + block]);
            }
            sample.truncate(n);
            statistic(&sample)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |p: f64| found[((p * rounds as f64) as usize).min(rounds - 1)];
    Figure { value, low: 2.0 * value - at(0.95), high: 2.0 * value - at(0.05) }
}
