//! What a simulation records, and intervals from batch means.
//!
//! Observations are collected in 32 to 63 batches of equal length; when there are 64, neighbours are merged, so that a batch
//! grows with the run until batches are nearly independent (Law and Kelton; Student's t over the batches). Quantiles are
//! those of all observations, and their interval comes from the quantiles of the batches.
//!
//! Control variates: a batch also holds the means of what was drawn (interarrival and service times and their squares), whose
//! expectations are known. The figure is the regression of the batches' figures on them, at the expectations (Lavenberg,
//! Moeller, Welch 1982). That is worth several times the work where a batch's wait is mostly the luck of its draws.

use crate::math;

/// Bits of the mantissa that a bin keeps: neighbouring bins are 2^-9 apart, and a quantile is interpolated between them.
const KEPT: u32 = 9;
const BELOW: i32 = 34;
const ABOVE: i32 = 26;
const BINS: usize = ((BELOW + ABOVE) as usize) << KEPT;

/// Times of one kind: their sum, and a histogram with relative bins around a typical length.
#[derive(Clone, Debug)]
pub struct Series {
    pub count: u64,
    pub sum: f64,
    pub zeros: u64,
    origin: u64,
    bins: Vec<u32>,
}

impl Series {
    /// `typical` is a length such as the mean service time; 2^-34 to 2^26 times that are distinguished.
    pub fn new(typical: f64) -> Series {
        let exponent = ((typical.to_bits() >> 52) as i64 - i64::from(BELOW)).max(1) as u64;
        Series { count: 0, sum: 0.0, zeros: 0, origin: exponent << KEPT, bins: vec![0; BINS] }
    }

    #[inline]
    pub fn add(&mut self, time: f64) {
        self.count += 1;
        if time <= 0.0 {
            self.zeros += 1;
            return;
        }
        self.sum += time;
        let bin = (time.to_bits() >> (52 - KEPT)).saturating_sub(self.origin) as usize;
        self.bins[bin.min(BINS - 1)] += 1;
    }

    fn merge(&mut self, other: &Series) {
        self.count += other.count;
        self.sum += other.sum;
        self.zeros += other.zeros;
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            *mine += theirs;
        }
    }

    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The least time that a share `p` of the observations does not exceed.
    pub fn quantile(&self, p: f64) -> f64 {
        let rank = p * self.count as f64;
        let mut below = self.zeros as f64;
        if self.count == 0 || rank <= below {
            return 0.0;
        }
        for (bin, &here) in self.bins.iter().enumerate() {
            let here = f64::from(here);
            if rank <= below + here && here > 0.0 {
                let edge = |bin: usize| f64::from_bits((self.origin + bin as u64) << (52 - KEPT));
                return edge(bin) + (edge(bin + 1) - edge(bin)) * (rank - below) / here;
            }
            below += here;
        }
        f64::from_bits((self.origin + BINS as u64) << (52 - KEPT))
    }
}

/// The mean of draws whose expectation is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Control {
    pub sum: f64,
    pub count: u64,
}

