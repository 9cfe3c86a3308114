//! Rate, variability and correlation of recorded arrivals.

use super::bootstrap::{block_bootstrap, block_length};
use crate::Refusal;
use crate::batches::Figure;

const ROUNDS: usize = 400;
const FEWEST: usize = 100;

/// The index of dispersion of counts: variance / mean of the arrivals in windows of one length. 1 for Poisson at any length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IdcPoint {
    pub window: f64,
    pub idc: Figure,
    pub windows: usize,
}

#[derive(Clone, Debug)]
pub struct ArrivalEstimate {
    pub rate: Figure,
    /// SCV of interarrival times
    pub scv: Figure,
    pub idc: Vec<IdcPoint>,
}

impl ArrivalEstimate {
    /// Whether the SCV alone would mislead: the dispersion of some longer window, even at the low end of its interval, is
    /// above one and a half times what independent interarrival times with that SCV would give. Then simulate the trace.
    pub fn is_correlated(&self) -> bool {
        self.idc.iter().any(|point| point.idc.low > 1.5 * self.scv.high.max(1.0))
    }

    /// The dispersion that decides about long queues: that of the longest window.
    pub fn dispersion(&self) -> f64 {
        self.idc.last().map_or(self.scv.value, |point| point.idc.value)
    }
}

fn mean(data: &[f64]) -> f64 {
    data.iter().sum::<f64>() / data.len() as f64
}

fn scv(data: &[f64]) -> f64 {
    let mean = mean(data);
    let variance = data.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (data.len() as f64 - 1.0);
    variance / (mean * mean)
}

/// Estimates from the moments of arrivals, in any order and unit. `windows` are the lengths for the dispersion.
pub fn arrivals(moments: &[f64], windows: &[f64], seed: u64) -> Result<ArrivalEstimate, Refusal> {
    if moments.len() < FEWEST {
        return Err(Refusal::new("log", format!("{} arrivals; an estimate needs {FEWEST}", moments.len()), "record for longer"));
    }
    if let Some(bad) = moments.iter().find(|moment| !moment.is_finite()) {
        return Err(Refusal::new("log", format!("{bad} is not a moment"), "remove the line"));
    }
    let mut sorted = moments.to_vec();
    sorted.sort_by(f64::total_cmp);
    let between: Vec<f64> = sorted.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let span = sorted[sorted.len() - 1] - sorted[0];
    if span <= 0.0 {
        return Err(Refusal::new("log", "all arrivals have the same moment", "record moments with a finer clock"));
    }
    let same = between.iter().filter(|gap| **gap == 0.0).count();
    if same * 2 > between.len() {
        return Err(Refusal::new(
            "log",
            format!(
                "{same} of {} arrivals have the moment of the one before: the clock is too coarse for interarrival times",
                between.len()
            ),
            "record fractions of a second (nginx: $msec), or use counts per window",
        ));
    }
    let block = block_length(between.len(), 50);
    let points = windows.iter().filter_map(|&window| idc_of_sorted(&sorted, window, seed).ok()).collect();
    let rate = block_bootstrap(&between, block, ROUNDS, seed, |data| 1.0 / mean(data));
    Ok(ArrivalEstimate { rate, scv: block_bootstrap(&between, block, ROUNDS, seed + 1, scv), idc: points })
}

/// The dispersion of counts in windows of one length; needs at least 20 of them.
pub fn idc(moments: &[f64], window: f64, seed: u64) -> Result<IdcPoint, Refusal> {
    let mut sorted = moments.to_vec();
    sorted.sort_by(f64::total_cmp);
    idc_of_sorted(&sorted, window, seed)
}

fn idc_of_sorted(sorted: &[f64], window: f64, seed: u64) -> Result<IdcPoint, Refusal> {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return Err(Refusal::new("log", "no arrivals", "record for longer"));
    };
    let number = if window > 0.0 { ((last - first) / window).floor() } else { 0.0 };
    if !(20.0..=1e8).contains(&number) {
        return Err(Refusal::new(
            "window",
            format!("{number} windows of {window} in the log; the dispersion needs 20 and is bounded at 1e8"),
            "use shorter windows, or record for longer",
        ));
    }
    let mut counts = vec![0.0; number as usize];
    for moment in sorted {
        let index = ((moment - first) / window) as usize;
        if let Some(count) = counts.get_mut(index) {
            *count += 1.0;
        }
    }
    Ok(IdcPoint { window, idc: idc_of_counts(&counts, seed), windows: counts.len() })
}

/// The dispersion from counts that were recorded per window (a balancer's, Prometheus').
pub fn idc_of_counts(counts: &[f64], seed: u64) -> Figure {
    let dispersion = |data: &[f64]| {
        let mean = mean(data);
        data.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (data.len() as f64 - 1.0) / mean
    };
    block_bootstrap(counts, block_length(counts.len(), 1), ROUNDS, seed, dispersion)
}
