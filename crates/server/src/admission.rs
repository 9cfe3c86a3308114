//! What must hold when a rotation is opened: no other service has the listener, and the objects that the release names exist and may be used.

use crate::access::Caller;
use crate::app::App;
use crate::hidden_names::HiddenNames;
use crate::secrets;
use crate::upkeep::must_be_launchable;
use control::Desired;
use model::{Digest, Event, Fault, Release, ServiceName};
use std::collections::BTreeSet;

/// What a plan may name although it is not there yet.
#[derive(Clone, Debug, Default)]
pub struct Exempt {
    /// Images that a deploy would bake.
    pub unbaked: BTreeSet<Digest>,
    /// Values of secrets that a deploy would store.
    pub secrets: bool,
}

/// `caller`: who reads the fault; it names no service that the caller may not see. None: whoever may see these services.
pub fn must_be_admitted(app: &App, caller: Option<&Caller>, all: &[&Desired], exempt: &Exempt) -> Result<(), Fault> {
    must_be_free_to_listen(app, caller, all)?;
    let own = || all.iter().map(|desired| desired.spec.name.clone()).collect();
    let hidden = caller.map_or_else(|| HiddenNames::all_but(app, &own()), |caller| HiddenNames::from(app, caller))?;
    all.iter().try_for_each(|desired| must_be_in_store(app, &hidden, &desired.release, exempt))
}

pub fn earlier_release(app: &App, service: &ServiceName, number: u64) -> Result<Release, Fault> {
    let row = app.database.read(|r| r.release(service, number))?;
    row.map(|r| r.release).ok_or_else(|| {
        Fault::yours("not-found", format!("{service} has no release r{number}")).hint(format!("`afresh release list {service}` lists them"))
    })
}

fn must_be_in_store(app: &App, hidden: &HiddenNames, release: &Release, exempt: &Exempt) -> Result<(), Fault> {
    must_be_launchable(app, hidden, release)?;
    let label = &release.service;
    if !exempt.unbaked.contains(&release.image) && !app.images.has(&release.image)? {
        let text = format!("{label}: image {} ({}) is not in the store, or is incomplete", release.image_name, release.image.short());
        return Err(Fault::yours("image-missing", text).hint(format!("`afresh bake {}` makes it", release.image_name)));
    }
    // It came between two looks: what it says was not asked.
    if !exempt.unbaked.contains(&release.image) && release.run.is_empty() {
        let text = format!("{label}: image {} was not there when the release was made", release.image_name);
        return Err(Fault::yours("image-missing", text).hint("deploy again"));
    }
    match &release.artifact {
        Some(artifact) if !app.images.has(artifact)? => {
            let text = format!("{label}: artifact {} is not in the store, or is incomplete", artifact.short());
            return Err(Fault::yours("artifact-missing", text).hint(format!("`afresh deploy {label} --artifact PATH` packs it again")));
        }
        _ => {}
    }
    volumes_must_be_there(app, release)?;
    if exempt.secrets { Ok(()) } else { secrets::must_be_stored(app, release) }
}

/// Each volume is one that the host policy names, and a directory of this host now. The keeper looks again before it starts a server.
fn volumes_must_be_there(app: &App, release: &Release) -> Result<(), Fault> {
    if release.volumes.is_empty() {
        return Ok(());
    }
    let (policy, names) = (app.access.policy()?, app.database.read(|r| r.names())?);
    for volume in &release.volumes {
        let permitted = policy.permits_volume(&names, &release.service, volume)?;
        let opened = disk::volume::open(&volume.source, permitted.mount_point.as_deref(), app.layout.root());
        match opened.and_then(|dir| dir.must_be_usable(volume)) {
            // A control plane that is not root may not see it; the keeper does.
            Err(fault) if fault.code == "volume-closed" => {}
            Err(fault) => {
                let message = format!("{}: volume {}: {}", release.service, volume.name, fault.message);
                return Err(Fault { message, ..fault });
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

fn must_be_free_to_listen(app: &App, caller: Option<&Caller>, all: &[&Desired]) -> Result<(), Fault> {
    let others = app.database.browse(|r| {
        let mut others = Vec::new();
        for row in r.services()? {
            if all.iter().all(|desired| desired.spec.name != row.spec.name) {
                others.extend(r.active(&row.spec.name)?);
                // A release that an open rotation brings in has its listener already.
                if let Some(open) = r.open_rotation_of(&row.spec.name)?
                    && let Some(Event::Opened(opened)) = r.first_line(&open.id)?.map(|l| l.event)
                {
                    others.push(opened.to);
                }
            }
        }
        Ok(others)
    })?;
    control::must_be_free(all, &others, |service| caller.is_some_and(|caller| caller.sees(service)))
}
