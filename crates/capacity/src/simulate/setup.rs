//! Servers that are switched off as soon as they are idle and need a set-up (a boot) before they serve again.
//!
//! The rules are those of Gandhi, Harchol-Balter and Adan 2010 (M/M/k/Setup, staggering none): an arrival that finds no idle
//! server starts one set-up if a server is off; a server that ends a service takes the first of the queue; set-ups beyond
//! the length of the queue are cancelled, the youngest first.

use super::arrivals::Arrivals;
use super::fifo::{SOJOURN, WAIT};
use super::heap::EventHeap;
use super::rng::Rng;
use super::run::Model;
use super::sample::{Sampler, Tables};
use crate::batches::Batch;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub struct SetUp {
    arrivals: Arrivals,
    service: Sampler,
    set_up: Sampler,
    c: usize,
    busy: usize,
    now: f64,
    next_arrival: f64,
    queue: VecDeque<f64>,
    /// Set-ups under way by their numbers, oldest first; numbers that are missing were cancelled
    under_way: VecDeque<u64>,
    begun: u64,
    events: EventHeap,
    /// Of interarrival, service and set-up times
    expected: Vec<f64>,
}

const SERVICE_ENDS: u64 = 0;

impl SetUp {
    /// `expected` are the means of interarrival, service and set-up times.
    pub fn new(c: u32, arrivals: Arrivals, service: Sampler, set_up: Sampler, expected: Vec<f64>) -> SetUp {
        SetUp {
            arrivals,
            service,
            set_up,
            c: c as usize,
            busy: 0,
            now: 0.0,
            next_arrival: 0.0,
            queue: VecDeque::new(),
            under_way: VecDeque::new(),
            begun: SERVICE_ENDS,
            events: EventHeap::default(),
            expected,
        }
    }

    fn serve_first(&mut self, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        if let Some(arrived) = self.queue.pop_front() {
            let service = self.service.draw(tables, rng);
            batch.controls[1].add(service);
            let wait = self.now - arrived;
            batch.series[WAIT].add(wait);
            batch.series[SOJOURN].add(wait + service);
            batch.waited += u64::from(wait > 0.0);
            self.events.push(self.now + service, SERVICE_ENDS);
        }
    }

    fn arrive(&mut self, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        self.now = self.next_arrival;
        let between = self.arrivals.next(tables, rng);
        batch.controls[0].add(between);
        self.next_arrival += between;
        self.queue.push_back(self.now);
        if self.busy + self.under_way.len() < self.c {
            self.begun += 1;
            self.under_way.push_back(self.begun);
            let set_up = self.set_up.draw(tables, rng);
            batch.controls[2].add(set_up);
            self.events.push(self.now + set_up, self.begun);
        }
    }

    fn happen(&mut self, event: u64, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        if event == SERVICE_ENDS {
            if self.queue.is_empty() {
                self.busy -= 1;
                return;
            }
            self.serve_first(tables, rng, batch);
        } else {
            let Ok(place) = self.under_way.binary_search(&event) else { return };
            self.under_way.remove(place);
            self.busy += 1;
            self.serve_first(tables, rng, batch);
        }
        while self.under_way.len() > self.queue.len() {
            self.under_way.pop_back();
        }
    }
}

impl Model for SetUp {
    fn advance(&mut self, arrivals: u64, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        let mut arrived = 0;
        while arrived < arrivals {
            match self.events.peek() {
                Some((at, event)) if at <= self.next_arrival => {
                    self.events.pop();
                    self.now = at;
                    self.happen(event, tables, rng, batch);
                }
                _ => {
                    self.arrive(tables, rng, batch);
                    arrived += 1;
                }
            }
        }
        batch.arrivals += arrivals;
    }

    fn expected(&self) -> Vec<f64> {
        self.expected.clone()
    }
}
