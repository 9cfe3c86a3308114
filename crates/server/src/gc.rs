//! Which objects are still needed. The store removes the others.

use crate::app::App;
use api::control::GcAnswer;
use journal::Lists;
use model::{Digest, Fault, Release, SecretVersion, ServiceName};
use std::collections::BTreeSet;

/// Besides the active release, this many releases before it can be launched again.
const BEFORE: usize = 2;
/// A value that was given within this time may be for a release that is not written yet.
const SECRETS_GRACE_MS: u64 = 10 * 60 * 1000;

pub fn gc(app: &App) -> Result<GcAnswer, Fault> {
    // No deploy may find an object and pin it between the listing and the removal.
    let _alone = app.deploy_lock();
    must_know_all(app)?;
    let (mut keep, pins) = app.database.browse(in_use)?;
    keep.extend(crate::upkeep::needed(app)?);
    let removed = app.images.sweep(&keep)?;
    let secrets = app.secrets.sweep(&pins, SECRETS_GRACE_MS)?.len();
    let kept = app.images.kept()?.len();
    Ok(GcAnswer {
        freed_bytes: removed.iter().map(|(_, bytes)| *bytes).sum(),
        removed: removed.into_iter().map(|(digest, _)| digest).collect(),
        kept: u32::try_from(kept).unwrap_or(u32::MAX),
        secrets: u32::try_from(secrets).unwrap_or(u32::MAX),
    })
}

/// Values of secrets alone.
pub fn collect_secrets(app: &App) -> Result<(), Fault> {
    let _alone = app.deploy_lock();
    must_know_all(app)?;
    let (_, pins) = app.database.browse(in_use)?;
    app.secrets.sweep(&pins, SECRETS_GRACE_MS).map(drop)
}

/// Groups that the journal does not know may be running.
fn must_know_all(app: &App) -> Result<(), Fault> {
    match crate::inventory::compare(app) {
        Ok(_) => {}
        Err(fault) if !app.comparison.is_made() => return Err(fault),
        Err(_) => {}
    }
    app.comparison.must_cover_all()
}

/// Objects, and versions of secrets.
type InUse = (BTreeSet<Digest>, BTreeSet<(ServiceName, SecretVersion)>);

fn in_use(records: &Lists<'_>) -> Result<InUse, Fault> {
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
