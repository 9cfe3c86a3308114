//! From a name to an object in the store.
//!
//! ```text
//! name ─▶ manifest (index: this machine's) ─▶ config ─▶ an object of this manifest is there? ─▶ nothing
//!           └▶ layers that are not kept, into a work place ─▶ every layer read once: digests, limits, what it hides
//!                └▶ flattened ─▶ erofs ─▶ store; only then are the layers kept, for the next image that has them
//! ```
//!
//! Nothing is believed before its digest was compared: the manifest by the name's digest or the index, config and layers by the manifest,
//! unpacked layers by the config. Whatever fails on the way leaves nothing behind.

use crate::accounts;
use crate::cosign;
use crate::cosign::CosignKey;
use crate::credentials;
use crate::document;
use crate::document::{Descriptor, Image, Top, architecture, choose};
use crate::fetch;
use crate::flatten::{Flattened, Tree};
use crate::layer::{Layer, scan_all};
use crate::layout::Layout;
use crate::limits::Limits;
use crate::packages;
use crate::registry::Registry;
use crate::source::Blobs;
use crate::trouble::{bad, too_large};
use crate::workdir;
use disk::files;
use disk::within::Root;
use model::{Container, ContainerDefaults, ContainerSource, Digest, Fault, ImageName, ImageSource, Reference};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;
use store::erofs;
use store::program;
use store::{Did, Kind, Manifest, Store};

/// Grows when the same image gives other bytes.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// With passwords, as Docker keeps it.
    pub auth: Option<PathBuf>,
    /// An authority that is trusted beside those of the system.
    pub ca: Option<PathBuf>,
    /// The registry may be spoken to without TLS.
    pub plain_http: bool,
    pub limits: Limits,
    /// Pull also what is there.
    pub fresh: bool,
    /// Keys of cosign: an image or archive that none of them signed is refused.
    pub keys: Vec<CosignKey>,
}

impl Options {
    pub fn of(source: &ContainerSource) -> Options {
        let path = |text: &Option<String>| text.as_ref().map(PathBuf::from);
        Options { auth: path(&source.auth), ca: path(&source.ca), plain_http: source.plain_http, ..Options::default() }
    }
}

/// How far a pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Resolving,
    Waiting,
    /// Bytes of all layers that are not there.
    Fetching {
        done: u64,
        total: u64,
    },
    Checking,
    Flattening {
        layers: usize,
    },
    /// Its tree, before it is packed.
    Inspecting,
    Packing,
}

#[derive(Clone, Debug)]
pub struct Pulled {
    pub manifest: Manifest,
    pub did: Did,
    /// Layers that were there already.
    pub kept_layers: usize,
}

/// What a name leads to now.
pub struct Resolved {
    from: Box<dyn Blobs>,
    image: Image,
    diff_ids: Vec<Digest>,
    pub container: Container,
    /// That it comes from; None: it is on this machine.
    registry: Option<String>,
}

impl Resolved {
    pub fn defaults(&self) -> &ContainerDefaults {
        &self.container.defaults
    }
}

/// Of all that decides an object's bytes. Images of two names are two objects, each with the name that its services call it.
pub fn inputs(name: &ImageName, manifest: &Digest) -> Digest {
    files::digest_of(format!("container {FORMAT} {name} {manifest} {:?}\n", erofs::IMAGE_PACK).as_bytes())
}

pub fn registry(reference: &Reference, options: &Options) -> Result<Registry, Fault> {
    let auth = options.auth.as_deref();
    let who = auth.map(|path| credentials::load(path, &reference.registry, &reference.repository)).transpose()?.flatten();
    Registry::new(reference, who, options.ca.as_deref(), options.plain_http, &options.limits)
}

/// What a registry says its name leads to, for one request without a body. None: it does not say, or it is no registry. It is believed for
/// nothing but that an image is still the same.
pub fn tag_digest(text: &str, options: &Options) -> Result<Option<Digest>, Fault> {
    match text.parse::<ImageSource>()? {
        ImageSource::Registry(reference) => registry(&reference, options)?.top_digest(),
        ImageSource::Layout(..) | ImageSource::Archive(..) => Ok(None),
    }
}

