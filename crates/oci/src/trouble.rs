//! What is wrong with an image, as an error that says where. Readers inside readers carry a [`Fault`] through `io::Error`.

use disk::files;
use model::{Digest, Fault};
use std::io;
use std::path::Path;

/// The image is broken or hostile: no retry changes it.
pub fn bad(code: &str, why: impl Into<String>) -> Fault {
    Fault::world(code, why).again(false)
}

pub fn bad_layer(layer: &Digest, why: impl std::fmt::Display) -> Fault {
    bad("bad-layer", format!("layer {}: {why}", layer.short())).hint("build and push the image again; nothing of it was kept")
}

pub fn too_large(why: impl std::fmt::Display) -> Fault {
    bad("image-too-large", format!("the image is too large: {why}"))
        .hint("is it the right image? data belongs into a volume, not into an image")
}

/// What the stream holds is wrong, as opposed to a disk that cannot be read.
pub fn broken(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

pub fn carry(fault: Fault) -> io::Error {
    io::Error::other(fault)
}

/// The fault that a reader carried, or one of the layer, or of the disk.
pub fn of_layer(layer: &Digest, at: &Path, e: io::Error) -> Fault {
    if e.get_ref().is_some_and(|inner| inner.is::<Fault>()) {
        return carried(e);
    }
    if e.raw_os_error().is_some() {
        files::fault("cannot read", at, &e)
    } else {
        bad_layer(layer, format!("it is no whole tar archive: {e}"))
    }
}

fn carried(e: io::Error) -> Fault {
    match e.into_inner().map(|inner| inner.downcast::<Fault>()) {
        Some(Ok(fault)) => *fault,
        _ => Fault::ours("no-fault", "an error carries no fault"),
    }
}

/// Text of a stranger, as an error shows it.
pub fn shown(text: &str) -> String {
    model::text::shown(text, 200)
}

pub fn shown_bytes(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}
