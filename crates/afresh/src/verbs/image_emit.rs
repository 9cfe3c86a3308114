//! `image emit`, `image boot`: an image in other formats, and a test that a disk boots to an answering service.

use super::image_key::KeyArgs;
use super::lookup::{self, named};
use super::progress::{rounded, total, with_progress};
use super::units::{millis, release_number};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::show;
use api::control::ReleaseRow;
use clap::Args;
use emit::{Artifact, DiskInputs, DiskMade, Emitted, Meta, Which, boot};
use model::{Digest, Drain, Fault, Health, ImageName, Limits, Network, Release, ServiceName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{Manifest, Store};

/// Write an image as an OCI layout or as a bootable disk
#[derive(Args, Debug)]
#[command(
    after_help = "An OCI layout is for container tools, a disk for machines, clouds and QEMU.\n\nA disk has an EFI system partition, the image and its verity tree, and the service's code with its own. Kernel and boot tools are \
                  packages of the image's release with a lock of their own; a disk from the same image, code and lock has the same bytes. Its provenance \
                  is signed beside it, in FILE.attested; `afresh image verify FILE` checks that.\n\n\
                  Example:\n  sudo afresh image emit base --disk web.disk --service web\n  sudo afresh image emit base --oci ./base-oci"
)]
pub struct Emit {
    /// A digest's first digits, or a name for its current image
    #[arg(value_name = "DIGEST|NAME")]
    pub image: String,
    /// Write an OCI image layout into this directory
    #[arg(long, value_name = "DIR", required_unless_present = "disk")]
    pub oci: Option<PathBuf>,
    /// Write a disk image into this file
    #[arg(long, value_name = "FILE", conflicts_with = "oci")]
    pub disk: Option<PathBuf>,
    /// Include this code: a directory, a tarball, or the first digits of an artifact
    #[arg(long, value_name = "PATH|DIGEST")]
    pub artifact: Option<String>,
    /// Write the code to a disk of its own
    #[arg(long, value_name = "FILE", requires = "disk")]
    pub artifact_disk: Option<PathBuf>,
    /// Run this release of the control plane, such as web@r7
    #[arg(long, value_name = "SERVICE@rN", conflicts_with_all = ["service", "run"])]
    pub release: Option<String>,
    /// Run this service of the service file
    #[arg(long, value_name = "NAME", conflicts_with = "run")]
    pub service: Option<ServiceName>,
    /// The port of COMMAND
    #[arg(long, value_name = "PORT", requires = "run")]
    pub port: Option<u16>,
    /// Use the newest kernel and boot tools; by default those of the last disk of this suite
    #[arg(long, requires = "disk")]
    pub fresh_kit: bool,
    /// Use the kernel and boot tools of this lock: a file or its first digits
    #[arg(long, value_name = "LOCK", requires = "disk", conflicts_with = "fresh_kit")]
    pub kit: Option<String>,
    #[command(flatten)]
    pub key: KeyArgs,
    /// Append these words to the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", requires = "disk", hide_default_value = true)]
    pub cmdline: String,
    /// Run this command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub run: Vec<String>,
}

/// Boot a disk in QEMU until its service answers a GET with 2xx or 3xx
#[derive(Args, Debug)]
#[command(after_help = "KVM is not used.\n\nExample:\n  afresh image boot web.disk --path /hello --within 120s")]
pub struct Boot {
    pub disk: PathBuf,
    /// The disk with the code, if it has one of its own
    #[arg(long, value_name = "FILE")]
    pub artifact: Option<PathBuf>,
    /// The service's port in the virtual machine
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// The path to GET
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub path: String,
    /// The time limit from the start of the machine to the response
    #[arg(long, value_name = "TIME", value_parser = millis, default_value = "120s")]
    pub within: u64,
    /// Memory of the machine in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(128..=65_536))]
    pub memory: u32,
    /// Press the power button afterwards; the machine must end within this time
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub off_within: Option<u64>,
    /// Write the machine's console to this file
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
}

/// A disk that was written, and its attestation.
struct Disk {
    emitted: Emitted,
    kernel: String,
    kit: store::Lock,
    kit_path: PathBuf,
    attested: PathBuf,
    key: String,
}