/// Asks for manifest and config, and for no layer.
pub fn resolve(text: &str, options: &Options) -> Result<Resolved, Fault> {
    let limits = &options.limits;
    let (mut from, registry): (Box<dyn Blobs>, Option<String>) = match text.parse::<ImageSource>()? {
        ImageSource::Layout(at, name) => (Box::new(Layout::directory(&at, name, limits)?), None),
        ImageSource::Archive(at, name) => (Box::new(Layout::archive(&at, name, limits)?), None),
        ImageSource::Registry(reference) => (Box::new(registry(&reference, options)?), Some(reference.registry)),
    };
    let (bytes, told) = from.top()?;
    let top = files::digest_of(&bytes);
    if let Some(told) = told.filter(|told| *told != top) {
        return Err(wrong("manifest", &told, &top));
    }
    let arch = architecture();
    let (manifest, image) = match document::top(&bytes, limits)? {
        Top::Image(image) => (top.clone(), image),
        Top::Index(all) => {
            let one = choose(&all, arch)?;
            document::document_size(one, limits)?;
            let bytes = from.manifest(one)?;
            let found = files::digest_of(&bytes);
            if found != one.digest {
                return Err(wrong("manifest", &one.digest, &found));
            }
            match document::top(&bytes, limits)? {
                Top::Image(image) => (found, image),
                Top::Index(_) => return Err(bad("bad-image", "the index of the image lists another index for this machine")),
            }
        }
    };
    let config = fetch::document(from.as_mut(), &image.config, limits)?;
    let document::Config { diff_ids, defaults, created } = document::config(&config, &image, arch)?;
    let layers = image.layers.iter().map(|l| l.digest.clone()).collect();
    let container = Container { reference: text.to_string(), manifest, top, layers, defaults, distribution: None, created };
    Ok(Resolved { from, image, diff_ids, container, registry })
}

/// Two images may have the same tree and start other commands: each is an object of its own.
fn volume_id(inputs: &Digest) -> [u8; 16] {
    let mut id = [0u8; 16];
    for (byte, pair) in id.iter_mut().zip(inputs.hex().as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()).unwrap_or(0);
    }
    id
}

fn wrong(what: &str, told: &Digest, found: &Digest) -> Fault {
    bad("wrong-digest", format!("what came for the {what} {told} has the digest {found}"))
        .hint("the registry, or somebody on the way, changed it; nothing of it was kept")
}

/// The tree of an image that nobody has used yet.
pub struct Unpacked<'a> {
    pub root: &'a Path,
    layers: &'a [Layer],
    limits: &'a Limits,
}

impl Unpacked<'_> {
    /// The uppermost layer that brings this path.
    pub fn layer_of(&self, path: &str) -> Option<&Digest> {
        let wanted = Path::new(path.trim_start_matches('/'));
        let brings = |layer: &&Layer| crate::layer::brings(layer, wanted, self.limits).unwrap_or(false);
        self.layers.iter().rev().find(brings).map(|layer| &layer.digest)
    }
}

/// Judges a tree before it becomes an image, and says what is to be noted of it.
pub type Inspect<'a> = &'a mut dyn FnMut(&Unpacked) -> Result<Vec<String>, Fault>;

/// Pulls an image into the store under the name of its recipe. The same manifest again fetches and writes nothing.
pub fn pull(
    store: &Store,
    name: &ImageName,
    text: &str,
    options: &Options,
    inspect: Inspect,
    tell: &mut dyn FnMut(Progress),
) -> Result<Pulled, Fault> {
    program::need_root("unpacking a container image")?;
    program::need(&[erofs::TOOL, "setpriv", "timeout", "prlimit"])?;
    tell(Progress::Resolving);
    let resolved = resolve(text, options)?;
    let signed_by = signed_by(text, &resolved, options)?;
    let known = || if options.fresh { Ok(None) } else { known(store, name, &resolved) };
    if let Some(there) = known()? {
        return Ok(there);
    }
    // By name and manifest: another's registry may be slow, also one that serves the same manifest, and nobody waits for that.
    let own = inputs(name, &resolved.container.manifest);
    let _alone = store.lock(&format!("pull-{}", own.short()), || tell(Progress::Waiting))?;
    if let Some(there) = known()? {
        return Ok(there);
    }
    Pull { store, name, limits: options.limits.clone(), seconds: Vec::new(), signed_by }.run(resolved, inspect, tell)
}

