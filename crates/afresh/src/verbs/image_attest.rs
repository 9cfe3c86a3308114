//! `image attest`, `image verify`: attestations of an image, made and checked.

use super::image_key::KeyArgs;
use super::lookup::named_object;
use super::progress::{rounded, total, with_progress};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use attest::{Key, Policy, Verified};
use clap::Args;
use model::{Fault, ImageName};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use store::{Kind, Manifest, Store};

/// Sign an image's bill of materials and provenance, or an artifact's source
#[derive(Args, Debug)]
#[command(
    after_help = "The bill of materials is CycloneDX, the provenance SLSA in a DSSE envelope.\n\nExample:\n  sudo afresh image attest base --key ./release.key"
)]
pub struct Attest {
    /// An image's name for its current image, or the first digits of an image or artifact
    #[arg(value_name = "DIGEST|NAME")]
    pub image: String,
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Verify an image, an artifact or an emitted disk: bytes and signatures
#[derive(Args, Debug)]
#[command(
    after_help = "Of an image or disk it checks the bytes, the signature, the bill of materials and the provenance, with --rebuild also that it can be \
                  reproduced. Of an artifact it checks the bytes, the signature and the source.\n\n\
                  Trusted keys are those of --trust, or of the policy (`afresh image policy`), or this data directory's own.\n\nExample:\n  sudo afresh image verify base --rebuild"
)]
pub struct Verify {
    /// An image's name, the first digits of an image or artifact, or the file of a disk
    #[arg(value_name = "DIGEST|NAME|DISK")]
    pub image: String,
    /// Build it again from its lock and the package store, and show every difference
    #[arg(long)]
    pub rebuild: bool,
    /// Keep temporary files in this directory and only read the data directory
    #[arg(long, value_name = "DIR", requires = "rebuild")]
    pub work: Option<PathBuf>,
    /// Trust only this public key (repeatable)
    #[arg(long, value_name = "HEX")]
    pub trust: Vec<String>,
}

impl Attest {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let began = Instant::now();
        let store = context.images()?;
        let manifest = named_object(&store, &self.image)?;
        let key = self.key.key(&store)?;
        if manifest.kind == Kind::Artifact {
            let is_there = !attest::attest_artifact(&store, &manifest, &key)?;
            tell_attested(context, &store, &manifest, &key, is_there, began);
            return Ok(Exit::Succeeded);
        }
        let policy = Policy { require: true, trusted: vec![key.public()], ..Policy::default() };
        let is_there = attest::verify_whole(&context.layout, &manifest.digest, &policy).is_ok();
        if !is_there {
            attest::attest_image(&store, &manifest, &key)?;
        }
        tell_attested(context, &store, &manifest, &key, is_there, began);
        Ok(Exit::Succeeded)
    }
}

fn tell_attested(context: &Context, store: &Store, manifest: &Manifest, key: &Key, is_there: bool, began: Instant) {
    let (did, at, seconds) =
        (if is_there { "nothing" } else { "attested" }, store.attested(&manifest.digest), rounded(began.elapsed().as_secs_f64()));
    if context.json {
        show::json(&json!({
            "image": manifest.name, "digest": manifest.digest, "key": key.public(), "did": did, "path": at, "seconds": { "attest": seconds },
        }));
    } else {
        let did = if is_there { "was already signed by this key" } else { "signed" };
        show::line(format!(
            "{} {} {} {did}: key {}, in {} ({seconds:.1} s)",
            kind(manifest),
            manifest.name,
            manifest.digest.short(),
            key.public(),
            at.display()
        ));
    }
}

fn kind(manifest: &Manifest) -> &'static str {
    match manifest.kind {
        Kind::Image => "image",
        Kind::Artifact => "artifact",
        Kind::Base => "base",
    }
}