/// What the tree of an image does not say.
pub fn meta<'a>(store: &Store, manifest: &'a Manifest, release: Option<&'a Release>) -> Meta<'a> {
    let mut annotations = BTreeMap::from([("afresh.image".to_string(), manifest.digest.to_string())]);
    if let Ok(lock) = store.lock_of(&manifest.digest) {
        annotations.insert("afresh.lock".to_string(), lock.digest().to_string());
    }
    let name = release.map_or_else(|| format!("{}:{}", manifest.name, manifest.digest.short()), |r| format!("{}:r{}", r.service, r.number));
    let defaults = manifest.container.as_ref().map(|container| &container.defaults);
    Meta { name, epoch: EPOCH, release, defaults, annotations, ..Meta::default() }
}

/// Whoever runs it elsewhere would look for the command in vain.
pub fn tell_without_command(meta: &Meta) {
    if meta.release.is_none() && meta.defaults.is_none_or(|image| image.entrypoint.is_empty() && image.cmd.is_empty()) {
        show::note("note: it has no command, variables or port: it is a machine's root without a service; who runs it names the command");
    }
}

impl Emit {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let store = context.images()?;
        let manifest = named(&store, &self.image)?;
        let root = store.path(&manifest.digest)?;
        // An image that this machine's policy refuses is not passed on either.
        let image = ImageName::new(&manifest.name).map_err(|e| Fault::ours("bad-name", e.to_string()))?;
        attest::admit(&context.layout, &attest::Use::Root { image: &image, begins: true }, &manifest.digest)?;
        let release = self.what_runs(context, &manifest)?;
        let artifact = self.artifact(context, &store, release.as_ref())?;
        artifact.iter().try_for_each(|code| attest::admit(&context.layout, &attest::Use::Code, code))?;
        let mut seconds = BTreeMap::new();
        if let Some(out) = &self.disk {
            let disk = self.disk(context, &store, &manifest, artifact.as_ref(), release.as_ref(), &mut seconds)?;
            self.tell_disk(context, &manifest, artifact.as_ref(), release.as_ref(), out, &disk, &seconds);
            return Ok(Exit::Succeeded);
        }
        let Some(out) = &self.oci else {
            return Err(Fault::yours("no-form", "say what to write").hint("--disk FILE or --oci DIR").into());
        };
        if artifact.is_some() && self.artifact.is_some() {
            return Err(Fault::yours("not-in-oci", "an OCI layout holds the machine's root only")
                .hint("leave --artifact out: container tools mount or add the code themselves")
                .into());
        }
        let began = Instant::now();
        let meta = meta(&store, &manifest, release.as_ref());
        let emitted = emit::oci(&root, out, &meta)?;
        seconds.insert("oci".to_string(), rounded(began.elapsed().as_secs_f64()));
        if context.json {
            let mut facts = self.facts(&manifest, "oci", out, &emitted, artifact.as_ref(), release.as_ref());
            facts["seconds"] = json!(seconds);
            show::json(&facts);
        } else {
            tell_emitted(&manifest, "oci", out, &emitted, total(&seconds));
            tell_without_command(&meta);
        }
        Ok(Exit::Succeeded)
    }

    fn disk(
        &self,
        context: &Context,
        store: &Store,
        manifest: &Manifest,
        artifact: Option<&Digest>,
        release: Option<&Release>,
        seconds: &mut BTreeMap<String, f64>,
    ) -> Result<Disk, Failure> {
        let out = self.disk.as_deref().expect("it was asked for");
        let name = ImageName::new(manifest.name.clone()).map_err(|e| Fault::ours("bad-name", e.to_string()))?;
        let lock = store.lock_of(&manifest.digest)?;
        let root = store.path(&manifest.digest)?;
        let code = artifact.map(|digest| store.path(digest)).transpose()?;
        let key = self.key.key(store)?;
        if let (Some(file), None) = (&self.artifact_disk, &code) {
            return Err(Fault::yours("no-artifact", format!("there is no code to put on {}", file.display()))
                .hint("name it with --artifact")
                .into());
        }
        let which = match (&self.kit, self.fresh_kit) {
            (Some(lock), _) => Which::Lock(lock),
            (None, true) => Which::Newest,
            (None, false) => Which::Kept,
        };
        let (kit, took) = with_progress(context, &name, |tell| emit::kit(store, &lock.head.spec, which, tell))?;
        seconds.extend(took);
        let began = Instant::now();
        let (mut place, mut apart) = (None, None);
        match (&code, &self.artifact_disk) {
            (Some(code), Some(file)) => {
                apart = Some((file.as_path(), emit::volume(code, file)?));
                place = Some(Artifact::Apart(code));
            }
            (Some(code), None) => place = Some(Artifact::Inside(code)),
            (None, _) => {}
        }
        let inputs = DiskInputs { root_erofs: &root, kit: &kit.kit, artifact: place, release, cmdline_extra: &self.cmdline };
        let emitted = emit::disk(&inputs, out)?;
        seconds.insert("disk".to_string(), rounded(began.elapsed().as_secs_f64()));
        let began = Instant::now();
        let apart = apart.as_ref().map(|(file, emitted)| (*file, emitted));
        let made = DiskMade { disk: out, emitted: &emitted, apart, image: manifest, artifact, kit: &kit, release, cmdline: &self.cmdline };
        let attested = emit::attest_disk(store, &made, &key)?;
        seconds.insert("attest".to_string(), rounded(began.elapsed().as_secs_f64()));
        let kit_path = store::kit_lock_path(store, &kit.lock.digest());
        Ok(Disk { emitted, kernel: kit.kit.version.clone(), kit: kit.lock, kit_path, attested, key: key.public() })
    }

    fn facts(
        &self,
        manifest: &Manifest,
        kind: &str,
        out: &Path,
        emitted: &Emitted,
        artifact: Option<&Digest>,
        release: Option<&Release>,
    ) -> Value {
        json!({
            "image": manifest.name, "digest": manifest.digest, "kind": kind, "path": out, "emitted": emitted.digest, "bytes": emitted.bytes,
            "parts": emitted.parts, "artifact": artifact, "artifact_disk": self.artifact_disk, "kernel": null, "release": release.map(Release::label),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "what is printed of a disk, each once")]
    fn tell_disk(
        &self,
        context: &Context,
        manifest: &Manifest,
        artifact: Option<&Digest>,
        release: Option<&Release>,
        out: &Path,
        disk: &Disk,
        seconds: &BTreeMap<String, f64>,
    ) {
        let (kit, count) = (disk.kit.digest(), disk.kit.packages.len());
        if context.json {
            let mut facts = self.facts(manifest, "disk", out, &disk.emitted, artifact, release);
            facts["kernel"] = json!(disk.kernel);
            facts["kit"] = json!({ "lock": kit, "path": disk.kit_path, "packages": count, "asked": disk.kit.head.asked });
            facts["attested"] = json!(disk.attested);
            facts["signed_by"] = json!(disk.key);
            facts["seconds"] = json!(seconds);
            show::json(&facts);
            return;
        }
        tell_emitted(manifest, "disk", out, &disk.emitted, total(seconds));
        show::line(format!(
            "kernel {} of kit {}: {}, locked in {}",
            disk.kernel,
            kit.short(),
            show::times(count as u64, "package"),
            disk.kit_path.display()
        ));
        show::line(format!("signed by {}, in {}", disk.key, disk.attested.display()));
    }

    /// What leaves this machine as a file holds no secret, and a machine that starts from it could read none.
    fn what_runs(&self, context: &Context, manifest: &Manifest) -> Result<Option<Release>, Failure> {
        let release = self.named_release(context, manifest)?;
        if let Some(release) = release.as_ref().filter(|release| !release.secrets.is_empty()) {
            let text = format!("{} uses secrets, which are in no image or disk", release.service);
            return Err(Fault::yours("secret-not-emitted", text).hint("name what runs with --run, without secrets").into());
        }
        Ok(release)
    }

    fn named_release(&self, context: &Context, manifest: &Manifest) -> Result<Option<Release>, Failure> {
        if let Some(label) = &self.release {
            return of_release(context, label, manifest).map(Some);
        }
        let bare = || Release {
            service: ServiceName::new("main").expect("it is a good name"),
            number: 0,
            image_name: ImageName::new("image").expect("it is a good name"),
            image: manifest.digest.clone(),
            artifact: None,
            run: self.run.clone(),
            env: BTreeMap::new(),
            secrets: Default::default(),
            user: model::ServiceSpec::default_user(),
            port: self.port,
            health: Health::default(),
            drain: Drain::default(),
            limits: Limits::default(),
            volumes: Vec::new(),
            exclusive: false,
            network: Network::closed(),
            route: None,
            checks: Vec::new(),
            migrate: None,
            container: None,
        };
        let Some(service) = &self.service else {
            return Ok((!self.run.is_empty()).then(bare));
        };
        let file = context.load()?;
        let spec = file.services.get(service).ok_or_else(|| {
            let names: Vec<&str> = file.services.keys().map(ServiceName::as_str).collect();
            Fault::yours("no-such-service", format!("{}: no service {service}", context.file.display()))
                .hint(format!("it has: {}", names.join(", ")))
        })?;
        // Its artifact is found on its own.
        Ok(Some(Release::of(spec, manifest.digest.clone(), None)))
    }

    /// What was named; otherwise what the release or the service file says.
    fn artifact(&self, context: &Context, store: &Store, release: Option<&Release>) -> Result<Option<Digest>, Failure> {
        if let Some(text) = &self.artifact {
            let path = Path::new(text);
            return Ok(Some(if path.exists() { attest::pack(store, path)?.digest } else { lookup::artifact(store, text)? }));
        }
        if let (Some(service), Some(_)) = (&self.service, &self.disk) {
            let file = context.load()?;
            let path = file.services.get(service).and_then(|s| s.artifact.clone());
            return Ok(path.map(|path| attest::pack(store, &context.beside_file(&path))).transpose()?.map(|p| p.digest));
        }
        Ok(release.and_then(|r| r.artifact.clone()))
    }
}

