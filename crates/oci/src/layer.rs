//! A layer's bytes: unpacked within its limits, checked against the digest that the image's config gives, and read once to know what it
//! hides before anything of it is written.

use crate::attributes;
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
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What is packed may unpack to nothing without end: its time is over there too.
struct Packed {
    inner: File,
    limits: Limits,
}

impl Read for Packed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.limits.left().map_err(carry)?;
        self.inner.read(to)
    }
}

impl Layer {
    /// By the first bytes: what a manifest says of the compression is wrong often enough.
    fn open(&self, limits: &Limits) -> Result<Plain<Box<dyn Read>>, Fault> {
        let mut head = [0u8; 4];
        let mut file = File::open(&self.at).map_err(files::at("cannot read", &self.at))?;
        let mut have = 0;
        while have < head.len() {
            match file.read(&mut head[have..]).map_err(files::at("cannot read", &self.at))? {
                0 => break,
                n => have += n,
            }
        }
        let inner = File::open(&self.at).map_err(files::at("cannot read", &self.at))?;
        let file = Packed { inner, limits: limits.clone() };
        let inner: Box<dyn Read> = match &head[..have] {
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file))),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let mut decoder = zstd::stream::read::Decoder::new(file).map_err(files::at("cannot read", &self.at))?;
                decoder.window_log_max(ZSTD_WINDOW).map_err(files::at("cannot read", &self.at))?;
                Box::new(decoder)
            }
            _ => Box::new(BufReader::with_capacity(BUFFER, file)),
        };
        Ok(Plain { inner, layer: self.digest.clone(), hasher: Sha256::new(), bytes: 0, limit: limits.plain_of(self.bytes) })
    }

    /// Hands each entry to `take`, and is content only if all of it had the digest of the image's config.
    pub fn entries(
        &self,
        limits: &Limits,
        mut take: impl FnMut(Entry, &mut Entries<BufReader<Box<dyn Read + '_>>>) -> Result<(), Fault>,
    ) -> Result<u64, Fault> {
        let mut plain = self.open(limits)?;
        {
            let mut entries = Entries::new(BufReader::with_capacity(BUFFER, Box::new(&mut plain) as Box<dyn Read>));
            while let Some(entry) = entries.next().map_err(|e| of_layer(&self.digest, &self.at, e))? {
                limits.left()?;
                take(entry, &mut entries)?;
            }
            // To the very end: only there do a compressed stream's checksum and the digest of the layer show.
            io::copy(&mut entries.into_inner(), &mut io::sink()).map_err(|e| of_layer(&self.digest, &self.at, e))?;
        }
        let (found, bytes) = (files::digest_from(plain.hasher), plain.bytes);
        if found == self.diff_id {
            return Ok(bytes);
        }
        // Which one it has is for those alone who may have the layer: a config that says it is all that it takes to unpack one that is kept.
        Err(bad_layer(&self.digest, format!("unpacked it has not the digest {} that the image's config says", self.diff_id)))
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
    /// And at least the directories that none of them speaks of, which are made all the same.
    pub entries: u64,
}

/// What the layers of an image have together, counted while they are read: what each may have, five hundred may not.
#[derive(Default)]
struct Totals {
    entries: AtomicU64,
    bytes: AtomicU64,
    holes: AtomicU64,
    attributes: AtomicU64,
    plain: AtomicU64,
    names: AtomicU64,
}

/// What a name costs that is held, beside its bytes.
const NAME_COST: u64 = 100;

fn count(total: &AtomicU64, more: u64, limit: u64, what: &str) -> Result<(), Fault> {
    // How much more than the limit it is does not matter, and would overflow.
    let more = more.min(limit.saturating_add(1));
    if total.fetch_add(more, Ordering::Relaxed).saturating_add(more) <= limit {
        return Ok(());
    }
    Err(too_large(format!("its layers have more than {limit} {what}")))
}

/// How many directories above `path` no entry before it can have made. `before` is the last directory that one did.
fn unspoken(path: &Path, before: &Path) -> u64 {
    let parent = path.parent().unwrap_or(Path::new(""));
    let known = parent.components().zip(before.components()).take_while(|(a, b)| a == b).count();
    (parent.components().count() - known) as u64
}

/// Reads all of a layer once. Nothing of it is written before this was content with it.
pub fn scan(layer: &Layer, limits: &Limits) -> Result<Scan, Fault> {
    scan_into(layer, limits, &Totals::default())
}

fn scan_into(layer: &Layer, limits: &Limits, totals: &Totals) -> Result<Scan, Fault> {
    let (mut scan, mut before) = (Scan::default(), PathBuf::new());
    let bad = |why: String| bad_layer(&layer.digest, why);
    let hold = |held: &mut BTreeSet<PathBuf>, path: PathBuf| {
        let bytes = path.as_os_str().len() as u64 + NAME_COST;
        count(&totals.names, bytes, limits.name_bytes, "bytes of names")?;
        held.insert(path);
        Ok(())
    };
    let plain = layer.entries(limits, |entry, _| {
        count(&totals.attributes, attributes::check(&entry.xattrs).map_err(bad)?, limits.attribute_bytes, "bytes of extended attributes")?;
        let name = name::of(&entry.name).map_err(bad)?;
        let mut entries = 1;
        if let Name::Plain(path) = &name {
            entries += unspoken(path, &before);
            before = if entry.kind == Kind::Directory { path.clone() } else { path.parent().map(PathBuf::from).unwrap_or_default() };
        }
        count(&totals.entries, entries, limits.entries, "entries")?;
        let stored: u64 = entry.pieces.iter().map(|piece| piece.bytes).sum();
        count(&totals.holes, entry.bytes.saturating_sub(stored), limits.hole_bytes, "bytes of holes")?;
        count(&totals.bytes, entry.bytes, limits.plain_bytes, "bytes with their holes")?;
        scan.entries += entries;
        scan.bytes += entry.bytes;
        match name {
            Name::Whiteout(path) => hold(&mut scan.whiteouts, path),
            Name::Opaque(path) => hold(&mut scan.opaque, path),
            Name::Plain(path) if entry.kind == Kind::Directory => hold(&mut scan.dirs, path),
            Name::Plain(_) | Name::Ignored => Ok(()),
        }
    })?;
    count(&totals.plain, plain, limits.plain_bytes, "bytes unpacked")?;
    Ok(scan)
}

/// Whether a layer has an entry of this path.
pub fn brings(layer: &Layer, wanted: &Path, limits: &Limits) -> Result<bool, Fault> {
    let mut found = false;
    layer.entries(limits, |entry, _| {
        found |= matches!(name::of(&entry.name), Ok(Name::Plain(path)) if path == wanted);
        Ok(())
    })?;
    Ok(found)
}

/// All layers, a few at once: unpacking is what takes the time.
pub fn scan_all(layers: &[Layer], limits: &Limits) -> Result<Vec<Scan>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len().max(1));
    let (mut scans, totals) = (Vec::new(), Totals::default());
    for layers in layers.chunks(threads) {
        let done: Vec<Result<Scan, Fault>> = std::thread::scope(|scope| {
            let running: Vec<_> = layers.iter().map(|layer| scope.spawn(|| scan_into(layer, limits, &totals))).collect();
            running.into_iter().map(|one| one.join().unwrap_or_else(|why| std::panic::resume_unwind(why))).collect()
        });
        // The first that is too much is the last that is read.
        scans.extend(done.into_iter().collect::<Result<Vec<_>, Fault>>()?);
    }
    Ok(scans)
}

/// For messages.
pub fn shown(path: &Path) -> String {
    crate::trouble::shown(&path.to_string_lossy())
}
