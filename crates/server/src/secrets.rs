//! Values of secrets: stored for whoever may deploy the service, checked before a release that pins them is rolled out, listed without
//! being shown. No function here returns a value.

use crate::access::Caller;
use crate::app::App;
use crate::gc;
use api::control::{DeployRequest, PlanNote};
use api::secrets::{Recipient, SecretRow, SecretStored, SecretValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use journal::{Database, Lists, Records};
use model::{Fault, Layout, Release, SecretName, SecretVersion, ServiceName, ServiceSpec};
use secret::Secrets;
use std::collections::{BTreeMap, BTreeSet};

/// Of one service: more than its releases pin, and less than fills a disk.
const VALUES_MAX: usize = 1_000;

pub fn recipient(app: &App, service: ServiceName) -> Result<Recipient, Fault> {
    Ok(Recipient { recipient: app.secrets.recipient(&service)?, service })
}

/// `is_kept` false: only the version is answered.
pub fn put(app: &App, caller: &Caller, given: &SecretValue, is_kept: bool) -> Result<SecretStored, Fault> {
    let SecretValue { service, tier, name, variable, age } = given;
    let now = app.database.read(|r| r.service(service))?.map(|row| row.spec.tier);
    caller.must_deploy(service, Some(tier), now.is_none())?;
    caller.about(&format!("secret {name}"));
    if is_kept {
        must_have_room(app, service)?;
    }
    let file = BASE64.decode(age).map_err(|_| Fault::yours("bad-request", format!("secret {name}: its value is not in base64")))?;
    let value = app.secrets.open(service, name, &file)?;
    if *variable {
        value.variable(name)?;
    }
    let version = if is_kept { app.secrets.put(service, name, &value)? } else { app.secrets.version(service, name, &value)? };
    Ok(SecretStored { version })
}

/// Whoever may deploy one service may not fill the disk: values that no release pins are collected first.
fn must_have_room(app: &App, service: &ServiceName) -> Result<(), Fault> {
    let count = || Ok::<_, Fault>(app.secrets.list()?.iter().filter(|stored| stored.service == *service).count());
    if count()? < VALUES_MAX {
        return Ok(());
    }
    gc::collect_secrets(app)?;
    if count()? < VALUES_MAX {
        return Ok(());
    }
    let text = format!("{service}: {VALUES_MAX} values of secrets are stored for it, and no more are taken");
    Err(Fault::yours("secret-too-many", text)
        .hint("values that no release pins are deleted some minutes after they were given: try again then"))
}

/// Each value that the release pins can be given to a server now. Without this, the first server would say so.
pub fn must_be_stored(app: &App, release: &Release) -> Result<(), Fault> {
    let pinned = &release.secrets;
    for (name, version) in &pinned.versions {
        let value = app.secrets.get(&release.service, name, version)?;
        if pinned.used.env.values().any(|used| used == name) {
            value.variable(name)?;
        }
    }
    Ok(())
}

/// The request with the active versions of secrets that it does not name, where it says that they are kept; and notes that say so.
pub fn with_active_versions(app: &App, caller: &Caller, request: DeployRequest) -> Result<(DeployRequest, Vec<PlanNote>), Fault> {
    let (mut request, mut notes) = (request, Vec::new());
    if !request.keep_secrets || request.release.is_some() {
        return Ok((request, notes));
    }
    let is_selected = |spec: &&ServiceSpec| request.service.as_ref().is_none_or(|only| *only == spec.name) && caller.sees(&spec.name);
    let specs: Vec<ServiceSpec> = request.file.services.values().filter(is_selected).cloned().collect();
    for spec in specs {
        let Some(active) = app.database.read(|r| r.active(&spec.name))?.map(|active| active.release) else { continue };
        let given = request.secrets.entry(spec.name.clone()).or_default();
        for name in spec.secrets.names() {
            if let (false, Some(version)) = (given.contains_key(name), active.secrets.versions.get(name)) {
                given.insert(name.clone(), version.clone());
                let text = format!("keeps secret {name} of {} (version {})", active.label(), version.short());
                notes.push(PlanNote { service: spec.name.clone(), at: None, text });
            }
        }
    }
    Ok((request, notes))
}

/// What a plan says of secrets: which change, never into what.
pub fn changes(records: &Records<'_>, release: &Release) -> Result<Vec<PlanNote>, Fault> {
    let Some(active) = records.active(&release.service)? else { return Ok(Vec::new()) };
    let (old, new) = (&active.release.secrets.versions, &release.secrets.versions);
    let names: BTreeSet<&SecretName> = old.keys().chain(new.keys()).collect();
    let change = |name: &SecretName| match (old.get(name), new.get(name)) {
        (Some(a), Some(b)) if a == b => None,
        (Some(_), Some(_)) => Some(format!("secret {name}: changed")),
        (None, Some(_)) => Some(format!("secret {name}: new")),
        (Some(_), None) => Some(format!("secret {name}: no longer used")),
        (None, None) => None,
    };
    let note = |text| PlanNote { service: release.service.clone(), at: None, text };
    Ok(names.into_iter().filter_map(change).map(note).collect())
}

/// By name, then service; the newest version first.
pub fn list(app: &App) -> Result<Vec<SecretRow>, Fault> {
    let stored: BTreeSet<(ServiceName, SecretVersion)> = app.secrets.list()?.into_iter().map(|one| (one.service, one.version)).collect();
    let (releases, active) = app.database.browse(|r| {
        let mut active = BTreeMap::new();
        for row in r.services()? {
            if let Some(now) = r.active(&row.spec.name)? {
                active.insert(row.spec.name, now.release.number);
            }
        }
        Ok((r.all_releases()?, active))
    })?;
    let mut rows: BTreeMap<(SecretName, ServiceName, SecretVersion), SecretRow> = BTreeMap::new();
    for row in releases {
        let service = &row.release.service;
        for (name, version) in &row.release.secrets.versions {
            let one = rows.entry((name.clone(), service.clone(), version.clone())).or_insert_with(|| SecretRow {
                name: name.clone(),
                service: service.clone(),
                version: version.clone(),
                releases: Vec::new(),
                active: false,
                since: row.at,
                stored: stored.contains(&(service.clone(), version.clone())),
            });
            one.releases.push(row.release.number);
            one.active |= active.get(service) == Some(&row.release.number);
        }
    }
    let mut rows: Vec<SecretRow> = rows.into_values().collect();
    rows.sort_by(|a, b| (&a.name, &a.service, b.since).cmp(&(&b.name, &b.service, a.since)));
    Ok(rows)
}

/// Secrets of active releases whose values this machine cannot read: after a restore on another machine they must be given again.
/// While no control plane runs.
pub fn unreadable(layout: &Layout) -> Result<Vec<(ServiceName, SecretName)>, Fault> {
    let secrets = Secrets::of(layout);
    let active = |records: &Lists<'_>| {
        let mut all = Vec::new();
        for row in records.services()? {
            all.extend(records.active(&row.spec.name)?.map(|active| active.release));
        }
        Ok(all)
    };
    let mut all = Vec::new();
    for release in Database::open(&layout.database())?.browse(active)? {
        for (name, version) in &release.secrets.versions {
            if secrets.get(&release.service, name, version).is_err() {
                all.push((release.service.clone(), name.clone()));
            }
        }
    }
    Ok(all)
}
