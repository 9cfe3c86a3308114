//! `artifact`: one version of a service's code, packed.

use super::image_key::KeyArgs;
use super::lists::list;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::ArtifactRow;
use clap::{Args, Subcommand};
use model::Fault;
use serde_json::json;
use std::path::PathBuf;
use store::Did;

/// Pack, list or show artifacts: packed versions of a service's code
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh artifact pack ./build\n  afresh artifact list")]
pub struct ArtifactVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Pack(Pack),
    List(List),
    Show(Show),
}

impl ArtifactVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Pack(verb) => verb.run(context),
            What::List(verb) => verb.run(context),
            What::Show(verb) => verb.run(context),
        }
    }
}

/// List artifacts and the releases that use them, newest first
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh artifact list")]
struct List {}

impl List {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let now = show::now();
        list(context, "/v1/artifacts", &["artifact", "size", "packed", "releases"], |row: &ArtifactRow| {
            vec![row.digest.short().to_string(), show::bytes(row.bytes), show::ago(row.packed, now), row.releases.join(" ")]
        })
    }
}

/// Show an artifact: its digest, size, and the releases that use it
#[derive(Args, Debug)]
#[command(after_help = "`afresh image verify DIGEST` checks its bytes and signature.\n\nExample:\n  afresh artifact show 3fa9c1d20b7e")]
struct Show {
    /// Its digest or the first digits of it
    digest: String,
}

impl Show {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let rows: Vec<ArtifactRow> = context.wait(async { Ok(context.api().get("/v1/artifacts").await?) })?;
        let hex = self.digest.strip_prefix("sha256:").unwrap_or(&self.digest);
        let mut fit = rows.iter().filter(|row| hex.len() >= 6 && row.digest.hex().starts_with(hex));
        let row = match (fit.next(), fit.next()) {
            (Some(row), None) => row,
            (None, _) => {
                return Err(Fault::yours("no-such-artifact", format!("no artifact has a digest that begins with {hex}"))
                    .hint("`afresh artifact list` lists them; give at least six digits")
                    .into());
            }
            _ => {
                return Err(Fault::yours("no-such-artifact", format!("several artifacts begin with {hex}"))
                    .hint("give more digits")
                    .into());
            }
        };
        if context.json {
            show::json(row);
            return Ok(Exit::Succeeded);
        }
        show::line(format!("{}: {}, packed {}", row.digest, show::bytes(row.bytes), show::upkeep::day(row.packed)));
        show::line(if row.releases.is_empty() { "no release uses it".to_string() } else { format!("used by {}", row.releases.join(", ")) });
        Ok(Exit::Succeeded)
    }
}

/// Pack a directory or tarball into the image store of this machine
#[derive(Args, Debug)]
#[command(
    after_help = "The artifact is signed with its source. `afresh deploy` packs by itself; `afresh deploy web --artifact DIGEST` deploys a packed one.\n\nExample:\n  afresh artifact pack ./app"
)]
pub struct Pack {
    /// The code: a directory or a tarball
    #[arg(value_name = "PATH")]
    pub artifact: PathBuf,
    #[command(flatten)]
    pub key: KeyArgs,
}

impl Pack {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let store = context.images()?;
        let packed = match self.key.named() {
            Some(key) => attest::pack_with(&store, &self.artifact, &key?)?,
            None => attest::pack(&store, &self.artifact)?,
        };
        let is_new = packed.did == Did::Baked;
        let path = context.layout.object(&packed.digest);
        if context.json {
            let did = if is_new { "packed" } else { "nothing" };
            show::json(&json!({
                "digest": packed.digest, "path": path, "bytes": packed.bytes, "files": packed.files, "did": did,
                "signed_by": packed.signed_by,
                "seconds": { "pack": packed.seconds },
            }));
            return Ok(Exit::Succeeded);
        }
        let did = if is_new { "packed" } else { "already in the store" };
        let size = format!("{}, {}", show::times(packed.files, "file"), show::bytes(packed.bytes));
        show::line(format!("artifact {} {did}: {size}, in {} ({:.1} s)", packed.digest.short(), path.display(), packed.seconds));
        show::line(format!("signed by {}", packed.signed_by));
        Ok(Exit::Succeeded)
    }
}
