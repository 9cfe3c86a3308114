//! Lists for people: releases, images, instances.

use crate::app::App;
use crate::observed_service;
use api::control::{ArtifactRow, ImageRow, InstanceRow, ReleaseRow};
use api::host::InstanceUsage;
use model::{DesiredSeen, Digest, Fault, ServiceName};
use rotation::Provider;
use std::collections::BTreeMap;

pub fn releases(app: &App, service: Option<&ServiceName>) -> Result<Vec<ReleaseRow>, Fault> {
    app.database.browse(|r| {
        if let Some(service) = service
            && r.service(service)?.is_none()
        {
            return Err(journal::no_service(service));
        }
        // The active release, then the one before; None is active where the service was removed.
        let mut roles: BTreeMap<ServiceName, Vec<Option<u64>>> = BTreeMap::new();
        let mut rows = Vec::new();
        let releases = service.map_or_else(|| r.all_releases(), |service| r.releases(service));
        for row in releases? {
            let name = row.release.service.clone();
            if !roles.contains_key(&name) {
                let removed = r.active(&name)?.is_none().then_some(None);
                let last = r.were_active(&name, 2)?.into_iter().map(|s| Some(s.release.number));
                roles.insert(name.clone(), removed.into_iter().chain(last).take(2).collect());
            }
            let place = roles[&name].iter().position(|n| *n == Some(row.release.number));
            let role = match place {
                Some(0) => "active",
                Some(_) => "previous",
                None => "",
            };
            rows.push(ReleaseRow { release: row.release, digest: row.digest, at: row.at, role: role.to_string() });
        }
        Ok(rows)
    })
}

/// Newest first.
pub fn images(app: &App) -> Result<Vec<ImageRow>, Fault> {
    let mut releases: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for row in app.database.browse(|r| r.all_releases())? {
        releases.entry(row.release.image.clone()).or_default().push(row.release.label());
    }
    let (running, trouble) = match running(app) {
        Ok(running) => (running, None),
        Err(fault) => (BTreeMap::new(), Some(fault.message)),
    };
    let lives = crate::upkeep::lives(app)?;
    let kept = app.images.kept()?.into_iter().rev();
    let rows = kept.filter_map(|k| {
        let name = k.image?;
        let life = lives.get(&k.digest).and_then(|by_name| by_name.get(&name).or_else(|| by_name.values().next()));
        let (reference, manifest) = k.pinned.unzip();
        Some(ImageRow {
            life: life.cloned(),
            name,
            reference,
            manifest,
            bytes: k.bytes,
            packages: k.packages,
            baked: k.made,
            releases: releases.get(&k.digest).cloned().unwrap_or_default(),
            instances: running.get(&k.digest).copied().unwrap_or(0),
            trouble: trouble.clone(),
            digest: k.digest,
        })
    });
    Ok(rows.collect())
}

/// Newest first.
pub fn artifacts(app: &App) -> Result<Vec<ArtifactRow>, Fault> {
    let mut releases: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for row in app.database.browse(|r| r.all_releases())? {
        if let Some(artifact) = &row.release.artifact {
            releases.entry(artifact.clone()).or_default().push(row.release.label());
        }
    }
    let kept = app.images.kept()?.into_iter().rev().filter(|kept| kept.image.is_none());
    let row = |k: crate::ports::Kept| ArtifactRow {
        bytes: k.bytes,
        packed: k.made,
        releases: releases.get(&k.digest).cloned().unwrap_or_default(),
        digest: k.digest,
    };
    Ok(kept.map(row).collect())
}

/// Instances by the image they run.
fn running(app: &App) -> Result<BTreeMap<Digest, u32>, Fault> {
    let mut count = BTreeMap::new();
    for (image, _, n) in instances_by_image(app)? {
        *count.entry(image).or_default() += n;
    }
    Ok(count)
}

/// Each image with a service that has instances of it, and how many.
pub fn instances_by_image(app: &App) -> Result<Vec<(Digest, ServiceName, u32)>, Fault> {
    let all_known = app.database.browse(|r| {
        let of = |s: journal::ServiceRow| Ok((r.summary(&s.spec.name)?, s.spec.name));
        r.services()?.into_iter().map(of).collect::<Result<Vec<_>, Fault>>()
    })?;
    let mut all = Vec::new();
    for (summary, service) in all_known {
        for (group, release) in &summary.releases {
            let seen = Provider::observe(&app.provider, group)?;
            all.push((release.image.clone(), service.clone(), u32::try_from(seen.instances.len()).unwrap_or(u32::MAX)));
        }
    }
    all.retain(|(_, _, n)| *n > 0);
    Ok(all)
}

/// `usage`: of the keeper, as far as it answered.
pub fn instances(app: &App, service: Option<&ServiceName>, usage: &[InstanceUsage]) -> Result<Vec<InstanceRow>, Fault> {
    let all_known = app.database.browse(|r| {
        let names: Vec<ServiceName> = match service {
            Some(name) => vec![r.service(name)?.ok_or_else(|| journal::no_service(name))?.spec.name],
            None => r.services()?.into_iter().map(|s| s.spec.name).collect(),
        };
        names.into_iter().map(|n| Ok((r.summary(&n)?, n))).collect::<Result<Vec<_>, Fault>>()
    })?;
    let mut rows = Vec::new();
    for (summary, service) in all_known {
        let view = observed_service::view(app, &service, &summary, false)?;
        for (group, seen) in &view.groups {
            // A group that checks a release has a name of its own; the keeper says which release it runs.
            let release = match seen.desired {
                DesiredSeen::Run { release, .. } => release,
                DesiredSeen::Unknown | DesiredSeen::Gone => summary.releases.get(group).map_or(0, |r| r.number),
            };
            let traffic = view.route.as_ref().and_then(|r| r.groups.get(group));
            rows.extend(seen.instances.iter().map(|i| InstanceRow {
                service: service.clone(),
                group: group.clone(),
                release,
                seen: i.clone(),
                balancer: traffic.and_then(|t| t.targets.get(&i.id)).cloned(),
                usage: usage.iter().find(|one| one.instance == i.id).cloned(),
                restarts: seen.deaths,
            }));
        }
    }
    Ok(rows)
}
