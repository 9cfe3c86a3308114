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
    /// It may have ended, and its end been recorded, before the answer to its beginning was here: that stays known, or its absence from the
    /// keeper's list would be taken for an end that nobody knows.
    pub fn began(&self, session: Session) {
        self.change(|all| {
            let known = all.entry(session.seen.session.clone()).or_insert_with(|| session.clone());
            let is_same = known.seen.instance == session.seen.instance && known.seen.by == session.seen.by;
            if !is_same {
                *known = session;
            }
        });
    }

    pub fn recorded(&self, seen: &ExecSeen, now: Time) {
        let Some(service) = seen.instance.service() else { return };
        self.change(|all| {
            let new = || Session { service, seen: seen.clone(), recorded: None };
            all.entry(seen.session.clone()).or_insert_with(new).recorded = Some(now);
        });
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<ExecId, Session>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
