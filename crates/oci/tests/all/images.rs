//! Images that tests make: layers entry by entry, also those that no builder would write.

use disk::files;
use model::Digest;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;

#[derive(Clone)]
pub struct Item {
    pub name: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// Written in the place of the data's length.
    pub size: Option<u64>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        write!(f, "{} {:?}", char::from(self.kind), text(&self.name))?;
        if !self.link.is_empty() {
            write!(f, " -> {:?}", text(&self.link))?;
        }
        write!(f, " {:?} {:o} {}:{} {}", text(&self.data), self.mode, self.uid, self.gid, self.mtime)?;
        self.pax.iter().try_for_each(|(key, value)| write!(f, " {}={:?}", text(key), text(value)))
    }
}

fn item(kind: u8, name: &str, link: &str, data: &[u8], mode: u32) -> Item {
    Item {
        name: name.into(),
        kind,
        link: link.into(),
        data: data.to_vec(),
        mode,
        uid: 0,
        gid: 0,
        mtime: 1_600_000_000,
        pax: Vec::new(),
        size: None,
    }
}

pub fn dir(name: &str) -> Item {
    item(b'5', name, "", b"", 0o755)
}

pub fn file(name: &str, text: &str) -> Item {
    item(b'0', name, "", text.as_bytes(), 0o644)
}

pub fn symlink(name: &str, to: &str) -> Item {
    item(b'2', name, to, b"", 0o777)
}

pub fn hard(name: &str, to: &str) -> Item {
    item(b'1', name, to, b"", 0o644)
}

pub fn fifo(name: &str) -> Item {
    item(b'6', name, "", b"", 0o600)
}

pub fn device(name: &str) -> Item {
    item(b'3', name, "", b"", 0o666)
}

pub fn whiteout(dir: &str, name: &str) -> Item {
    file(&format!("{dir}.wh.{name}"), "")
}

pub fn opaque(dir: &str) -> Item {
    file(&format!("{dir}.wh..wh..opq"), "")
}

impl Item {
    pub fn mode(self, mode: u32) -> Item {
        Item { mode, ..self }
    }

    pub fn owner(self, uid: u64, gid: u64) -> Item {
        Item { uid, gid, ..self }
    }

    pub fn time(self, mtime: u64) -> Item {
        Item { mtime, ..self }
    }

    pub fn pax(mut self, key: &str, value: &[u8]) -> Item {
        self.pax.push((key.into(), value.to_vec()));
        self
    }

    pub fn xattr(self, name: &str, value: &[u8]) -> Item {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }
}

fn put(block: &mut [u8; 512], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn header(kind: u8, name: &[u8], link: &[u8], size: u64, item: &Item) -> [u8; 512] {
    let mut block = [0u8; 512];
    put(&mut block, 0, &name[..name.len().min(100)]);
    put(&mut block, 100, format!("{:07o}\0", item.mode).as_bytes());
    put(&mut block, 108, &number(item.uid, 8));
    put(&mut block, 116, &number(item.gid, 8));
    put(&mut block, 124, &number(size, 12));
    put(&mut block, 136, &number(item.mtime, 12));
    block[156] = kind;
    put(&mut block, 157, &link[..link.len().min(100)]);
    put(&mut block, 257, if kind == b'S' { b"ustar  \0" } else { b"ustar\x0000" });
    sum(&mut block);
    block
}

pub fn sum(block: &mut [u8; 512]) {
    put(block, 148, b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// Octal where it fits, as GNU tar else.
fn number(n: u64, length: usize) -> Vec<u8> {
    let octal = format!("{n:0width$o}\0", width = length - 1);
    if octal.len() == length {
        return octal.into_bytes();
    }
    let mut bytes = vec![0u8; length];
    bytes[0] = 0x80;
    bytes[length - 8.min(length - 1)..].copy_from_slice(&n.to_be_bytes()[8 - 8.min(length - 1)..]);
    bytes
}

pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..9).map(|digits| rest + digits).find(|n| rest + n.to_string().len() == *n).unwrap();
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

pub fn fill(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(512), 0);
}

/// Names that do not fit become records, as Go and Python write them.
pub fn tar(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let mut pax = item.pax.clone();
        for (key, text) in [("path", &item.name), ("linkpath", &item.link)] {
            if text.len() > 100 {
                pax.push((key.into(), text.clone()));
            }
        }
        if !pax.is_empty() {
            let body: Vec<u8> = pax.iter().flat_map(|(k, v)| record(k, v)).collect();
            out.extend(header(b'x', b"PaxHeaders.0/x", b"", body.len() as u64, item));
            out.extend(&body);
            fill(&mut out);
        }
        out.extend(header(item.kind, &item.name, &item.link, item.size.unwrap_or(item.data.len() as u64), item));
        out.extend(&item.data);
        fill(&mut out);
    }
    out.extend([0u8; 1024]);
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    Plain,
    Gzip,
    Zstd,
}

impl Pack {
    pub fn pack(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Pack::Plain => plain.to_vec(),
            Pack::Gzip => {
                let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                to.write_all(plain).unwrap();
                to.finish().unwrap()
            }
            Pack::Zstd => zstd::stream::encode_all(plain, 1).unwrap(),
        }
    }

    fn media_type(self) -> String {
        let end = match self {
            Pack::Plain => "",
            Pack::Gzip => "+gzip",
            Pack::Zstd => "+zstd",
        };
        format!("application/vnd.oci.image.layer.v1.tar{end}")
    }
}

/// An image with all its blobs.
#[derive(Clone)]
pub struct Image {
    pub blobs: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": files::digest_of(bytes), "size": bytes.len() })
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub fn image(tars: &[Vec<u8>], pack: Pack, config: Value) -> Image {
    let diff_ids: Vec<Digest> = tars.iter().map(|t| files::digest_of(t)).collect();
    of_layers(tars.iter().map(|t| pack.pack(t)).collect(), pack, config, &diff_ids)
}

/// The same layers, and a config that says this of them.
pub fn with_diff_ids(image: &Image, diff_ids: &[Digest]) -> Image {
    of_layers(image.layers.clone(), Pack::Gzip, json!({}), diff_ids)
}

fn of_layers(layers: Vec<Vec<u8>>, pack: Pack, config: Value, diff_ids: &[Digest]) -> Image {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({ "architecture": arch, "os": "linux", "config": config, "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.iter().map(|l| descriptor(&pack.media_type(), l)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    Image { blobs: layers.iter().cloned().chain([config, manifest.clone()]).collect(), manifest, layers }
}

pub fn of_items(layers: &[Vec<Item>], pack: Pack) -> Image {
    image(&layers.iter().map(|l| tar(l)).collect::<Vec<_>>(), pack, json!({}))
}

impl Image {
    pub fn digest(&self) -> Digest {
        files::digest_of(&self.manifest)
    }

    /// An OCI layout, in which it is called `t`.
    pub fn write(&self, at: &Path) {
        let blobs = at.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for blob in &self.blobs {
            fs::write(blobs.join(files::digest_of(blob).hex()), blob).unwrap();
        }
        let mut top = descriptor(MANIFEST, &self.manifest);
        top["annotations"] = json!({ "org.opencontainers.image.ref.name": "t" });
        fs::write(at.join("index.json"), json!({ "schemaVersion": 2, "manifests": [top] }).to_string()).unwrap();
        fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}
