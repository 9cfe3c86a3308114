//! A container image as a recipe's image: pulled, checked and flattened by `oci`, attested and made current as every other. Its lock is the
//! digest of its manifest.

use crate::baked::{self, Baked, Options};
use crate::exposed;
use crate::patches;
use crate::progress::{Progress, Steps};
use crate::recipe;
use disk::files;
use guard::waiver::Waiver;
use lifecycle::{Change, State};
use model::{Container, ContainerSource, Digest, Fault, ImageSpec};
use std::path::Path;
use store::{Did, Manifest, Repository, Store};

/// As [`crate::bake_with`].
pub fn bake(
    store: &Store,
    spec: &ImageSpec,
    source: &ContainerSource,
    options: &Options,
    tell: &mut dyn FnMut(Progress),
) -> Result<Baked, Fault> {
    let mut steps = Steps::new(tell);
    steps.begin("check", "tools and rights");
    recipe::check(spec)?;
    let own = recipe::digest(spec);
    let _alone = store.lock(&format!("bake-{}", own.short()), || steps.begin("wait", "another bake of this recipe is running"))?;
    let looked = files::now();
    let asked = oci::Options { fresh: options.fresh, keys: crate::cosign_keys(store)?, ..oci::Options::of(source) };
    let oci::Pulled { mut manifest, did, kept_layers } =
        oci::pull(store, &spec.name, &source.reference, &asked, &mut |tree| inspect(spec, tree, &options.waivers), &mut |p| {
            show(&mut steps, source, &p)
        })?;
    if options.candidate
        && let Some(why) = went_back(store, spec, &manifest)?
    {
        return Err(Fault::world("tag-went-back", format!("{} leads to an older image: {why}", source.reference))
            .hint("nobody's signature says which image of a tag is the newest; `afresh bake` takes this one, if it is meant")
            .again(false));
    }
    if manifest.recipe.as_ref() != Some(&own) {
        manifest.recipe = Some(own);
        store.note(&manifest)?;
    }
    // One that was pulled before may have lost its papers since, or was killed before it had them.
    if did == Did::Baked || !attest::statement::is_whole(store, &manifest.digest) {
        steps.begin("attest", "what is in it, where it came from, who says so");
        attest::attest_container(store, &manifest, &baked::key(store, options)?)?;
    }
    let pinned = manifest.container.as_ref().map_or_else(String::new, |c| c.manifest.to_string());
    let why = match did {
        Did::Nothing => format!("{} still leads to {pinned}", source.reference),
        Did::Baked if options.fresh => format!("it was asked for afresh, from {pinned}"),
        Did::Baked => format!("{} leads to {pinned}, {kept_layers} of its layers were there", source.reference),
    };
    baked::finish(store, spec, options, (manifest, None), (did, &why), (looked, exposed(source).into_iter().collect()), steps)
}

fn inspect(spec: &ImageSpec, tree: &oci::Unpacked, waivers: &[Waiver]) -> Result<Vec<String>, Fault> {
    exposed::refuse(&spec.name, tree.root, waivers, &mut |path| Some(format!("of the layer {}", tree.layer_of(path)?)))
}

/// Why a tag that moved is not followed without a person. Whoever has the registry may move it to an image with known holes, and that has good
/// signatures.
fn went_back(store: &Store, spec: &ImageSpec, new: &Manifest) -> Result<Option<String>, Fault> {
    let Some(current) = store.current(&spec.name)? else { return Ok(None) };
    let (Some(there), Some(now)) = (store.manifest(&current)?.container, &new.container) else { return Ok(None) };
    let life = Repository::open(store.layout())?.peek(&spec.name)?;
    let is_retired = life.as_ref().and_then(|life| life.image(&new.digest)).is_some_and(|one| one.state == State::Retired);
    Ok(is_older(&there, now, is_retired))
}

/// Another name is another choice of whoever wrote the recipe.
fn is_older(there: &Container, now: &Container, is_retired: bool) -> Option<String> {
    if there.manifest == now.manifest || there.reference != now.reference {
        return None;
    }
    let made = |of: &Container| of.created.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    match (made(there), made(now)) {
        (Some(before), Some(made)) if made < before => Some(format!("it was made {made}, and the current one {before}")),
        _ if is_retired => Some("it was current before".to_string()),
        _ => None,
    }
}

fn exposed(source: &ContainerSource) -> Option<String> {
    let auth = source.auth.as_ref().filter(|auth| oci::is_exposed(Path::new(auth)))?;
    Some(format!("every user of this machine can read the password of the registry: `chmod 600 {auth}`"))
}

