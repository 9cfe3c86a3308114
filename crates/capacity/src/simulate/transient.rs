//! What happens after a change: the load steps up, servers are lost or taken out, and others come after a delay.
//!
//! A steady state is simulated, and from copies of it, far enough apart, the change is played up to its horizon. Requests
//! that a lost server was serving start again at the head of the queue; a server that is taken out ends its request first.

use super::arrivals::Arrivals;
use super::heap::EventHeap;
use super::rng::Rng;
use super::run::Model;
use super::sample::{Sampler, Tables};
use crate::batches::Batch;
use std::collections::VecDeque;

pub const WORST: usize = 2;
use super::fifo::{SOJOURN, WAIT};

/// What changes at moment 0, and how long it is watched: arrivals from 0 to `horizon` count.
#[derive(Clone, Debug)]
pub struct Change {
    /// Servers that end at once
    pub lost: u32,
    /// Servers that leave once they have ended their request
    pub taken_out: u32,
    /// Servers that come at `delay`
    pub added: u32,
    pub delay: f64,
    /// Arrivals after the change
    pub arrivals: Arrivals,
    pub horizon: f64,
}

#[derive(Clone, Debug)]
struct Waiting {
    arrived: f64,
    is_recorded: bool,
}

/// Servers and their queue; moments count from the change, negative ones are before it.
#[derive(Clone, Debug)]
struct State {
    now: f64,
    idle: u32,
    leaving: u32,
    ends: EventHeap,
    queue: VecDeque<Waiting>,
}

#[derive(Clone, Debug)]
pub struct Transient {
    steady: State,
    before: Arrivals,
    service: Sampler,
    change: Change,
    /// Arrivals of the steady state between two copies
    apart: u64,
    next_arrival: f64,
}

struct Play<'a> {
    service: &'a Sampler,
    tables: &'a Tables,
    rng: &'a mut Rng,
}

impl State {
    fn begin_waiting(&mut self, play: &mut Play, mut record: Option<(&mut Batch, &mut f64)>) {
        while self.idle > 0 {
            let Some(first) = self.queue.pop_front() else { return };
            self.idle -= 1;
            let service = play.service.draw(play.tables, play.rng);
            self.ends.push(self.now + service, 0);
            if let Some((batch, worst)) = record.as_mut()
                && first.is_recorded
            {
                let wait = self.now - first.arrived;
                batch.series[WAIT].add(wait);
                batch.series[SOJOURN].add(wait + service);
                batch.waited += u64::from(wait > 0.0);
                batch.arrivals += 1;
                **worst = worst.max(wait);
            }
        }
    }

    fn end_service(&mut self) {
        if let Some((at, _)) = self.ends.pop() {
            self.now = at;
            if self.leaving > 0 {
                self.leaving -= 1;
            } else {
                self.idle += 1;
            }
        }
    }

    fn lose(&mut self, servers: u32, rng: &mut Rng) {
        let mut busy = Vec::new();
        while let Some(event) = self.ends.pop() {
            busy.push(event);
        }
        for _ in 0..servers {
            let all = busy.len() + self.idle as usize;
            if all == 0 {
                break;
            }
            let hit = rng.below(all);
            if hit < busy.len() {
                busy.swap_remove(hit);
                self.queue.push_front(Waiting { arrived: self.now, is_recorded: false });
            } else {
                self.idle -= 1;
            }
        }
        busy.into_iter().for_each(|(at, event)| self.ends.push(at, event));
    }

    fn take_out(&mut self, servers: u32) {
        let at_once = servers.min(self.idle);
        self.idle -= at_once;
        self.leaving += servers - at_once;
    }
}

impl Transient {
    pub fn new(c: u32, before: Arrivals, service: Sampler, change: Change, apart: u64) -> Transient {
        let steady = State { now: 0.0, idle: c, leaving: 0, ends: EventHeap::default(), queue: VecDeque::new() };
        Transient { steady, before, service, change, apart, next_arrival: 0.0 }
    }

    /// Advances the steady state up to just before an arrival, which is how arrivals see it.
    fn advance_steady(&mut self, tables: &Tables, rng: &mut Rng) {
        for _ in 0..self.apart {
            self.steady.now = self.next_arrival;
            self.steady.queue.push_back(Waiting { arrived: self.steady.now, is_recorded: false });
            let mut play = Play { service: &self.service, tables, rng };
            self.steady.begin_waiting(&mut play, None);
            self.next_arrival += self.before.next(tables, play.rng);
            while let Some((at, _)) = self.steady.ends.peek()
                && at <= self.next_arrival
            {
                self.steady.end_service();
                self.steady.begin_waiting(&mut play, None);
            }
        }
    }

    /// Plays the change on a copy and records the arrivals from 0 to the horizon.
    fn replicate(&self, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        let mut state = self.steady.clone();
        let mut arrivals = self.change.arrivals.clone();
        let zero = self.next_arrival;
        state.now = zero;
        state.lose(self.change.lost, rng);
        state.take_out(self.change.taken_out);
        let mut worst = 0.0;
        let mut play = Play { service: &self.service, tables, rng };
        let mut next = zero + arrivals.next(tables, play.rng);
        let end = zero + self.change.horizon;
        let mut added_at = if self.change.added > 0 { zero + self.change.delay } else { f64::INFINITY };
        let mut unrecorded = 0_u64;
        loop {
            let arrives = if next <= end { next } else { f64::INFINITY };
            let ends = state.ends.peek().map_or(f64::INFINITY, |(at, _)| at);
            if added_at <= arrives && added_at <= ends && added_at.is_finite() {
                state.now = added_at;
                state.idle += self.change.added;
                added_at = f64::INFINITY;
            } else if ends <= arrives {
                if arrives.is_infinite() && (state.queue.is_empty() || ends.is_infinite()) {
                    break;
                }
                state.end_service();
            } else {
                state.now = next;
                state.queue.push_back(Waiting { arrived: next, is_recorded: true });
                next += arrivals.next(tables, play.rng);
                unrecorded += 1;
            }
            state.begin_waiting(&mut play, Some((batch, &mut worst)));
        }
        if unrecorded > 0 {
            batch.series[WORST].add(worst);
        }
    }
}

impl Model for Transient {
    /// `arrivals` counts replications here.
    fn advance(&mut self, arrivals: u64, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        for _ in 0..arrivals {
            self.advance_steady(tables, rng);
            self.replicate(tables, rng, batch);
        }
    }

    fn expected(&self) -> Vec<f64> {
        Vec::new()
    }
}
