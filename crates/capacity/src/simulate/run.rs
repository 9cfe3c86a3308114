//! Runs a model: warm-up, then batches until the intervals are narrow enough or the work is used up.

use super::rng::Rng;
use super::sample::Tables;
use crate::batches::{Batch, Batches, FEWEST, Figure};

/// A queue in its steady state that can be advanced.
pub trait Model {
    /// Lets the next `arrivals` arrive and records what becomes of them.
    fn advance(&mut self, arrivals: u64, tables: &Tables, rng: &mut Rng, batch: &mut Batch);
    /// The expectations of the batch's first controls
    fn expected(&self) -> Vec<f64>;
}

/// How long a run may and should be. All lengths are numbers of arrivals.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Not recorded: the system starts empty
    pub warm_up: u64,
    /// At least this many are recorded; a batch is a thirty-second part of it or more
    pub least: u64,
    /// At most this many, give or take one batch
    pub most: u64,
    /// Half the width of the 90 % intervals that ends a run, relative to the value
    pub relative: f64,
    pub seed: u64,
}

impl Effort {
    /// For utilisation `rho` of `c` servers and an asymptotic variability (ca^2 + cs^2) / 2: relaxation takes about
    /// 2 v / (1 - rho)^2 arrivals (Whitt 1989), and the first services to end, a few times c.
    pub fn for_load(rho: f64, c: u32, variability: f64, most: u64, seed: u64) -> Effort {
        let rest = (1.0 - rho).max(1e-6);
        let relaxation = 2.0 * variability.max(0.5) / (rest * rest) + 5.0 * f64::from(c);
        let warm_up = (10.0 * relaxation).max(20_000.0).min(0.2 * most as f64) as u64;
        let least = (320.0 * relaxation).max(1_000_000.0).min(0.5 * most as f64) as u64;
        Effort { warm_up, least, most, relative: 0.006, seed }
    }
}

/// Runs until each of the `watched` figures is narrow enough. `typical` scales the histograms; `series` is their number.
pub fn run(
    model: &mut impl Model,
    effort: Effort,
    typical: f64,
    series: usize,
    watched: impl Fn(&Batches, &Batch) -> Vec<Figure>,
) -> Batches {
    let tables = Tables::new();
    let mut rng = Rng::new(effort.seed);
    let mut left = effort.warm_up;
    while left > 0 {
        // In pieces: the counts of a bin are 32 bits wide.
        let piece = left.min(1 << 30);
        model.advance(piece, &tables, &mut rng, &mut Batch::new(typical, series));
        left -= piece;
    }
    let mut length = (effort.least / FEWEST as u64).max(1);
    let mut batches = Batches::new(model.expected());
    let mut recorded = 0;
    loop {
        let mut batch = Batch::new(typical, series);
        model.advance(length, &tables, &mut rng, &mut batch);
        batches.push(batch);
        recorded += length;
        if batches.len() == 2 * FEWEST {
            batches.halve();
            length *= 2;
        }
        if batches.len() < FEWEST {
            continue;
        }
        let is_checked = batches.len() == FEWEST || batches.len() == FEWEST * 3 / 2;
        if recorded >= effort.most {
            return batches;
        }
        if is_checked && let Some(total) = batches.total() {
            let figures = watched(&batches, &total);
            if figures.iter().all(|figure| figure.relative() <= effort.relative) {
                return batches;
            }
        }
    }
}
