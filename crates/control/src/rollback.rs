//! A rollback of a service: the release that was active before, with all its settings, under a new plan.

use crate::desired::Desired;
use model::{Fault, GroupRelease, Release, ServiceSpec};

/// What the journals say of releases that were active.
#[derive(Clone, Debug)]
pub struct RollbackSource<'a> {
    /// The desired state in force.
    pub spec: &'a ServiceSpec,
    /// The release that the request names; None: the one before.
    pub named: Option<Release>,
    pub is_active: bool,
    /// Releases that were active, newest first.
    pub previous: Vec<GroupRelease>,
    /// Of a parked service (`count = 0`): what was active last with servers, and how many.
    pub served_last: Option<(GroupRelease, u32)>,
}

pub fn rollback(source: RollbackSource<'_>) -> Result<Desired, Fault> {
    let spec = source.spec;
    let served = source.served_last.filter(|_| spec.count == 0);
    let count = served.as_ref().map_or(spec.count, |(_, count)| *count);
    let release = match (source.named, served) {
        (Some(release), _) => release,
        // Parked: what served before that comes back.
        (None, Some((active, _))) => active.release,
        (None, None) => {
            let none = || Fault::yours("nothing-before", format!("{}: no other release was active before the active one", spec.name));
            // Of a service that was removed, the one that was active last.
            source.previous.into_iter().nth(usize::from(source.is_active)).map(|s| s.release).ok_or_else(none)?
        }
    };
    Ok(Desired::earlier(&ServiceSpec { count, ..spec.clone() }, release))
}
