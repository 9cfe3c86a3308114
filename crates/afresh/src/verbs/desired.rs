//! What is to be deployed: the file, the digests of its images and code. Everything is in the store before it is sent.
//!
//! With a control plane on another machine nothing is baked or packed here: its current images are used, and code by its digest.

use super::bake::{currents, planned, recipe, recipes};
use super::build_args::BuildArgs;
use super::init::warn_of_private;
use super::lookup;
use super::units::release_number;
use crate::context::Context;
use crate::failure::{self, Failure};
use crate::recipe_places::refuse_secrets;
use crate::secrets::{self, IdentityArgs, Reading};
use crate::show;
use api::control::{DeployRequest, ImageUpkeep};
use clap::Args;
use model::{ArtifactSource, ContainerSource, Digest, Fault, ImageName, Reference, ServiceFile, ServiceName, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What to deploy: flags that `plan` and `deploy` share.
#[derive(Args, Debug, Default)]
pub struct Desired {
    /// Only this service; by default all, tier by tier
    pub service: Option<ServiceName>,
    /// Deploy this code instead of that in the file: a directory, a tarball, or the digest of an artifact
    #[arg(long, value_name = "PATH|DIGEST", requires = "service")]
    pub artifact: Option<PathBuf>,
    /// Deploy without code, even if the active release has some
    #[arg(long, requires = "service", conflicts_with_all = ["artifact", "release"])]
    pub no_artifact: bool,
    /// Deploy this earlier release again instead of making a new one
    #[arg(long, value_name = "rN", value_parser = release_number, requires = "service", conflicts_with = "artifact")]
    pub release: Option<u64>,
    /// Also remove this running service, which the file does not name (repeatable)
    #[arg(long, value_name = "NAME", conflicts_with = "service")]
    pub remove: Vec<ServiceName>,
    /// Keep the values of secrets that are active instead of reading them from their sources
    #[arg(long, conflicts_with = "release")]
    pub keep_secrets: bool,
    /// Deploy against rules of level deny, in an emergency, and say why; for administrators: recorded, an alarm for hours
    #[arg(long, value_name = "REASON")]
    pub break_glass: Option<String>,
    /// Only settings and secrets are deployed; the code that is active stays
    #[arg(skip)]
    pub keep_code: bool,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub args: BuildArgs,
}

/// What becomes of an image that is not baked yet, or whose recipe has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    Bake,
    /// A plan changes nothing: it says that a deploy would bake it.
    Plan,
}

/// Loads the file, bakes what was never baked, packs the code, gives the values of secrets.
pub fn request(context: &Context, desired: &Desired, unbaked: Images) -> Result<DeployRequest, Failure> {
    let file = if desired.remove.is_empty() { context.load()? } else { context.load_or_empty()? };
    let reading = if desired.keep_secrets { Reading::Nothing } else { Reading::All };
    request_of(context, file, desired, unbaked, &reading)
}