impl Control {
    #[inline]
    pub fn add(&mut self, drawn: f64) {
        self.sum += drawn;
        self.count += 1;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

pub const CONTROLS: usize = 4;

/// One batch: some series of times, counts, and the controls.
#[derive(Clone, Debug)]
pub struct Batch {
    pub arrivals: u64,
    pub waited: u64,
    pub abandoned: u64,
    pub series: Vec<Series>,
    pub controls: [Control; CONTROLS],
}

impl Batch {
    pub fn new(typical: f64, series: usize) -> Batch {
        Batch { arrivals: 0, waited: 0, abandoned: 0, series: vec![Series::new(typical); series], controls: [Control::default(); CONTROLS] }
    }

    fn merge(&mut self, other: &Batch) {
        self.arrivals += other.arrivals;
        self.waited += other.waited;
        self.abandoned += other.abandoned;
        for (mine, theirs) in self.series.iter_mut().zip(&other.series) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.controls.iter_mut().zip(&other.controls) {
            mine.sum += theirs.sum;
            mine.count += theirs.count;
        }
    }
}

/// A value with its two-sided 90 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Figure {
    pub fn exact(value: f64) -> Figure {
        Figure { value, low: value, high: value }
    }

    /// A value whose relative error was measured to be at most `error`.
    pub fn within(value: f64, error: f64) -> Figure {
        Figure { value, low: value * (1.0 - error), high: value * (1.0 + error) }
    }

    pub fn probability(self) -> Figure {
        Figure { value: self.value.min(1.0), low: self.low.min(1.0), high: self.high.min(1.0) }
    }

    /// Half the interval's width, relative to the value.
    pub fn relative(&self) -> f64 {
        let half = 0.5 * (self.high - self.low);
        if half == 0.0 { 0.0 } else { half / self.value.abs() }
    }
}

/// The batches of one run.
#[derive(Clone, Debug)]
pub struct Batches {
    list: Vec<Batch>,
    /// The expectations of the controls that are used
    expected: Vec<f64>,
}

pub const FEWEST: usize = 32;

impl Batches {
    /// `expected` are the expectations of the first controls; the others are not used.
    pub fn new(expected: Vec<f64>) -> Batches {
        Batches { list: Vec::new(), expected }
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn push(&mut self, batch: Batch) {
        self.list.push(batch);
    }

    /// Merges neighbours: half as many batches, each twice as long.
    pub fn halve(&mut self) {
        let mut merged = Vec::with_capacity(self.list.len() / 2);
        for pair in self.list.chunks_exact(2) {
            let mut both = pair[0].clone();
            both.merge(&pair[1]);
            merged.push(both);
        }
        self.list = merged;
    }

    pub fn total(&self) -> Option<Batch> {
        let mut batches = self.list.iter();
        let mut total = batches.next()?.clone();
        batches.for_each(|batch| total.merge(batch));
        Some(total)
    }

    /// The figure `of` of all observations, regressed on the controls, with the interval that the batches give it.
    pub fn figure(&self, total: &Batch, of: impl Fn(&Batch) -> f64) -> Figure {
        let value = of(total);
        let each: Vec<f64> = self.list.iter().map(of).collect();
        let controls: Vec<Vec<f64>> = (0..self.expected.len().min(CONTROLS))
            .map(|k| self.list.iter().map(|batch| batch.controls[k].mean() / self.expected[k] - 1.0).collect())
            .collect();
        regressed(value, &each, &controls)
    }

    /// A probability, so between 0 and 1.
    pub fn probability(&self, total: &Batch, of: impl Fn(&Batch) -> f64) -> Figure {
        self.figure(total, of).probability()
    }
}

/// The interval of `value` from estimates of equal weight.
pub fn interval(value: f64, each: &[f64]) -> Figure {
    regressed(value, each, &[])
}

/// `value` is the figure of all batches, `each` those of the batches, `controls` their deviations from 0, the expectation.
fn regressed(value: f64, each: &[f64], controls: &[Vec<f64>]) -> Figure {
    let n = each.len() as f64;
    if each.len() < CONTROLS + 4 {
        return Figure { value, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let centred = |list: &[f64]| {
        let mean = list.iter().sum::<f64>() / n;
        (mean, list.iter().map(|x| x - mean).collect::<Vec<f64>>())
    };
    let (_, mut left) = centred(each);
    // Gram-Schmidt over the controls: each takes its part out of what is left of the figures and of the later controls.
    let mut columns: Vec<(f64, Vec<f64>)> = controls.iter().map(|control| centred(control)).collect();
    let scale: Vec<f64> = columns.iter().map(|(_, column)| dot(column, column)).collect();
    let (mut shift, mut spread, mut used) = (0.0, 1.0 / n, 0);
    for k in 0..columns.len() {
        let (mean, column) = columns[k].clone();
        let length = dot(&column, &column);
        if length <= 1e-9 * scale[k] || length <= 1e-24 {
            continue;
        }
        used += 1;
        let slope = dot(&left, &column) / length;
        shift += slope * mean;
        spread += mean * mean / length;
        left.iter_mut().zip(&column).for_each(|(y, x)| *y -= slope * x);
        for later in &mut columns[k + 1..] {
            let slope = dot(&later.1, &column) / length;
            later.0 -= slope * mean;
            later.1.iter_mut().zip(&column).for_each(|(y, x)| *y -= slope * x);
        }
    }
    let degrees = each.len() - 1 - used;
    let half = math::student_90(degrees) * (dot(&left, &left) / degrees as f64 * spread).sqrt();
    let value = (value - shift).max(0.0);
    Figure { value, low: (value - half).max(0.0), high: value + half }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
