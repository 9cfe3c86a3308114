//! What the instances' processor times were a few seconds ago, so that their use can be shown. It decides nothing.

use model::InstanceId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Of each instance: when its processor time was read last, and what it was in nanoseconds.
pub type Times = BTreeMap<InstanceId, (Instant, u64)>;

#[derive(Default)]
pub struct Samples(Mutex<Times>);

impl Samples {
    pub fn get(&self) -> Times {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, times: Times) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }
}
