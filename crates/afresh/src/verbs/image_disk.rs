//! `image verify DISK`: attestations of an emitted disk, and whether it can be reproduced.

use super::progress::{rounded, total, with_progress};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use attest::{Policy, Verified};
use emit::{DiskSaid, MadeOf};
use model::{Fault, ImageName};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;
use store::Store;

pub fn verify(context: &Context, store: &Store, disk: &Path, policy: &Policy, rebuild: bool) -> Result<Exit, Failure> {
    let began = Instant::now();
    let said = emit::verify_disk(store, disk, policy)?;
    let checked = rounded(began.elapsed().as_secs_f64());
    let mut out = facts(disk, &said);
    out["seconds"] = json!({ "check": checked });
    if !context.json {
        tell(disk, &said, checked);
    }
    let mut differs = Vec::new();
    if rebuild {
        let name = said.made_of.as_ref().and_then(|m| ImageName::new(m.image_name.clone()).ok());
        let name = name.unwrap_or_else(|| "disk".parse().expect("it is a good name"));
        let ((again, parts), seconds) = with_progress(context, &name, |tell| emit::rebuild_disk(store, disk, &said, tell))?;
        let is_same = again == said.digest;
        out["again"] = json!(again);
        out["is_same"] = json!(is_same);
        out["differences"] = json!(parts);
        seconds.iter().for_each(|(step, s)| out["seconds"][step] = json!(s));
        if is_same && !context.json {
            show::line(format!("built again: the same bytes ({:.1} s)", total(&seconds)));
        }
        if !is_same {
            differs = parts;
            differs.push(again.short().to_string());
        }
    }
    if context.json {
        show::json(&out);
    }
    let Some(again) = differs.pop() else { return Ok(Exit::Succeeded) };
    let text =
        format!("built again from the same image, code and kit it is a different disk: {again}; parts that differ: {}", differs.join(", "));
    Err(Fault::world("not-reproducible", text)
        .hint("it was changed after it was made, or made by another version of Afresh")
        .again(false)
        .into())
}

fn facts(disk: &Path, said: &DiskSaid) -> Value {
    let by = if let Verified::By(key) = &said.verified { Some(key) } else { None };
    let mut out = json!({ "disk": disk, "digest": said.digest, "signed_by": by });
    if let Some(made) = &said.made_of {
        out["image"] = json!({ "name": made.image_name, "digest": made.image, "signed_by": made.image_by });
        out["artifact"] = json!(made.artifact);
        out["kit"] = json!({ "lock": made.kit_lock, "in_store": made.is_lock_here });
        out["kernel"] = json!(made.kernel);
        out["release"] = json!(made.release);
        out["sbom"] = json!({ "components": made.components });
    }
    out
}

fn tell(disk: &Path, said: &DiskSaid, seconds: f64) {
    show::line(format!("disk {}: {} ({seconds:.1} s)", disk.display(), said.digest));
    let Verified::By(key) = &said.verified else {
        show::line("not signed, and the policy does not require it");
        return;
    };
    show::line(format!("signed by {key}: exactly these bytes"));
    if let Some(made) = &said.made_of {
        tell_made(made);
    }
}

fn tell_made(made: &MadeOf) {
    let image = match &made.image_by {
        Some(key) => format!("signed by {key}"),
        None => "not in this store, or not signed".to_string(),
    };
    show::line(format!("of image {} {}: {image}", made.image_name, made.image.short()));
    if let Some(artifact) = &made.artifact {
        show::line(format!("with artifact {}{}", artifact.short(), made.release.as_ref().map_or(String::new(), |r| format!(", as {r}"))));
    }
    let lock = if made.is_lock_here { "its packages match the lock in the store" } else { "its lock is not in this store" };
    show::line(format!("kernel {} of kit {}: {lock}", made.kernel, made.kit_lock.short()));
    show::line(format!("bill of materials: {} components, of image and kit", made.components));
}
