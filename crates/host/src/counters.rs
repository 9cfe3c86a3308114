//! Counters of what the keeper changed, on disk: a declaration that is accepted twice changes none of them.

use crate::state_files;
use api::host::HostCounters;
use model::Layout;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub struct Counters {
    path: PathBuf,
    now: Mutex<HostCounters>,
}

impl Counters {
    pub fn open(layout: &Layout) -> Self {
        let path = layout.host().join("counters.json");
        let now = state_files::read_json(&path).good().unwrap_or_default();
        Self { path, now: Mutex::new(now) }
    }

    /// They only prove that nothing happened, so they are not worth waiting for the disk.
    pub fn change(&self, change: impl FnOnce(&mut HostCounters)) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut now);
        if let Err(fault) = state_files::write_json_quick(&self.path, &*now) {
            tracing::warn!("counters: {fault}");
        }
    }

    pub fn now(&self) -> HostCounters {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
