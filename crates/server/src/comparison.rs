//! The last comparison of the journal with the inventory of keeper and balancer: for which services nothing may be changed, and why.
//!
//! ```text
//! not compared yet ──(keeper answers)──▶ compared: covered ◀──▶ not covered      declarations are let through only while covered
//! ```

use model::{Fault, GroupName, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why nothing of a service is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// Running groups that its journals do not name. Empty: its journal cannot be read.
    pub groups: BTreeSet<GroupName>,
    pub fault: Fault,
}

impl Uncovered {
    /// `is_known`: the journal has the service.
    pub fn new(service: &ServiceName, groups: BTreeSet<GroupName>, is_known: bool) -> Self {
        let fault = control::uncovered(service, &groups, is_known);
        Self { groups, fault }
    }
}

#[derive(Default)]
struct State {
    compared: bool,
    uncovered: BTreeMap<ServiceName, Uncovered>,
}

#[derive(Default)]
pub struct Comparison(Mutex<State>);

impl Comparison {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the last comparison; returns what is new in it.
    pub fn set(&self, uncovered: BTreeMap<ServiceName, Uncovered>) -> Vec<Uncovered> {
        let mut state = self.lock();
        let news = uncovered.iter().filter(|(service, found)| state.uncovered.get(*service) != Some(found));
        let news = news.map(|(_, found)| found.clone()).collect();
        *state = State { compared: true, uncovered };
        news
    }

    /// Nothing is changed for a service with running groups that its journals do not name, nor before the first comparison.
    pub fn must_cover(&self, service: &ServiceName) -> Result<(), Fault> {
        let state = self.lock();
        if !state.compared {
            let text = "the journal was not yet compared with what the keeper runs; nothing is changed before";
            return Err(Fault::world("not-compared", text).hint("the keeper must answer: `afresh status`, `afresh up`"));
        }
        state.uncovered.get(service).map_or(Ok(()), |u| Err(u.fault.clone()))
    }

    pub fn is_made(&self) -> bool {
        self.lock().compared
    }

    /// For what concerns every service, such as removing what none of them needs.
    pub fn must_cover_all(&self) -> Result<(), Fault> {
        self.lock().uncovered.values().next().map_or(Ok(()), |u| Err(u.fault.clone()))
    }

    /// A rotation may be driven before the comparison: nothing of it is declared then, but a stop command takes effect.
    pub fn may_drive(&self, service: &ServiceName) -> Result<(), Fault> {
        self.lock().uncovered.get(service).map_or(Ok(()), |u| Err(u.fault.clone()))
    }

    pub fn uncovered(&self) -> BTreeMap<ServiceName, Uncovered> {
        self.lock().uncovered.clone()
    }

    /// For `health` and `status`.
    pub fn troubles(&self) -> Vec<(ServiceName, String)> {
        self.lock().uncovered.iter().map(|(service, u)| (service.clone(), with_hint(&u.fault))).collect()
    }
}

pub fn with_hint(fault: &Fault) -> String {
    fault.hint.as_ref().map_or_else(|| fault.message.clone(), |hint| format!("{}. {hint}", fault.message))
}