/// Files of a layout are not later than this (2001-09-09), as those of a packed artifact.
const EPOCH: u64 = 1_000_000_000;

fn of_release(context: &Context, label: &str, manifest: &Manifest) -> Result<Release, Failure> {
    let bad =
        || Fault::yours("bad-release", format!("{label:?} is no release")).hint("write it as `afresh release list` does, such as web@r7");
    let (service, number) = label.split_once('@').ok_or_else(bad)?;
    let number = release_number(number).map_err(|_| bad())?;
    let service = ServiceName::new(service).map_err(|_| bad())?;
    let rows: Vec<ReleaseRow> = context.wait(async { Ok(context.api().get(&format!("/v1/releases?service={service}")).await?) })?;
    let found = rows.into_iter().map(|row| row.release).find(|r| r.number == number);
    let release = found.ok_or_else(|| {
        Fault::yours("no-such-release", format!("there is no release {label}")).hint(format!("`afresh release list {service}` lists them"))
    })?;
    if release.image != manifest.digest {
        let text = format!("{label} pins image {}, not {}", release.image.short(), manifest.digest.short());
        return Err(Fault::yours("other-image", text)
            .hint(format!("afresh image emit {} --release {label} ...", release.image.short()))
            .into());
    }
    Ok(release)
}

fn tell_emitted(manifest: &Manifest, kind: &str, out: &Path, emitted: &Emitted, seconds: f64) {
    for part in &emitted.parts {
        let hash = part.root_hash.as_ref().map_or(String::new(), |h| format!(", verity root {h}"));
        show::line(format!("  {}: {} {}{hash}", part.name, part.digest.short(), show::bytes(part.bytes)));
    }
    show::line(format!(
        "image {} {} written as {kind} to {}: {} {} ({seconds:.1} s)",
        manifest.name,
        manifest.digest.short(),
        out.display(),
        emitted.digest,
        show::bytes(emitted.bytes)
    ));
}

