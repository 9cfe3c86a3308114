//! What the upkeep is started with: who makes images, and the clock of schedules and ages.

use super::factory::Factory;
use model::Time;
use std::sync::Arc;

#[derive(Clone)]
pub struct Config {
    pub factory: Arc<dyn Factory>,
    pub pace: Pace,
}

/// The clock of schedules and ages. In production it is the wall clock; a simulated month passes faster, counted from one fixed moment, so
/// that a restarted process continues in the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub anchor: Time,
    pub speed: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { anchor: Time(0), speed: 1 }
    }
}

impl Pace {
    pub fn at(&self, wall: Time) -> Time {
        self.anchor.plus(wall.since(self.anchor).saturating_mul(self.speed))
    }
}
