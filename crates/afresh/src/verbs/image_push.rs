//! `image push`: an image into a registry, with what is said of it.

use super::image_emit::{meta, tell_without_command};
use super::lookup::named;
use super::progress::{rounded, total, with_progress};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use bake::Progress;
use clap::Args;
use emit::RegistryOptions;
use model::{Fault, ImageName, Reference};
use serde_json::json;
use std::path::PathBuf;

/// Push an image to a registry, with its bill of materials and provenance
#[derive(Args, Debug)]
#[command(
    after_help = "The image has one layer, without code or command of a service; a container image keeps what it says of itself. Bill of materials (CycloneDX) and provenance (SLSA in a signed DSSE envelope) refer to it \
                  (OCI referrers; registries that do not list those get the tag sha256-DIGEST).\n\nExample:\n  sudo afresh image push base registry.example.org/base:2026-11-28 --auth /etc/afresh/registry.json"
)]
pub struct Push {
    /// A digest's first digits, or a name for its current image
    #[arg(value_name = "DIGEST|NAME")]
    pub image: String,
    /// Where to: REGISTRY/NAME:TAG
    #[arg(value_name = "REFERENCE")]
    pub to: String,
    /// Take the password from this file, as `skopeo login --authfile` writes it
    #[arg(long, value_name = "FILE")]
    pub auth: Option<PathBuf>,
    /// Trust the authorities in this file too
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Speak to the registry without TLS
    #[arg(long)]
    pub plain_http: bool,
}

impl Push {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let reference: Reference = self.to.parse()?;
        let store = context.images()?;
        let manifest = named(&store, &self.image)?;
        // An image that this machine's policy refuses is not passed on either.
        let name = ImageName::new(manifest.name.clone()).map_err(|e| Fault::ours("bad-name", e.to_string()))?;
        attest::admit(&context.layout, &attest::Use::Root { image: &name, begins: true }, &manifest.digest)?;
        let options = RegistryOptions { auth: self.auth, ca: self.ca, plain_http: self.plain_http, ..RegistryOptions::default() };
        let meta = meta(&store, &manifest, None);
        let (pushed, seconds) = with_progress(context, &name, |tell| {
            tell(Progress { step: "push".to_string(), done: 0, total: 0, text: "packing its layer".to_string() });
            emit::push(&store, &manifest, &reference, &options, &meta, &mut |done, total| {
                tell(Progress { step: "push".to_string(), done, total, text: "blobs that are not in the registry".to_string() });
            })
        })?;
        if context.json {
            show::json(&json!({
                "image": manifest.name, "digest": manifest.digest, "reference": self.to, "manifest": pushed.manifest, "referrers": pushed.referrers,
                "sent": pushed.sent, "sent_bytes": pushed.sent_bytes, "seconds": { "push": rounded(total(&seconds)) },
            }));
            return Ok(Exit::Succeeded);
        }
        let sent = format!("{} sent, {}", show::times(pushed.sent as u64, "blob"), show::bytes(pushed.sent_bytes));
        show::line(format!(
            "image {} {} is {} at {}: {sent} ({:.1} s)",
            manifest.name,
            manifest.digest.short(),
            self.to,
            pushed.manifest,
            total(&seconds)
        ));
        tell_without_command(&meta);
        pushed.referrers.iter().for_each(|one| show::line(format!("  said of it: {one}")));
        Ok(Exit::Succeeded)
    }
}
