//! Which commands inside servers this control plane knows of. Nothing in it would be missed after a restart: the keeper has them too.

use api::exec::ExecSeen;
use model::{ExecId, ServiceName, Time};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Sessions that this control plane knows of.
#[derive(Default)]
pub struct Known(Mutex<BTreeMap<ExecId, Session>>);

#[derive(Clone)]
pub struct Session {
    pub service: ServiceName,
    pub seen: ExecSeen,
    /// When its end was written into the audit.
    pub recorded: Option<Time>,
}

/// The caller may still read its last output then.
pub const RECORDED_FOR_MS: u64 = 600_000;

impl Known {
    pub fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<ExecId, Session>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
