//! Two classes on c servers: an incident that finds no idle server takes the one whose planned job began last; that job goes
//! to the head of the planned queue and resumes where it was interrupted. Each class is served first come first served.

use super::heap::EventHeap;
use super::rng::Rng;
use super::run::Model;
use super::sample::{Sampler, Tables};
use crate::batches::Batch;
use std::collections::VecDeque;

pub const INCIDENT: usize = 0;
pub const PLANNED: usize = 1;

#[derive(Clone, Copy, Debug)]
struct Job {
    class: usize,
    arrived: f64,
    left: f64,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    job: Option<Job>,
    ends: f64,
    /// Grows when a job is removed, so that the end that was planned for it is known to be void
    turn: u32,
    /// Its place in the list of servers with planned jobs
    place: usize,
}

#[derive(Clone, Debug)]
pub struct TwoClasses {
    between: [f64; 2],
    mean: [f64; 2],
    service: [Sampler; 2],
    next: [f64; 2],
    now: f64,
    queues: [VecDeque<Job>; 2],
    servers: Vec<Server>,
    idle: Vec<usize>,
    with_planned: Vec<usize>,
    events: EventHeap,
}

impl TwoClasses {
    /// `lambda`, mean and distribution of the service, of incidents and of planned work.
    pub fn new(c: u32, lambda: [f64; 2], mean: [f64; 2], service: [Sampler; 2]) -> TwoClasses {
        let c = c as usize;
        TwoClasses {
            between: lambda.map(|rate| 1.0 / rate),
            mean,
            service,
            next: [0.0; 2],
            now: 0.0,
            queues: [VecDeque::new(), VecDeque::new()],
            servers: vec![Server { job: None, ends: 0.0, turn: 0, place: 0 }; c],
            idle: (0..c).rev().collect(),
            with_planned: Vec::new(),
            events: EventHeap::default(),
        }
    }

    fn begin(&mut self, at: usize, job: Job) {
        let server = &mut self.servers[at];
        server.ends = self.now + job.left;
        server.job = Some(job);
        if job.class == PLANNED {
            server.place = self.with_planned.len();
            self.with_planned.push(at);
        }
        self.events.push(server.ends, (at as u64) << 32 | u64::from(server.turn));
    }

    /// Takes the job off a server and forgets the end that was planned for it.
    fn take(&mut self, at: usize) -> Option<Job> {
        let server = &mut self.servers[at];
        let mut job = server.job.take()?;
        job.left = server.ends - self.now;
        server.turn = server.turn.wrapping_add(1);
        if job.class == PLANNED {
            let place = server.place;
            self.with_planned.remove(place);
            for &moved in &self.with_planned[place..] {
                self.servers[moved].place -= 1;
            }
        }
        Some(job)
    }

    fn arrive(&mut self, class: usize, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        self.now = self.next[class];
        let between = self.between[class] * tables.exp(rng);
        self.next[class] += between;
        batch.controls[2 * class].add(between);
        let job = Job { class, arrived: self.now, left: self.service[class].draw(tables, rng) };
        batch.controls[2 * class + 1].add(job.left);
        if let Some(at) = self.idle.pop() {
            self.begin(at, job);
        } else if class == INCIDENT
            && let Some(&at) = self.with_planned.last()
        {
            if let Some(interrupted) = self.take(at) {
                self.queues[PLANNED].push_front(interrupted);
            }
            self.begin(at, job);
        } else {
            self.queues[class].push_back(job);
        }
    }

    fn end(&mut self, event: u64, batch: &mut Batch) {
        let (at, turn) = ((event >> 32) as usize, event as u32);
        if self.servers[at].turn != turn {
            return;
        }
        let Some(job) = self.take(at) else { return };
        batch.series[job.class].add(self.now - job.arrived);
        match self.queues[INCIDENT].pop_front().or_else(|| self.queues[PLANNED].pop_front()) {
            Some(next) => self.begin(at, next),
            None => self.idle.push(at),
        }
    }
}

impl Model for TwoClasses {
    fn advance(&mut self, arrivals: u64, tables: &Tables, rng: &mut Rng, batch: &mut Batch) {
        let mut arrived = 0;
        while arrived < arrivals {
            let class = if self.next[INCIDENT] <= self.next[PLANNED] { INCIDENT } else { PLANNED };
            match self.events.peek() {
                Some((at, event)) if at <= self.next[class] => {
                    self.events.pop();
                    self.now = at;
                    self.end(event, batch);
                }
                _ => {
                    self.arrive(class, tables, rng, batch);
                    arrived += 1;
                }
            }
        }
        batch.arrivals += arrivals;
    }

    fn expected(&self) -> Vec<f64> {
        vec![self.between[0], self.mean[0], self.between[1], self.mean[1]]
    }
}
