//! Whether the host policy and the caller's services permit a request. The administrator may do everything.

use super::Caller;
use crate::app::App;
use crate::ports::Kept;
use model::{Digest, Fault, ImageName, Release, ServiceFile, ServiceName, ServiceSpec, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Whether the caller may deploy this service: its own, within the host policy.
pub fn deploy(app: &App, caller: &Caller, spec: &ServiceSpec) -> Result<(), Fault> {
    let now = app.database.read(|r| r.service(&spec.name))?.map(|row| row.spec.tier);
    caller.must_deploy(&spec.name, Some(&spec.tier), now.is_none())?;
    if caller.is_admin() {
        return Ok(());
    }
    app.access.policy()?.permits(spec)
}

/// The objects of the store, read once for a request, however many services it has. Empty for the administrator, who may use all.
pub fn kept(app: &App, caller: &Caller) -> Result<Vec<Kept>, Fault> {
    if caller.is_admin() { Ok(Vec::new()) } else { app.images.kept() }
}

/// Whether the images that a request names are of their names. Asked before anything is taken from them: what an image says of itself, such as
/// its user, would be told to whoever only knows its digest.
pub fn images(caller: &Caller, kept: &[Kept], images: &BTreeMap<ImageName, Digest>) -> Result<(), Fault> {
    let is_others = |(name, digest): &(&ImageName, &Digest)| {
        let mut of_digest = kept.iter().filter(|kept| kept.digest == **digest).peekable();
        of_digest.peek().is_some() && !of_digest.any(|kept| kept.image.as_ref() == Some(*name))
    };
    match images.iter().find(is_others).filter(|_| !caller.is_admin()) {
        Some((name, digest)) => Err(Fault::yours("forbidden", format!("{} is no image of the name {name}", digest.short()))
            .hint("an administrator can deploy it; `afresh bake` makes one of that name")),
        None => Ok(()),
    }
}

/// Whether each release's digests are objects of its own names: a digest must not give access to another service's code. The artifact is
/// one that a service of the caller uses, or that no service uses yet: then whoever packed it gave the caller its digest, which no answer
/// shows to others and which cannot be guessed. An image or a base is not an artifact.
pub fn releases<'a>(
    app: &App,
    caller: &Caller,
    kept: &[Kept],
    releases: impl Iterator<Item = &'a Release>,
    unbaked: &BTreeSet<Digest>,
) -> Result<(), Fault> {
    if caller.is_admin() {
        return Ok(());
    }
    let rows = app.database.browse(|r| r.all_releases())?;
    let mut users: BTreeMap<&Digest, Vec<&ServiceName>> = BTreeMap::new();
    for row in &rows {
        if let Some(artifact) = &row.release.artifact {
            users.entry(artifact).or_default().push(&row.release.service);
        }
    }
    let policy = app.access.policy()?;
    for release in releases {
        policy.permits_release(release)?;
        let foreign = |what: &str, digest: &Digest| {
            Err(Fault::yours("forbidden", format!("{}: {what} {} is not this service's", release.service, digest.short()))
                .hint("an administrator can deploy it"))
        };
        if let Some(artifact) = &release.artifact {
            let is_artifact = kept.iter().any(|kept| kept.digest == *artifact && kept.image.is_none());
            let is_others = users.get(artifact).is_some_and(|users| !users.iter().any(|service| caller.sees(service)));
            // An artifact that does not exist is refused later, with its own message.
            if is_others || !is_artifact && app.images.has(artifact)? {
                return foreign("artifact", artifact);
            }
        }
        let is_named = |name: &Option<ImageName>| name.as_ref() == Some(&release.image_name);
        let is_image = unbaked.contains(&release.image) || kept.iter().any(|kept| kept.digest == release.image && is_named(&kept.image));
        if !is_image {
            return foreign("image", &release.image);
        }
    }
    Ok(())
}

/// Every request carries recipes, and serve bakes them: a new recipe is accepted only from callers who may give it.
pub fn recipes(app: &App, caller: &Caller, file: &ServiceFile) -> Result<(), Fault> {
    if caller.is_admin() {
        return Ok(());
    }
    for (name, image) in &file.images {
        if !crate::upkeep::has_recipe(app, name, image)? {
            caller.about(name.as_str());
            crate::upkeep::may_give(app, caller, name, image)?;
        }
    }
    Ok(())
}

/// A manual step names groups and a route; each must be the service's own.
pub fn step(app: &App, caller: &Caller, service: &ServiceName, step: &Step) -> Result<(), Fault> {
    caller.must_deploy(service, None, false)?;
    if caller.is_admin() {
        return Ok(());
    }
    let mut groups: Vec<_> = step.group().into_iter().collect();
    let policy = app.access.policy()?;
    match step {
        Step::Check { of, .. } => {
            groups.push(of);
            policy.permits_checks(service)?;
        }
        // Refused for everybody by the planner.
        Step::Migrate { of, .. } => groups.push(of),
        Step::Scale { count, .. } => policy.permits_count(service, *count)?,
        Step::Shift { route, weights } => {
            groups.extend(weights.keys());
            if route.as_str() != service.as_str() {
                return Err(Fault::yours("forbidden", format!("route {route} does not belong to service {service}")));
            }
        }
        Step::Bake { .. } => caller.must_have(model::access::Role::Admin)?,
        Step::Soak { .. } | Step::Drain { .. } | Step::Retire { .. } => {}
    }
    match groups.iter().find(|group| group.parts().is_none_or(|(owner, ..)| owner != *service)) {
        Some(group) => Err(Fault::yours("forbidden", format!("group {group} does not belong to service {service}"))),
        None => Ok(()),
    }
}
