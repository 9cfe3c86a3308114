//! From a request to wishes: which services, and the release each shall run. Nothing is opened and nothing written here.
//! The request's file was held to the reader's rules before (`config::checked`); none of them is repeated here.

use api::control::DeployRequest;
use model::{Digest, Fault, Release, ServiceName, ServiceSpec, TierName};

/// A service as it shall be, and the release it shall run; its number is not given yet.
#[derive(Clone, Debug)]
pub struct Desired {
    pub spec: ServiceSpec,
    pub release: Release,
}

/// In the order of tiers; services of one tier by name.
pub fn tiers(
    request: &DeployRequest,
    release: impl Fn(&ServiceSpec) -> Result<Option<Release>, Fault>,
) -> Result<Vec<(TierName, Vec<Desired>)>, Fault> {
    let chosen: Vec<&ServiceSpec> = match &request.service {
        Some(name) => vec![request.file.services.get(name).ok_or_else(|| unknown(request, name))?],
        None if request.release.is_some() => {
            return Err(Fault::yours("bad-request", "an earlier release is deployed for one service").hint("name the service"));
        }
        None => request.file.services.values().collect(),
    };
    if chosen.is_empty() {
        return Err(Fault::yours("no-service", "the file has no service").hint("add a `service` block"));
    }
    let mut order: Vec<TierName> = request.file.tiers.clone();
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
        let mut wishes = Vec::new();
        for spec in chosen.iter().filter(|s| s.tier == *tier) {
            wishes.push(desired(request, spec, release(spec)?)?);
        }
        if !wishes.is_empty() {
            tiers.push((tier.clone(), wishes));
        }
    }
    listeners(&tiers)?;
    Ok(tiers)
}

fn unknown(request: &DeployRequest, name: &ServiceName) -> Fault {
    let names: Vec<&str> = request.file.services.keys().map(ServiceName::as_str).collect();
    Fault::yours("not-found", format!("the file has no service {name}")).hint(format!("it has: {}", names.join(", ")))
}

fn desired(request: &DeployRequest, spec: &ServiceSpec, earlier: Option<Release>) -> Result<Desired, Fault> {
    Ok(match earlier {
        Some(release) => Desired { spec: with_settings(spec, &release), release },
        None => Desired { spec: spec.clone(), release: new_release(request, spec)? },
    })
}

fn new_release(request: &DeployRequest, spec: &ServiceSpec) -> Result<Release, Fault> {
    let Some(image) = request.images.get(&spec.image) else {
        return Err(Fault::yours("image-not-baked", format!("{}: no digest was given for image {}", spec.name, spec.image))
            .hint(format!("run `afresh bake {}` first", spec.image)));
    };
    let artifact: Option<&Digest> = request.artifacts.get(&spec.name);
    if let (Some(path), None) = (&spec.artifact, artifact) {
        return Err(Fault::yours("artifact-not-packed", format!("{}: no digest was given for its artifact {path}", spec.name))
            .hint(format!("`afresh deploy {} --artifact {path}` packs it", spec.name)));
    }
    Ok(Release::of(spec, image.clone(), artifact.cloned()))
}

/// A release brings all its settings with it; count and rollout are the wish's own.
pub fn with_settings(spec: &ServiceSpec, release: &Release) -> ServiceSpec {
    ServiceSpec {
        image: release.image_name.clone(),
        run: release.run.clone(),
        env: release.env.clone(),
        user: release.user.clone(),
        port: release.port,
        health: release.health.clone(),
        drain: release.drain.clone(),
        limits: release.limits.clone(),
        route: release.route.clone(),
        checks: release.checks.clone(),
        ..spec.clone()
    }
}

fn listeners(tiers: &[(TierName, Vec<Desired>)]) -> Result<(), Fault> {
    let wishes: Vec<&Desired> = tiers.iter().flat_map(|(_, w)| w).collect();
    for (i, a) in wishes.iter().enumerate() {
        for b in &wishes[i + 1..] {
            if let (Some(x), Some(y)) = (&a.release.route, &b.release.route)
                && x.listen == y.listen
            {
                return Err(listen_taken(&b.spec.name, &a.spec.name, x.listen));
            }
        }
    }
    Ok(())
}

pub fn listen_taken(service: &ServiceName, by: &ServiceName, listen: std::net::SocketAddr) -> Fault {
    Fault::yours("listen-taken", format!("{service}: {by} listens on {listen} already")).hint("give each route its own `listen`")
}
