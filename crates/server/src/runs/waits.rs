//! Why runs wait, for those who look. It decides nothing.

use model::RunId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Why each run waits, as it was found last. Nothing in it would be missed after a restart.
#[derive(Default)]
pub struct Waits(Mutex<BTreeMap<RunId, String>>);

impl Waits {
    pub fn of(&self, id: &RunId) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub fn set(&self, all: BTreeMap<RunId, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}
