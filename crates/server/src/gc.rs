//! Which objects are still needed. The store removes the others.

use crate::app::App;
use crate::in_use::in_use;
use api::control::GcAnswer;
use model::Fault;

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