impl Boot {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("image boot")?;
        emit::admit_disk(&context.layout, &self.disk, self.artifact.as_deref())?;
        if !context.json {
            show::note(format!("booting {} in QEMU, without KVM: at most {} s", self.disk.display(), self.within / 1000));
        }
        let proof = boot::Proof {
            disk: &self.disk,
            artifact: self.artifact.as_deref(),
            port: self.port,
            path: &self.path,
            within: Duration::from_millis(self.within),
            memory_mib: self.memory,
            off_within: self.off_within.map(Duration::from_millis),
        };
        let report = boot::run(&proof)?;
        if let Some(file) = &self.console {
            std::fs::write(file, &report.console).map_err(|e| failure::io("cannot write", file, &e))?;
        }
        let status = report.answer.lines().next().unwrap_or_default().to_string();
        let body = report.answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if context.json {
            let console = if self.console.is_some() { Value::Null } else { json!(report.console) };
            show::json(&json!({
                "disk": self.disk, "path": self.path, "status": status, "body": body, "console": console,
                "seconds": { "to_http": rounded(report.seconds_to_http), "to_off": report.seconds_to_off.map(rounded) },
            }));
            return Ok(Exit::Succeeded);
        }
        show::line(format!("GET {} was answered {:.1} s after the machine's start: {status}", self.path, report.seconds_to_http));
        show::line(body.trim_end());
        if let Some(seconds) = report.seconds_to_off {
            show::line(format!("its power button ended it in {seconds:.1} s"));
        }
        Ok(Exit::Succeeded)
    }
}
