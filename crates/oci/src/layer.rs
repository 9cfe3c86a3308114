//! A layer's bytes: unpacked within its limits, checked against the digest that the image's config gives, and read once to know what it
//! hides before anything of it is written.

use crate::limits::Limits;
use crate::name;
use crate::name::Name;
use crate::tar_entries::{Entries, Entry, Kind};
use crate::trouble::{bad_layer, carry, of_layer, too_large};
use disk::files;
use model::{Digest, Fault};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// A layer on the disk, whose bytes have its digest.
#[derive(Clone, Debug)]
pub struct Layer {
    pub digest: Digest,
    /// Of its tar, unpacked.
    pub diff_id: Digest,
    pub at: PathBuf,
    pub bytes: u64,
}

/// The largest memory that a zstd stream may ask for is two to this power.
const ZSTD_WINDOW: u32 = 27;
/// What a reader may ask a layer for at once.
const BUFFER: usize = 1 << 18;

/// Counts and hashes what is unpacked, and ends it at its limit.
struct Plain<R> {
    inner: R,
    layer: Digest,
    hasher: Sha256,
    bytes: u64,
    limit: u64,
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(to)?;
        self.hasher.update(&to[..n]);
        self.bytes += n as u64;
        if self.bytes > self.limit {
            let why = format!("layer {} unpacks to more than {} bytes", self.layer.short(), self.limit);
            return Err(carry(too_large(why)));
        }
        Ok(n)
    }
}

impl Layer {
    /// By the first bytes: what a manifest says of the compression is wrong often enough.
    fn open(&self, limit: u64) -> Result<Plain<Box<dyn Read>>, Fault> {
        let mut head = [0u8; 4];
        let mut file = File::open(&self.at).map_err(files::at("cannot read", &self.at))?;
        let mut have = 0;
        while have < head.len() {
            match file.read(&mut head[have..]).map_err(files::at("cannot read", &self.at))? {
                0 => break,
                n => have += n,
            }
        }
        let file = File::open(&self.at).map_err(files::at("cannot read", &self.at))?;
        let inner: Box<dyn Read> = match &head[..have] {
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file))),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let mut decoder = zstd::stream::read::Decoder::new(file).map_err(files::at("cannot read", &self.at))?;
                decoder.window_log_max(ZSTD_WINDOW).map_err(files::at("cannot read", &self.at))?;
                Box::new(decoder)
            }
            _ => Box::new(BufReader::with_capacity(BUFFER, file)),
        };
        Ok(Plain { inner, layer: self.digest.clone(), hasher: Sha256::new(), bytes: 0, limit })
    }

    /// Hands each entry to `take`, and is content only if all of it had the digest of the image's config.
    pub fn entries(
        &self,
        limits: &Limits,
        mut take: impl FnMut(Entry, &mut Entries<BufReader<Box<dyn Read + '_>>>) -> Result<(), Fault>,
    ) -> Result<u64, Fault> {
        let mut plain = self.open(limits.plain_of(self.bytes))?;
        {
            let mut entries = Entries::new(BufReader::with_capacity(BUFFER, Box::new(&mut plain) as Box<dyn Read>));
            while let Some(entry) = entries.next().map_err(|e| of_layer(&self.digest, &self.at, e))? {
                take(entry, &mut entries)?;
            }
            // To the very end: only there do a compressed stream's checksum and the digest of the layer show.
            io::copy(&mut entries.into_inner(), &mut io::sink()).map_err(|e| of_layer(&self.digest, &self.at, e))?;
        }
        let (found, bytes) = (files::digest_from(plain.hasher), plain.bytes);
        if found == self.diff_id {
            return Ok(bytes);
        }
        let why = format!("unpacked it has the digest {found}, and the image's config says {}", self.diff_id);
        Err(bad_layer(&self.digest, why))
    }
}

/// What a layer does to those below it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// What it removes.
    pub whiteouts: BTreeSet<PathBuf>,
    /// Directories whose lower content it removes.
    pub opaque: BTreeSet<PathBuf>,
    /// Directories that it brings itself.
    pub dirs: BTreeSet<PathBuf>,
    /// Of its files, holes too.
    pub bytes: u64,
    pub entries: u64,
}

/// Reads all of a layer once. Nothing of it is written before this was content with it.
pub fn scan(layer: &Layer, limits: &Limits) -> Result<Scan, Fault> {
    let mut scan = Scan::default();
    layer.entries(limits, |entry, _| {
        scan.entries += 1;
        scan.bytes = scan.bytes.saturating_add(entry.bytes);
        if scan.entries > limits.entries {
            return Err(too_large(format!("layer {} has more than {} entries", layer.digest.short(), limits.entries)));
        }
        if scan.bytes > limits.plain_bytes {
            return Err(too_large(format!("with its holes layer {} has more than {} bytes", layer.digest.short(), limits.plain_bytes)));
        }
        match name::of(&entry.name).map_err(|why| bad_layer(&layer.digest, why))? {
            Name::Whiteout(path) => drop(scan.whiteouts.insert(path)),
            Name::Opaque(path) => drop(scan.opaque.insert(path)),
            Name::Plain(path) if entry.kind == Kind::Directory => drop(scan.dirs.insert(path)),
            Name::Plain(_) | Name::Ignored => {}
        }
        Ok(())
    })?;
    Ok(scan)
}

/// All layers, a few at once: unpacking is what takes the time.
pub fn scan_all(layers: &[Layer], limits: &Limits) -> Result<Vec<Scan>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len().max(1));
    let mut scans: Vec<Option<Result<Scan, Fault>>> = Vec::new();
    scans.resize_with(layers.len(), || None);
    for (layers, scans) in layers.chunks(threads).zip(scans.chunks_mut(threads)) {
        std::thread::scope(|scope| {
            for (layer, slot) in layers.iter().zip(scans) {
                scope.spawn(move || *slot = Some(scan(layer, limits)));
            }
        });
    }
    let scans: Vec<Scan> = scans.into_iter().flatten().collect::<Result<_, Fault>>()?;
    let (bytes, entries) = scans.iter().fold((0u64, 0u64), |(b, e), s| (b.saturating_add(s.bytes), e.saturating_add(s.entries)));
    if bytes > limits.plain_bytes {
        return Err(too_large(format!("its layers have {bytes} bytes in all, more than {}", limits.plain_bytes)));
    }
    if entries > limits.entries {
        return Err(too_large(format!("its layers have {entries} entries in all, more than {}", limits.entries)));
    }
    Ok(scans)
}

/// For messages.
pub fn shown(path: &Path) -> String {
    crate::trouble::shown(&path.to_string_lossy())
}