/// As [`request`], of a file that is loaded already.
pub fn request_of(
    context: &Context,
    mut file: ServiceFile,
    desired: &Desired,
    unbaked: Images,
    reading: &Reading,
) -> Result<DeployRequest, Failure> {
    if let Some(service) = &desired.service
        && !file.services.contains_key(service)
    {
        let names: Vec<&str> = file.services.keys().map(ServiceName::as_str).collect();
        let fault = Fault::yours("no-such-service", format!("{}: no service {service}", context.file.display()));
        return Err(fault.hint(format!("it has: {}", names.join(", "))).into());
    }
    let used = used(&file, desired.service.as_ref());
    if desired.release.is_some() && !desired.args.args.is_empty() {
        let fault = Fault::yours("bad-request", "an earlier release has its own image: nothing is baked with --arg");
        return Err(fault.hint("leave --arg out").into());
    }
    desired.args.apply(&mut file, |name| used.contains(name))?;
    let mut images = BTreeMap::new();
    let mut artifacts = BTreeMap::new();
    let mut to_bake = BTreeSet::new();
    // Before any work: a bake takes minutes, a wrong path is seen at once.
    let sources = sources(context, &file, desired)?;
    let dirs = sources.values().filter_map(|source| if let Source::Path(path) = source { Some(path) } else { None });
    dirs.collect::<BTreeSet<_>>().into_iter().for_each(|dir| warn_of_private(dir));
    let reading = if desired.release.is_some() { &Reading::Nothing } else { reading };
    let service = desired.service.as_ref();
    let values = secrets::read_all(context, &file, chosen(&file, service), &desired.identity, reading)?;
    if desired.release.is_none() && !(used.is_empty() && sources.is_empty()) {
        refuse_secrets(context, &recipes(&file, &used)?)?;
        if context.is_remote() {
            images = remote_images(context, &file, &used)?;
            artifacts = remote_artifacts(&sources)?;
        } else {
            let store = context.images()?;
            match unbaked {
                Images::Bake => images = currents(context, &store, &file, &used)?,
                Images::Plan => (images, to_bake) = planned(context, &store, &file, &used)?,
            }
            artifacts = pack(context, &store, &file, sources)?;
        }
    }
    let is_plan = unbaked == Images::Plan;
    let secrets = secrets::give(context, &file.moved, chosen(&file, service), &values, !is_plan)?;
    drop(values);
    Ok(DeployRequest {
        secrets_not_stored: is_plan && !secrets.is_empty(),
        secrets,
        keep_secrets: reading.keeps(),
        file,
        service: desired.service.clone(),
        images,
        artifacts,
        release: desired.release,
        remove: desired.remove.clone(),
        keep_artifacts: !desired.no_artifact,
        unbaked: to_bake,
        break_glass: desired.break_glass.clone(),
    })
}

fn chosen<'a>(file: &'a ServiceFile, only: Option<&'a ServiceName>) -> impl Iterator<Item = &'a ServiceSpec> {
    file.services.values().filter(move |s| only.is_none_or(|only| *only == s.name))
}