impl Verify {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let store = match &self.work {
            Some(work) => Store::open_to_read(&context.layout, &std::path::absolute(work).unwrap_or_else(|_| work.clone()))?,
            None => context.images()?,
        };
        if let Some(disk) = self.disk(&store) {
            return super::image_disk::verify(context, &store, disk, &self.policy(context, &store)?, self.rebuild);
        }
        let manifest = named_object(&store, &self.image)?;
        let began = Instant::now();
        store.verify(&manifest.digest)?;
        let policy = self.policy(context, &store)?;
        if manifest.kind == Kind::Artifact {
            return self.artifact(context, &store, &manifest, &policy);
        }
        let verified = attest::verify_whole(&context.layout, &manifest.digest, &policy)?;
        let statement = statement(&store, &manifest)?;
        let checked = rounded(began.elapsed().as_secs_f64());
        let (mut out, mut is_same) = (facts(&manifest, &verified, &statement), true);
        if !context.json {
            tell(&manifest, &verified, &statement, checked);
        }
        out["seconds"] = json!({ "check": checked });
        if self.rebuild {
            let name = ImageName::new(manifest.name.clone()).map_err(|e| Fault::ours("bad-name", e.to_string()))?;
            let (rebuilt, seconds) = with_progress(context, &name, |tell| bake::verify_rebuild(&store, &manifest.digest, tell))?;
            is_same = rebuilt.is_same();
            out["again"] = json!(rebuilt.again);
            out["is_same"] = json!(is_same);
            out["differences"] = json!(rebuilt.differences);
            out["other_tools"] = json!(rebuilt.tools);
            seconds.iter().for_each(|(step, s)| out["seconds"][step] = json!(s));
            if !context.json {
                rebuilt.differences.iter().for_each(|d| show::line(format!("{}: {}", d.path.display(), d.what)));
                rebuilt
                    .tools
                    .iter()
                    .for_each(|(name, then, now)| show::line(format!("it was made with {name} {then}; this machine has {now}")));
                if is_same {
                    show::line(format!("built again: the same bytes ({:.1} s)", total(&seconds)));
                }
            }
        }
        if is_same {
            if context.json {
                show::json(&out);
            }
            return Ok(Exit::Succeeded);
        }
        let count = out["differences"].as_array().map_or(0, Vec::len);
        if context.json {
            show::json(&out);
        }
        Err(Fault::world(
            "not-reproducible",
            format!(
                "built again from its lock it is a different image: {}, {} differ",
                out["again"].as_str().unwrap_or_default(),
                show::times(count as u64, "path")
            ),
        )
        .hint("a script of the recipe or another version of a tool gave a different result; the paths say where")
        .again(false)
        .into())
    }

    /// The name of an image goes before a file that happens to be called so.
    fn disk(&self, store: &Store) -> Option<&Path> {
        let is_image = ImageName::new(self.image.as_str()).is_ok_and(|name| matches!(store.current(&name), Ok(Some(_))));
        Some(Path::new(&self.image)).filter(|path| !is_image && path.is_file())
    }

    fn artifact(&self, context: &Context, store: &Store, manifest: &Manifest, policy: &Policy) -> Result<Exit, Failure> {
        if self.rebuild {
            return Err(Fault::yours("not-an-image", format!("{} is an artifact: it is not built, but packed", manifest.digest.short()))
                .hint("pack it again with `afresh artifact pack PATH`: the same content gives the same digest")
                .into());
        }
        let asked = Policy { artifacts: true, ..policy.clone() };
        let verified = attest::verify_artifact(store.layout(), &manifest.digest, &asked)?;
        let by = if let Verified::By(key) = &verified { Some(key) } else { None };
        if context.json {
            show::json(&json!({ "artifact": manifest.name, "digest": manifest.digest, "signed_by": by, "source": manifest.source }));
            return Ok(Exit::Succeeded);
        }
        show::line(format!("artifact {} {}: its bytes match its digest", manifest.name, manifest.digest.short()));
        by.iter().for_each(|key| show::line(format!("signed by {key}")));
        manifest.source.iter().for_each(|s| show::line(format!("packed from {}, {}", s.path, show::times(s.files, "file"))));
        Ok(Exit::Succeeded)
    }

    fn policy(&self, context: &Context, store: &Store) -> Result<Policy, Fault> {
        if let Some(bad) = self.trust.iter().find(|k| !attest::is_public_key(k)) {
            return Err(Fault::yours("bad-key", format!("{bad:?} is not a public key")).hint("64 hex digits are expected"));
        }
        if !self.trust.is_empty() {
            return Ok(Policy {
                artifacts: true,
                require: true,
                trusted: self.trust.iter().map(|k| k.to_lowercase()).collect(),
                ..Policy::default()
            });
        }
        match attest::read_policy(&context.layout)? {
            Some(policy) => Ok(policy),
            None => {
                Ok(Policy { artifacts: true, require: true, trusted: attest::own_key(store)?.into_iter().collect(), ..Policy::default() })
            }
        }
    }
}

/// The signed statement, decoded. It was checked already; an image that nobody signed has none.
fn statement(store: &Store, manifest: &Manifest) -> Result<Value, Fault> {
    let at = store.attested(&manifest.digest);
    let bill = read(&at.join("sbom.cdx.json"))?;
    let envelope = read(&at.join("provenance.dsse.json"))?;
    let lock = store.lock_of(&manifest.digest).map(|l| l.digest()).ok();
    Ok(json!({
        "components": bill["components"].as_array().into_iter().flatten().filter(|c| c["type"] == "library").count(),
        "bill_form": format!("{} {}", bill["bomFormat"].as_str().unwrap_or("none"), bill["specVersion"].as_str().unwrap_or("")).trim(),
        "payload_type": envelope["payloadType"],
        "lock": lock,
    }))
}

fn read(path: &Path) -> Result<Value, Fault> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Fault::world("damaged", format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(e) => Err(crate::failure::io("cannot read", path, &e)),
    }
}

fn facts(manifest: &Manifest, verified: &Verified, statement: &Value) -> Value {
    let by = if let Verified::By(key) = verified { Some(key) } else { None };
    json!({
        "image": manifest.name, "digest": manifest.digest, "packages": manifest.packages.len(), "signed_by": by,
        "sbom": { "form": statement["bill_form"], "components": statement["components"] },
        "provenance": { "type": statement["payload_type"], "lock": statement["lock"] }, "notes": manifest.notes,
    })
}

fn tell(manifest: &Manifest, verified: &Verified, statement: &Value, seconds: f64) {
    show::line(format!("image {} {}: its bytes match its digest ({seconds:.1} s)", manifest.name, manifest.digest.short()));
    match verified {
        Verified::By(key) => show::line(format!("signed by {key}")),
        Verified::Unsigned => show::line("not signed, and the policy does not require it"),
    }
    let text = |key: &str| statement[key].as_str().unwrap_or("none").to_string();
    show::line(format!(
        "bill of materials: {}, {} components, the packages recorded in the store",
        text("bill_form"),
        statement["components"]
    ));
    let from = match &manifest.container {
        Some(container) => format!("{} {}", container.reference, container.manifest),
        None => format!("lock {}", text("lock")),
    };
    show::line(format!("provenance: {}, from {from}", text("payload_type")));
    manifest.notes.iter().for_each(|note| show::line(format!("note: {note}")));
}
