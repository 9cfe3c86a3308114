//! Writes an image as an OCI image layout (image-spec 1.1): one layer, a config, a manifest, an index.
//! It must not push anywhere: any tool that speaks OCI does that with the directory.

use crate::mounted::Mounted;
use crate::{Emitted, Part, oci_tar};
use disk::files::{self, Hashing};
use flate2::{Compression, GzBuilder};
use model::{ContainerDefaults, Digest, Fault, Release, Time};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// A layer as large as the tree, written as quickly as the disk takes it.
    None,
    #[default]
    Gzip,
}

/// What the tree does not say.
#[derive(Clone, Debug, Default)]
pub struct Meta<'a> {
    /// The name under which tools find it in the layout: `base:latest`.
    pub name: String,
    /// Seconds since 1970: the image's time, and the latest a file may have.
    pub epoch: u64,
    /// Command, environment, user and port; None: the image's own.
    pub release: Option<&'a Release>,
    /// What a container image says of itself, where no release says it; None: a machine's root without a service.
    pub defaults: Option<&'a ContainerDefaults>,
    pub compress: Compress,
    /// Put on the manifest, sorted: what it was made from.
    pub annotations: BTreeMap<String, String>,
}

// Own shapes and not oci-spec's, whose maps are hashed: they would come out in another order each time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `from` is a directory, or an erofs file, which is looked into without being unpacked. `out` becomes the layout in one step;
/// a layout that is there is replaced, anything else is left alone.
pub fn oci(from: &Path, out: &Path, meta: &Meta) -> Result<Emitted, Fault> {
    let seen = fs::metadata(from).map_err(files::at("cannot read", from))?;
    let mounted = if seen.is_dir() { None } else { Some(Mounted::open(from)?) };
    let tree = mounted.as_ref().map_or(from, Mounted::path);
    may_become_a_layout(out)?;
    let dir = out.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::make_dir(dir)?;
    let temp = tempfile::Builder::new().prefix(".oci-").tempdir_in(dir).map_err(files::at("cannot write in", dir))?;
    let blobs = temp.path().join("blobs/sha256");
    for made in [temp.path().join("blobs"), blobs.clone()] {
        files::make_dir(&made)?;
        files::set_mode(&made, 0o755)?;
    }
    files::set_mode(temp.path(), 0o755)?;

    let layer = layer(tree, &blobs, meta)?;
    let media_type = match meta.compress {
        Compress::None => "application/vnd.oci.image.layer.v1.tar",
        Compress::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
    };
    let config = blob(&blobs, "config", &config(meta, &layer.plain))?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: describe(CONFIG, &config),
        layers: vec![describe(media_type, &layer.part)],
        annotations: meta.annotations.clone(),
    };
    let manifest = blob(&blobs, "manifest", &json(&manifest))?;
    let mut top = describe(MANIFEST, &manifest);
    if !meta.name.is_empty() {
        top.annotations.insert("org.opencontainers.image.ref.name".into(), meta.name.clone());
    }
    put(&temp.path().join("index.json"), &json(&Index { schema_version: 2, media_type: INDEX, manifests: vec![top] }))?;
    put(&temp.path().join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    files::sync_dir(&blobs)?;
    place(temp, out)?;
    let parts = vec![manifest.clone(), config, layer.part];
    Ok(Emitted { digest: manifest.digest, bytes: parts.iter().map(|p| p.bytes).sum(), parts })
}

fn describe(media_type: &'static str, part: &Part) -> Descriptor {
    Descriptor { media_type, digest: part.digest.clone(), size: part.bytes, annotations: BTreeMap::new() }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data has a JSON form")
}

struct Layer {
    part: Part,
    /// Of the tar before compression.
    plain: Digest,
}

fn layer(tree: &Path, blobs: &Path, meta: &Meta) -> Result<Layer, Fault> {
    let at = blobs.join(".layer");
    let file = Hashing::new(std::io::BufWriter::with_capacity(1 << 18, files::create_new(&at, 0o644)?));
    let (plain, file) = match meta.compress {
        Compress::None => {
            let done = oci_tar::write(tree, meta.epoch, Hashing::new(file))?;
            (done.hasher, done.inner)
        }
        Compress::Gzip => {
            // No name and no time in its header.
            let gzip = GzBuilder::new().mtime(0).write(file, Compression::default());
            let done = oci_tar::write(tree, meta.epoch, Hashing::new(gzip))?;
            (done.hasher, done.inner.finish().map_err(files::at("cannot write", &at))?)
        }
    };
    let buffer = file.inner.into_inner().map_err(|e| files::fault("cannot write", &at, e.error()))?;
    buffer.sync_all().map_err(files::at("cannot write", &at))?;
    let digest = files::digest_from(file.hasher);
    fs::rename(&at, blobs.join(digest.hex())).map_err(files::at("cannot rename", &at))?;
    Ok(Layer { part: Part { name: "layer".into(), digest, bytes: file.bytes, root_hash: None }, plain: files::digest_from(plain) })
}