fn show(steps: &mut Steps, source: &ContainerSource, progress: &oci::Progress) {
    match progress {
        oci::Progress::Resolving => steps.begin("resolve", format!("asking what {} leads to", source.reference)),
        oci::Progress::Waiting => steps.begin("wait", "another image is being pulled"),
        oci::Progress::Fetching { done, total } => {
            if !steps.is_at("fetch") {
                steps.begin("fetch", "layers that are not in the store");
            }
            steps.at(*done, *total, "layers that are not in the store");
        }
        oci::Progress::Checking => steps.begin("verify", "digests and sizes of its layers"),
        oci::Progress::Flattening { layers } => steps.begin("flatten", format!("{layers} layers into one tree")),
        oci::Progress::Inspecting => steps.begin("scan", "for secrets, and for programs of root's that everybody can change"),
        oci::Progress::Packing => steps.begin("emit", "packing the erofs volume"),
    }
}

/// What a name leads to now.
pub struct Now {
    pub inputs: Digest,
    /// The registry said that it is the same, and nothing more was asked of it.
    pub is_same_tag: bool,
    /// That the tag moved, or else the image's packages that are not the newest; or why the image cannot be read.
    pub behind: Result<Vec<Change>, Fault>,
    /// Why its packages are not known to be the newest.
    pub unknown: Option<String>,
}

/// What the name leads to now, against the image that is current: of the registry, one request without a body while that is the same.
pub fn news(store: &Store, spec: &ImageSpec, source: &ContainerSource, against: Option<&Digest>) -> Result<Now, Fault> {
    recipe::check(spec)?;
    let options = oci::Options::of(source);
    let read = against.map(|digest| store.manifest(digest)).transpose();
    let current = read.as_ref().ok().and_then(Option::as_ref);
    let there = current.and_then(|manifest| manifest.container.as_ref());
    let told = oci::tag_digest(&source.reference, &options)?;
    let (manifest, is_same_tag) = match there {
        Some(there) if told.as_ref() == Some(&there.top) => (there.manifest.clone(), true),
        _ => (oci::resolve(&source.reference, &options)?.container.manifest, false),
    };
    let moved: Vec<Change> = there.iter().filter_map(|there| moved(there, &source.reference, &manifest)).collect();
    let (behind, unknown) = match current.filter(|_| moved.is_empty()).map(|current| patches::of(store, current)) {
        None => (moved, None),
        Some(Ok(behind)) => (behind, None),
        Some(Err(why)) => (Vec::new(), Some(why)),
    };
    Ok(Now { inputs: oci::inputs(&spec.name, &manifest), is_same_tag, behind: read.map(|_| behind), unknown })
}

/// `registry.example.org/shop/app:1.4 3fa9c1d20b7e -> 91bd77c02a41`
pub fn moved(from: &Container, reference: &str, manifest: &Digest) -> Option<Change> {
    let short = |digest: &Digest| Some(digest.short().to_string());
    (from.manifest != *manifest).then(|| Change { name: reference.to_string(), from: short(&from.manifest), to: short(manifest) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_tag_that_goes_back_is_not_followed() {
        let of = |reference: &str, manifest: &[u8], created: &str| Container {
            reference: reference.to_string(),
            manifest: Digest::of(manifest),
            top: Digest::of(manifest),
            layers: Vec::new(),
            defaults: model::ContainerDefaults::default(),
            distribution: None,
            created: Some(created.to_string()).filter(|text| !text.is_empty()),
        };
        let there = of("r.example/a:1", b"there", "2026-06-01T00:00:00.123456789Z");
        let says = |now: &Container, is_retired| is_older(&there, now, is_retired).unwrap_or_default();
        assert!(says(&of("r.example/a:1", b"old", "2026-05-31T23:00:00Z"), false).contains("it was made 2026-05-31"));
        // One hour to the east.
        assert!(says(&of("r.example/a:1", b"old", "2026-06-01T01:00:00+01:00"), false).contains("it was made"));
        for (created, is_retired, told) in [
            ("2026-06-02T00:00:00Z", true, "it was current before"),
            ("", true, "it was current before"),
            ("2026-06-01T00:00:00.123456789Z", false, ""),
            ("2026-06-02T00:00:00Z", false, ""),
            ("yesterday", false, ""),
        ] {
            assert_eq!(says(&of("r.example/a:1", b"other", created), is_retired), told, "{created}");
        }
        assert_eq!(says(&there, true), "", "it did not move");
        assert_eq!(says(&of("r.example/a:0", b"old", "2020-01-01T00:00:00Z"), true), "", "another tag was asked for");
    }

    #[test]
    fn a_password_that_everybody_can_read_is_noted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let auth = Some(file.path().display().to_string());
        let source = ContainerSource { reference: "r.example/a:1".into(), auth, ca: None, plain_http: false };
        for (mode, is) in [(0o600, false), (0o640, false), (0o644, true)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(exposed(&source).is_some_and(|note| note.contains("chmod 600")), is, "{mode:o}");
        }
    }
}