/// Also of an image that is there: the keys that count may be others by now.
fn signed_by(text: &str, resolved: &Resolved, options: &Options) -> Result<Option<String>, Fault> {
    if options.keys.is_empty() {
        return Ok(None);
    }
    let ImageSource::Registry(reference) = text.parse()? else { return Err(cosign::nowhere(text)) };
    let mut digests = vec![&resolved.container.manifest, &resolved.container.top];
    digests.dedup();
    cosign::must_be_signed(&mut registry(&reference, options)?, &reference, &digests, &options.keys, &options.limits)
        .map(|key| Some(key.line()))
}

/// The object of this manifest, if it is there; what the name was is written again, as another may have led here.
fn known(store: &Store, name: &ImageName, resolved: &Resolved) -> Result<Option<Pulled>, Fault> {
    let Some(mut manifest) = store.from_inputs(&inputs(name, &resolved.container.manifest))? else { return Ok(None) };
    if let Some(container) = &mut manifest.container
        && (container.reference != resolved.container.reference || container.top != resolved.container.top)
    {
        container.reference.clone_from(&resolved.container.reference);
        container.top.clone_from(&resolved.container.top);
        store.note(&manifest)?;
    }
    let kept_layers = resolved.image.layers.len();
    Ok(Some(Pulled { manifest, did: Did::Nothing, kept_layers }))
}

struct Pull<'a> {
    store: &'a Store,
    name: &'a ImageName,
    limits: Limits,
    seconds: Vec<(String, f64)>,
    /// The key of cosign.
    signed_by: Option<String>,
}

