//! What an answer is, and the bound on its work.

use crate::batches::Figure;
use std::collections::BTreeMap;

/// The bound on the work of one answer, in simulated arrivals.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub most_arrivals: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { most_arrivals: 40_000_000 }
    }
}

/// Figures by their names in the JSON, and their source.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `formula` or `simulate`
    pub method: &'static str,
    /// The formula's source, or what was simulated
    pub source: String,
    /// Why this method
    pub why: String,
    pub utilisation: Option<f64>,
    pub figures: BTreeMap<String, Figure>,
    /// Figures that this method does not give, with the reason
    pub omitted: BTreeMap<String, String>,
}

impl Answer {
    pub(super) fn new(method: &'static str, source: impl Into<String>) -> Answer {
        Answer { method, source: source.into(), why: String::new(), utilisation: None, figures: BTreeMap::new(), omitted: BTreeMap::new() }
    }

    pub(super) fn put(&mut self, name: impl Into<String>, figure: Figure) {
        self.figures.insert(name.into(), figure);
    }

    /// The widest interval, relative to its value.
    pub fn relative(&self) -> f64 {
        self.figures.values().map(Figure::relative).fold(0.0, f64::max)
    }
}

pub const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

pub const LEAD_QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p85", 0.85), ("p95", 0.95)];
