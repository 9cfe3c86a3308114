//! What the journal says is in use: objects of the store, and versions of secrets.

use journal::Lists;
use model::{Digest, Fault, Release, SecretVersion, ServiceName};
use std::collections::BTreeSet;

/// Besides the active release, this many releases before it can be launched again.
const BEFORE: usize = 2;

/// For a backup, which reads a copy of the journal.
pub fn objects_in_use(records: &Lists<'_>) -> Result<BTreeSet<Digest>, Fault> {
    in_use(records).map(|(objects, _)| objects)
}

/// Objects, and versions of secrets.
pub type InUse = (BTreeSet<Digest>, BTreeSet<(ServiceName, SecretVersion)>);

pub fn in_use(records: &Lists<'_>) -> Result<InUse, Fault> {
    let (mut keep, mut pins) = (BTreeSet::new(), BTreeSet::new());
    let mut pin = |release: &Release| {
        pins.extend(release.secrets.versions.values().map(|version| (release.service.clone(), version.clone())));
        keep.insert(release.image.clone());
        keep.extend(release.artifact.clone());
    };
    for row in records.services()? {
        let service = &row.spec.name;
        records.were_active(service, 1 + BEFORE)?.iter().for_each(|s| pin(&s.release));
        // Open rotations, and what stopped rotations may have left running.
        records.summary(service)?.releases.values().for_each(&mut pin);
    }
    for run in records.open_runs()? {
        if let Some(row) = records.release(&run.service(), run.release)? {
            pin(&row.release);
        }
    }
    for rollout in records.open_rollouts()? {
        rollout.plan.tiers.iter().flat_map(|(_, services)| services).for_each(|(_, release)| pin(release));
    }
    Ok((keep, pins))
}