impl Pull<'_> {
    fn timed<T>(&mut self, step: &str, act: impl FnOnce(&Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let since = Instant::now();
        let done = act(self)?;
        self.seconds.push((step.to_string(), program::seconds_since(since)));
        Ok(done)
    }

    fn run(mut self, mut resolved: Resolved, inspect: Inspect, tell: &mut dyn FnMut(Progress)) -> Result<Pulled, Fault> {
        let work = self.store.work("pull")?;
        let (layers, kept_layers) = self.timed("fetch", |pull| pull.fetch(&mut resolved, work.path(), tell))?;
        self.limits.until = Instant::now().checked_add(self.limits.unpack);
        tell(Progress::Checking);
        let scans = self.timed("check", |pull| scan_all(&layers, &pull.limits))?;
        let bytes: u64 = scans.iter().map(|s| s.bytes + 4096 * s.entries).sum();
        files::want_space(work.path(), bytes * 2, "unpacking the image")?;
        files::want_files(work.path(), scans.iter().map(|s| s.entries).sum(), "the image")?;

        tell(Progress::Flattening { layers: layers.len() });
        let at = work.path().join("root");
        let workdir = resolved.container.defaults.workdir.as_deref();
        let flat = self.timed("flatten", |pull| {
            std::fs::create_dir(&at).map_err(files::at("cannot make", &at))?;
            let root = Root::open(&at)?;
            let mut tree = Tree::begin(&root)?;
            layers.iter().zip(&scans).try_for_each(|(layer, scan)| tree.apply(layer, scan, &pull.limits))?;
            workdir::check(&root, workdir)?;
            tree.finish()
        })?;
        tell(Progress::Inspecting);
        let limits = self.limits.clone();
        let noted = self.timed("scan", |_| inspect(&Unpacked { root: &at, layers: &layers, limits: &limits }))?;
        tell(Progress::Packing);
        let out = work.path().join("image.erofs");
        let epoch = u64::try_from(flat.newest).unwrap_or(0);
        let options = erofs::Options { id: Some(volume_id(&inputs(self.name, &resolved.container.manifest))), ..erofs::of_image(epoch) };
        let (digest, bytes) = self.timed("pack", |pull| {
            let packer = erofs::bounded(flat.entries, pull.limits.left()?)?;
            erofs::make(packer, &at, &out, options).map_err(|f| if f.code == erofs::TOO_LARGE { too_large(f.message) } else { f })
        })?;
        let root = Root::open(&at)?;
        let container = &mut resolved.container;
        container.defaults.ids = accounts::ids(&root, container.defaults.user.as_deref());
        container.distribution = packages::distribution(&root);
        let mut manifest = Manifest { packages: packages::packages(&root)?, ..self.manifest(&resolved, digest, bytes, &flat) };
        manifest.notes.extend(noted);
        self.store.put(&out, &manifest)?;
        if let Some(registry) = &resolved.registry {
            self.keep(registry, &layers)?;
        }
        Ok(Pulled { manifest, did: Did::Baked, kept_layers })
    }

    /// Every layer into the work place, those that are kept as another name of the same file: nobody can take it away meanwhile.
    fn fetch(&self, resolved: &mut Resolved, work: &Path, tell: &mut dyn FnMut(Progress)) -> Result<(Vec<Layer>, usize), Fault> {
        let mut layers: Vec<Layer> = Vec::new();
        let (mut missing, mut seen) = (Vec::new(), BTreeSet::new());
        let Resolved { from, image, diff_ids, registry, .. } = resolved;
        for (of, diff_id) in image.layers.iter().zip(&*diff_ids) {
            let at = work.join(of.digest.hex());
            layers.push(Layer { digest: of.digest.clone(), diff_id: diff_id.clone(), at: at.clone(), bytes: of.size });
            if seen.insert(&of.digest) && !registry.as_ref().is_some_and(|registry| self.kept(registry, from.as_mut(), of, &at)) {
                missing.push((of, at));
            }
        }
        let kept = seen.len() - missing.len();
        let total = missing.iter().map(|(of, _)| of.size).sum();
        files::want_space(work, total, "the layers of the image")?;
        let (mut before, begun) = (0, Instant::now());
        for (of, at) in missing {
            let fetch = self.limits.fetch.saturating_sub(begun.elapsed());
            if fetch.is_zero() {
                let text =
                    format!("the layers of the image did not come within {} s: {before} of {total} bytes did", self.limits.fetch.as_secs());
                return Err(Fault::world("blob-truncated", text).hint("try again; nothing of it was kept"));
            }
            let limits = Limits { fetch, ..self.limits.clone() };
            fetch::layer(from.as_mut(), of, &at, &limits, &mut |have| tell(Progress::Fetching { done: before + have, total }))?;
            before += of.size;
        }
        Ok((layers, kept))
    }

    /// A kept layer that was damaged is fetched again, and so is one that its registry does not offer for this image: a digest is no secret,
    /// and must not give access to what another's password fetched.
    fn kept(&self, registry: &str, from: &mut dyn Blobs, of: &Descriptor, at: &Path) -> bool {
        let kept = self.store.layer(registry, &of.digest);
        let linked = files::exists(&kept) && from.offers(of) && std::fs::hard_link(kept, at).is_ok();
        let is_whole = linked && files::digest_file(at).is_ok_and(|(found, bytes)| found == of.digest && bytes == of.size);
        if linked && !is_whole {
            // It is fetched again below; what cannot be removed is an error there.
            let _ = files::remove_file(at);
        }
        is_whole
    }

    fn keep(&self, registry: &str, layers: &[Layer]) -> Result<(), Fault> {
        let dir = self.store.dir("layers");
        files::make_dir(&dir)?;
        for layer in layers {
            // The same layer may be there twice in one image.
            if files::exists(&layer.at) {
                let target = self.store.layer(registry, &layer.digest);
                std::fs::rename(&layer.at, &target).map_err(files::at("cannot rename to", &target))?;
            }
        }
        files::sync_dir(&dir)
    }

    fn manifest(&self, resolved: &Resolved, digest: Digest, bytes: u64, flat: &Flattened) -> Manifest {
        let left_out = flat
            .left_out
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(what, count)| format!("{count} {what} of the container image were left out"));
        Manifest {
            kind: Kind::Image,
            name: self.name.to_string(),
            digest,
            bytes,
            packages: Vec::new(),
            recipe: None,
            inputs: inputs(self.name, &resolved.container.manifest),
            made: files::now(),
            tools: BTreeMap::from([(erofs::TOOL.to_string(), program::version_of(erofs::TOOL, &["-V"]))]),
            seconds: self.seconds.clone(),
            notes: left_out.chain(self.signed_by.iter().map(|key| format!("signed with cosign by {key}"))).collect(),
            source: None,
            container: Some(resolved.container.clone()),
        }
    }
}
