//! A service's code from a registry or behind a link: fetched once, compared with its digest, and packed as a tarball of this machine is.

use crate::progress::{Progress, Steps};
use attest::Packed;
use model::{ArtifactSource, ContainerSource, Digest, Fault};
use std::path::Path;
use store::Store;

/// `registry`: how that of `oci://` is spoken to. `text`: as the service file has it, which the artifact's provenance names.
pub fn pack_remote(
    store: &Store,
    text: &str,
    source: &ArtifactSource,
    registry: Option<&ContainerSource>,
    tell: &mut dyn FnMut(Progress),
) -> Result<Packed, Fault> {
    let mut steps = Steps::new(tell);
    match source {
        ArtifactSource::Registry(reference) => {
            steps.begin("resolve", format!("asking what {text} leads to"));
            let options = registry.map(oci::Options::of).unwrap_or_default();
            let mut archive = oci::Archive::resolve(reference, &options)?;
            let pinned = format!("oci://{}/{}@{}", reference.registry, reference.repository, archive.manifest);
            let sum = archive.sum().clone();
            packed(store, &pinned, &sum, &mut steps, |to, told| archive.fetch(to, &options.limits, told))
        }
        ArtifactSource::Link { link, sum } => {
            packed(store, link, sum, &mut steps, |to, told| oci::fetch_link(link, sum, &oci::Limits::default(), to, told))
        }
    }
}

fn packed(
    store: &Store,
    from: &str,
    sum: &Digest,
    steps: &mut Steps,
    fetch: impl FnOnce(&Path, &mut dyn FnMut(u64, u64)) -> Result<(), Fault>,
) -> Result<Packed, Fault> {
    if let Some(there) = attest::packed_tarball(store, sum)? {
        return Ok(there);
    }
    let work = store.work("artifact")?;
    let to = work.path().join("archive");
    steps.begin("fetch", from);
    fetch(&to, &mut |have, total| steps.at(have, total, from))?;
    steps.begin("pack", from);
    attest::pack_from(store, &to, from)
}
