//! Which object of the store an argument means.

use model::{Digest, Fault, ImageName};
use store::Store;

/// The one image an argument means: a name (its current image) or the first digits of a digest.
pub fn named(store: &Store, text: &str) -> Result<store::Manifest, Fault> {
    find(store, text, |kind| kind == store::Kind::Image)
}

/// As [`named`], artifacts too.
pub fn named_object(store: &Store, text: &str) -> Result<store::Manifest, Fault> {
    find(store, text, |kind| kind != store::Kind::Base)
}

fn find(store: &Store, text: &str, fits: impl Fn(store::Kind) -> bool) -> Result<store::Manifest, Fault> {
    if let Ok(name) = ImageName::new(text)
        && let Some(digest) = store.current(&name)?
    {
        return store.manifest(&digest);
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let (all, _) = store.list()?;
    let mut fit = all.into_iter().filter(|m| hex.len() >= 6 && fits(m.kind) && m.digest.hex().starts_with(hex));
    match (fit.next(), fit.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Fault::yours("no-such-image", format!("no image has the name {text} or a digest that begins with it"))
            .hint("`afresh image list` lists them; six digits are enough")),
        _ => Err(Fault::yours("no-such-image", format!("several images have a digest that begins with {hex}")).hint("give more digits")),
    }
}

/// The artifact whose digest begins so.
pub fn artifact(store: &Store, text: &str) -> Result<Digest, Fault> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let (all, _) = store.list()?;
    let mut fit = all.into_iter().filter(|m| hex.len() >= 6 && m.kind == store::Kind::Artifact && m.digest.hex().starts_with(hex));
    match (fit.next(), fit.next()) {
        (Some(one), None) => Ok(one.digest),
        (None, _) => Err(Fault::yours("no-such-artifact", format!("{text} is neither a path nor the beginning of an artifact's digest"))
            .hint("name a directory, a tarball or at least six digits; `afresh artifact list` lists digests")),
        _ => {
            Err(Fault::yours("no-such-artifact", format!("several artifacts have a digest that begins with {hex}"))
                .hint("give more digits"))
        }
    }
}
