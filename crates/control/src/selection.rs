//! From a deploy request to desired states: which services, and the release that each shall run. Opens nothing.
//! `config::checked` has validated the request's file before; none of its rules is repeated here.

use crate::desired::Desired;
use crate::listeners;
use model::{
    ContainerDefaults, Digest, Fault, ImageName, Release, SecretName, SecretVersion, ServiceFile, ServiceName, ServiceSpec, TierName,
};
use std::collections::BTreeMap;

/// What a deploy request selects.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    pub file: &'a ServiceFile,
    /// None: every service of the file.
    pub service: Option<&'a ServiceName>,
    /// An earlier release of that one service.
    pub release: Option<u64>,
    pub images: &'a BTreeMap<ImageName, Digest>,
    pub artifacts: &'a BTreeMap<ServiceName, Digest>,
    pub secrets: &'a BTreeMap<ServiceName, BTreeMap<SecretName, SecretVersion>>,
    /// What the container images among `images` say. None: nobody knows yet, as it is to be pulled first.
    pub containers: &'a BTreeMap<Digest, Option<ContainerDefaults>>,
}

/// In the order of tiers; services of one tier by name.
pub type Tiers = Vec<(TierName, Vec<Desired>)>;

/// What is selected. `earlier` finds the release that the selection names by number.
pub fn tiers(selection: &Selection<'_>, earlier: impl Fn(&ServiceSpec, u64) -> Result<Release, Fault>) -> Result<Tiers, Fault> {
    let chosen: Vec<&ServiceSpec> = match selection.service {
        Some(name) => vec![selection.file.services.get(name).ok_or_else(|| unknown(selection, name))?],
        None if selection.release.is_some() => {
            return Err(Fault::yours("bad-request", "an earlier release can be deployed for one service only").hint("name the service"));
        }
        None => selection.file.services.values().collect(),
    };
    if chosen.is_empty() {
        return Err(Fault::yours("no-service", "the file has no service").hint("add a `service` block"));
    }
    let mut order: Vec<TierName> = selection.file.tiers.clone();
    for spec in &chosen {
        if !order.contains(&spec.tier) {
            order.push(spec.tier.clone());
        }
    }
    let mut tiers = Vec::new();
    for (place, tier) in order.iter().enumerate() {
        if order[..place].contains(tier) {
            continue;
        }
        let mut all = Vec::new();
        for spec in chosen.iter().filter(|s| s.tier == *tier) {
            all.push(match selection.release {
                Some(number) => Desired::earlier(spec, earlier(spec, number)?),
                None => Desired { spec: (*spec).clone(), release: new_release(selection, spec)? },
            });
        }
        if !all.is_empty() {
            tiers.push((tier.clone(), all));
        }
    }
    let all: Vec<&Desired> = tiers.iter().flat_map(|(_, all)| all).collect();
    listeners::must_differ(&all)?;
    Ok(tiers)
}

fn unknown(selection: &Selection<'_>, name: &ServiceName) -> Fault {
    let names: Vec<&str> = selection.file.services.keys().map(ServiceName::as_str).collect();
    Fault::yours("not-found", format!("the file has no service {name}")).hint(format!("it has: {}", names.join(", ")))
}

fn new_release(selection: &Selection<'_>, spec: &ServiceSpec) -> Result<Release, Fault> {
    let Some(image) = selection.images.get(&spec.image) else {
        return Err(Fault::yours("image-not-baked", format!("{}: the request has no digest of image {}", spec.name, spec.image))
            .hint(format!("run `afresh bake {}` first", spec.image)));
    };
    let artifact: Option<&Digest> = selection.artifacts.get(&spec.name);
    if let (Some(path), None) = (&spec.artifact, artifact) {
        return Err(Fault::yours("artifact-not-packed", format!("{}: the request has no digest of its artifact {path}", spec.name))
            .hint(format!("`afresh deploy {} --artifact {path}` packs it", spec.name)));
    }
    let none = BTreeMap::new();
    let release = Release::of(spec, image.clone(), artifact.cloned()).pinned(selection.secrets.get(&spec.name).unwrap_or(&none));
    let release = match selection.containers.get(image) {
        Some(None) => release,
        Some(defaults) => release.on(&spec.from_image, defaults.as_ref())?,
        None => release.on(&spec.from_image, None)?,
    };
    if let Some(name) = release.secrets.missing() {
        let text = format!("{}: the request has no version of secret {name}", spec.name);
        return Err(Fault::yours("secret-not-given", text)
            .hint(format!("`afresh deploy {}` reads it from its source; --keep-secrets keeps the value that is active", spec.name)));
    }
    Ok(release)
}
