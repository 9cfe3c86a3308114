//! A rollback of a service: the release that was active before, with all its settings, under a new plan.

use crate::desired::Desired;
use crate::observed::ObservedService;
use model::{Fault, GroupRelease, Release, ServiceSpec};

/// What the journals say of releases that were active.
#[derive(Clone, Debug)]
pub struct RollbackSource<'a> {
    /// The desired state in force.
    pub spec: &'a ServiceSpec,
    /// The release that the request names; None: the one before.
    pub named: Option<Release>,
    pub observed: &'a ObservedService,
    /// Releases that were active, newest first.
    pub previous: Vec<GroupRelease>,
    /// Of a parked service (`count = 0`): what was active last with servers, and how many.
    pub served_last: Option<(GroupRelease, u32)>,
}

pub fn rollback(source: RollbackSource<'_>) -> Result<Desired, Fault> {
    let spec = source.spec;
    // A rotation that was stopped left another group: what is active is what was before that.
    let is_alone = source.observed.summary.active.as_ref().is_some_and(|active| source.observed.is_alone(active));
    let served = source.served_last.filter(|_| spec.count == 0);
    let count = served.as_ref().map_or(spec.count, |(_, count)| *count);
    let release = match (source.named, served) {
        (Some(release), _) => release,
        // Parked: what served before that comes back.
        (None, Some((active, _))) => active.release,
        (None, None) => {
            let none = || Fault::yours("nothing-before", format!("{}: no other release was active before the active one", spec.name));
            // Of a service that was removed, the one that was active last.
            source.previous.into_iter().nth(usize::from(is_alone)).map(|s| s.release).ok_or_else(none)?
        }
    };
    Ok(Desired::earlier(&ServiceSpec { count, ..spec.clone() }, release))
}
