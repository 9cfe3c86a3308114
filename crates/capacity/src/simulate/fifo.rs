//! First come first served on c servers, with patience.
//!
//! An arrival takes the server that is free first: its service begins at the later of the two moments. One who would wait
//! longer than its patience leaves at that moment and takes no server. So each arrival is two events, itself and the end of
//! a service, and one pass down the heap.

use super::arrivals::Arrivals;
use super::heap::ServerHeap;
use super::rng::Rng;
use super::run::Model;
use super::sample::{Sampler, Tables};
use crate::batches::Batch;

#[derive(Clone, Debug)]
pub struct Fifo {
    pub arrivals: Arrivals,
    pub service: Sampler,
    pub patience: Option<Sampler>,
    servers: ServerHeap,
    now: f64,
    expected: Vec<f64>,
}

pub const WAIT: usize = 0;
pub const SOJOURN: usize = 1;

impl Fifo {
    pub fn new(c: u32, arrivals: Arrivals, service: Sampler, patience: Option<Sampler>) -> Fifo {
        Fifo { arrivals, service, patience, servers: ServerHeap::idle(c as usize), now: 0.0, expected: Vec::new() }
    }

    /// Says the expectations of interarrival and service times and their squares, which narrows the intervals.
    pub fn expecting(mut self, interarrival: f64, service: f64, service_squared: f64, interarrival_squared: Option<f64>) -> Fifo {
        self.expected = vec![interarrival, service, service_squared];
        self.expected.extend(interarrival_squared);
        self
    }
}

impl Model for Fifo {
    fn advance(&mut self, arrivals: u64, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        for _ in 0..arrivals {
            let between = self.arrivals.next(tables, rng);
            self.now += between;
            batch.controls[0].add(between);
            batch.controls[3].add(between * between);
            let offered = (self.servers.least() - self.now).max(0.0);
            if let Some(patience) = &self.patience {
                let patience = patience.draw(tables, rng);
                if patience < offered {
                    batch.abandoned += 1;
                    batch.waited += 1;
                    batch.series[WAIT].add(patience);
                    batch.series[SOJOURN].add(patience);
                    continue;
                }
            }
            let service = self.service.draw(tables, rng);
            batch.controls[1].add(service);
            batch.controls[2].add(service * service);
            self.servers.replace_least(self.now + offered + service);
            batch.waited += u64::from(offered > 0.0);
            batch.series[WAIT].add(offered);
            batch.series[SOJOURN].add(offered + service);
        }
        batch.arrivals += arrivals;
    }

    fn expected(&self) -> Vec<f64> {
        self.expected.clone()
    }
}