fn used(file: &ServiceFile, only: Option<&ServiceName>) -> Vec<ImageName> {
    let mut names: Vec<ImageName> = chosen(file, only).map(|s| s.image.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Where the code of a service comes from.
enum Source {
    Path(PathBuf),
    /// The first digits of an artifact's digest, or all.
    Digest(String),
    /// In a registry, or behind a link.
    Remote(String, ArtifactSource),
}

fn sources(context: &Context, file: &ServiceFile, desired: &Desired) -> Result<BTreeMap<ServiceName, Source>, Failure> {
    let mut sources = BTreeMap::new();
    if desired.release.is_some() || desired.no_artifact || desired.keep_code {
        return Ok(sources);
    }
    for service in chosen(file, desired.service.as_ref()) {
        let source = match (&desired.artifact, &service.artifact) {
            (Some(path), _) => source(path)?,
            (None, Some(text)) if let Some(remote) = ArtifactSource::of(text)? => Source::Remote(text.clone(), remote),
            (None, Some(path)) => {
                let path = context.beside_file(path);
                must_be_there(&path)?;
                Source::Path(path)
            }
            (None, None) => continue,
        };
        if let (Source::Path(path), false) = (&source, context.is_remote()) {
            secrets::must_not_be_packed(context, file, path)?;
        }
        sources.insert(service.name.clone(), source);
    }
    Ok(sources)
}

fn source(path: &Path) -> Result<Source, Fault> {
    let text = path.to_string_lossy();
    if let Some(remote) = ArtifactSource::of(&text)? {
        return Ok(Source::Remote(text.into_owned(), remote));
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(&text);
    let is_digest = (6..=64).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match must_be_there(path) {
        Err(_) if is_digest => Ok(Source::Digest(hex.to_string())),
        there => there.map(|()| Source::Path(path.to_path_buf())),
    }
}

fn must_be_there(path: &Path) -> Result<(), Fault> {
    std::fs::metadata(path).map(drop).map_err(|e| {
        let fault = failure::io("cannot read the code", path, &e);
        if fault.code == "no-file" { fault.hint("name a directory or a tarball: --artifact PATH") } else { fault }
    })
}

fn pack(
    context: &Context,
    store: &store::Store,
    file: &ServiceFile,
    sources: BTreeMap<ServiceName, Source>,
) -> Result<BTreeMap<ServiceName, Digest>, Failure> {
    let mut packed: BTreeMap<PathBuf, Digest> = BTreeMap::new();
    let mut artifacts = BTreeMap::new();
    for (service, source) in sources {
        let digest = match source {
            Source::Digest(hex) => lookup::artifact(store, &hex)?,
            Source::Remote(text, remote) => {
                let done = bake::pack_remote(store, &text, &remote, registry_of(file, &remote), &mut |_| {})?;
                told(context, &text, &done);
                done.digest
            }
            Source::Path(path) => match packed.get(&path) {
                Some(digest) => digest.clone(),
                None => {
                    let done = attest::pack(store, &path)?;
                    told(context, &path.display().to_string(), &done);
                    packed.insert(path, done.digest.clone());
                    done.digest
                }
            },
        };
        artifacts.insert(service, digest);
    }
    Ok(artifacts)
}

fn told(context: &Context, from: &str, done: &attest::Packed) {
    if !context.json {
        let did = if done.did == store::Did::Nothing { "already in the store" } else { "packed" };
        let size = format!("{}, {}", show::times(done.files, "file"), show::bytes(done.bytes));
        show::line(format!("artifact {from} {} {did}, {size} ({:.1} s)", done.digest.short(), done.seconds));
    }
}

/// As an image of the file speaks to the same registry.
fn registry_of<'a>(file: &'a ServiceFile, source: &ArtifactSource) -> Option<&'a ContainerSource> {
    let ArtifactSource::Registry(of) = source else { return None };
    let is_same = |one: &&ContainerSource| one.reference.parse::<Reference>().is_ok_and(|other| other.registry == of.registry);
    file.images.values().filter_map(|image| image.oci.as_ref()).find(is_same)
}

/// The images that are current at the control plane. Whether they are of the recipes in this file is for it to say.
fn remote_images(context: &Context, file: &ServiceFile, used: &[ImageName]) -> Result<BTreeMap<ImageName, Digest>, Failure> {
    let known: Vec<ImageUpkeep> = context.wait(async { Ok(context.api().get("/v1/images/upkeep").await?) })?;
    let mut images = BTreeMap::new();
    for name in used {
        recipe(file, name)?;
        let current = known.iter().find(|one| one.name == *name).and_then(|one| one.current.clone());
        let missing = || {
            Fault::yours("image-not-baked", format!("{} has no current image {name}", context.host.as_deref().unwrap_or_default()))
                .hint(format!("bake it on that host: afresh bake {name}"))
        };
        images.insert(name.clone(), current.ok_or_else(missing)?);
    }
    Ok(images)
}

fn remote_artifacts(sources: &BTreeMap<ServiceName, Source>) -> Result<BTreeMap<ServiceName, Digest>, Fault> {
    let hint = "pack it on that host (`afresh artifact pack PATH`) and name the whole digest: --artifact sha256:...";
    let digest = |(service, source): (&ServiceName, &Source)| match source {
        Source::Digest(hex) => {
            let digest = Digest::new(format!("sha256:{hex}")).map_err(|e| Fault::yours("not-remote", e.to_string()).hint(hint))?;
            Ok((service.clone(), digest))
        }
        Source::Remote(text, _) => {
            let told = format!("{service}: {text} is fetched by the machine that runs it, and this is another");
            Err(Fault::yours("not-remote", told).hint(hint))
        }
        Source::Path(path) => {
            let told = format!("{service}: the code in {} is on this machine, and the API takes no uploads", path.display());
            Err(Fault::yours("not-remote", told).hint(hint))
        }
    };
    sources.iter().map(digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_a_path_that_is_there_or_a_digest() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(source(dir.path()), Ok(Source::Path(_))));
        assert!(matches!(source(Path::new("3fa9c1d20b7e")), Ok(Source::Digest(hex)) if hex == "3fa9c1d20b7e"));
        assert!(matches!(source(Path::new("sha256:3fa9c1")), Ok(Source::Digest(hex)) if hex == "3fa9c1"));
        for bad in ["./nothere", "3fa9", "build"] {
            let fault = source(Path::new(bad)).err().unwrap();
            assert_eq!((fault.code.as_str(), fault.hint.is_some()), ("no-file", true), "{bad}");
        }
    }
}