fn config(meta: &Meta, plain: &Digest) -> Vec<u8> {
    let created = attest::statement::rfc3339(Time(meta.epoch.saturating_mul(1_000)));
    let run = match meta.release {
        None => meta.defaults.map_or_else(|| serde_json::json!({}), own),
        Some(r) => {
            let mut env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string()];
            let of_image = r.container.iter().flat_map(|from| &from.env);
            env.extend(of_image.chain(&r.env).map(|(k, v)| format!("{k}={v}")));
            env.extend(r.port.map(|p| format!("PORT={p}")));
            let workdir = r.container.as_ref().and_then(|from| from.workdir.as_deref()).filter(|_| r.artifact.is_none()).unwrap_or("/app");
            let ports: BTreeMap<String, BTreeMap<String, String>> =
                r.port.map(|p| (format!("{p}/tcp"), BTreeMap::new())).into_iter().collect();
            serde_json::json!({
                "Cmd": r.run, "Env": env, "ExposedPorts": ports, "User": r.user, "WorkingDir": workdir,
                "StopSignal": format!("SIG{}", r.drain.signal.trim_start_matches("SIG")),
            })
        }
    };
    json(&serde_json::json!({
        "created": created, "architecture": "amd64", "os": "linux", "config": run,
        "rootfs": { "type": "layers", "diff_ids": [plain] },
        "history": [{ "created": created, "created_by": "afresh image emit" }],
    }))
}

/// As the image came; what it does not say is left out.
fn own(image: &ContainerDefaults) -> serde_json::Value {
    let set = |all: &[String]| all.iter().map(|name| (name.clone(), serde_json::json!({}))).collect::<serde_json::Map<_, _>>();
    let env: Vec<String> = image.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut config = serde_json::json!({
        "Entrypoint": image.entrypoint, "Cmd": image.cmd, "Env": env, "User": image.user, "WorkingDir": image.workdir,
        "ExposedPorts": set(&image.ports), "Volumes": set(&image.volumes), "StopSignal": image.stop_signal,
    });
    let said = config.as_object_mut().expect("it is an object");
    said.retain(|_, value| match value {
        serde_json::Value::Array(all) => !all.is_empty(),
        serde_json::Value::Object(all) => !all.is_empty(),
        value => !value.is_null(),
    });
    if let Some(check) = &image.healthcheck {
        let nanos = |ms: Option<u64>| ms.unwrap_or_default().saturating_mul(1_000_000);
        let words: Vec<&str> = ["CMD"].into_iter().chain(check.test.iter().map(String::as_str)).collect();
        let check = serde_json::json!({
            "Test": words, "Interval": nanos(check.interval_ms), "Timeout": nanos(check.timeout_ms),
            "StartPeriod": nanos(check.start_period_ms), "Retries": check.retries.unwrap_or_default(),
        });
        said.insert("Healthcheck".to_string(), check);
    }
    config
}

fn blob(blobs: &Path, name: &str, bytes: &[u8]) -> Result<Part, Fault> {
    let digest = files::digest_of(bytes);
    put(&blobs.join(digest.hex()), bytes)?;
    Ok(Part { name: name.to_string(), digest, bytes: bytes.len() as u64, root_hash: None })
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let mut file = files::create_new(path, 0o644)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(files::at("cannot write", path))
}

fn may_become_a_layout(out: &Path) -> Result<(), Fault> {
    let Ok(meta) = fs::symlink_metadata(out) else { return Ok(()) };
    let empty = || fs::read_dir(out).is_ok_and(|mut d| d.next().is_none());
    if meta.is_dir() && (files::exists(&out.join("oci-layout")) || empty()) {
        return Ok(());
    }
    Err(Fault::yours("not-an-oci-layout", format!("{} is there, and is neither empty nor an OCI layout", out.display()))
        .hint("name a new directory"))
}

/// The old layout, if there is one, is in the place of the new at every moment until the new is.
fn place(temp: tempfile::TempDir, out: &Path) -> Result<(), Fault> {
    let new: PathBuf = temp.keep();
    let flags = if files::exists(out) { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    let moved = renameat_with(CWD, &new, CWD, out, flags).map_err(|e| files::fault("cannot put in place", out, &e.into()));
    if moved.is_err() || flags == RenameFlags::EXCHANGE {
        files::remove_tree(&new)?;
    }
    moved?;
    files::sync_dir(out.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_layout_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, out) = (dir.path().join("tree"), dir.path().join("out"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(out.join("precious"), "x").unwrap();
        assert_eq!(oci(&tree, &out, &Meta::default()).unwrap_err().code, "not-an-oci-layout");
        assert!(out.join("precious").exists());
        fs::remove_file(out.join("precious")).unwrap();
        let first = oci(&tree, &out, &Meta::default()).unwrap();
        assert_eq!(first, oci(&tree, &out, &Meta::default()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing half-made is left");
    }
}
