//! A blob on its way to the disk: written as it comes, hashed as it is written, taken up again where it broke off.

use crate::document::Descriptor;
use crate::limits::Limits;
use crate::source::Blobs;
use crate::trouble::{bad, shown, too_large};
use disk::files;
use model::Fault;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::Instant;

/// An attempt that brought less does not count as progress.
const PROGRESS: u64 = 1 << 20;

/// A config or the like, in memory.
pub fn document(from: &mut dyn Blobs, of: &Descriptor, limits: &Limits) -> Result<Vec<u8>, Fault> {
    crate::document::document_size(of, limits)?;
    let mut bytes = Vec::new();
    let into = Into {
        of,
        have: 0,
        hasher: Sha256::new(),
        restart: |b: &mut Vec<u8>| {
            b.clear();
            Ok(())
        },
        write: |b: &mut Vec<u8>, part: &[u8]| {
            b.extend_from_slice(part);
            Ok(())
        },
    };
    into.all(from, &mut bytes, limits, &mut |_| {})?;
    Ok(bytes)
}

/// Into a new file at `to`; `told` hears how many bytes are there.
pub fn layer(from: &mut dyn Blobs, of: &Descriptor, to: &Path, limits: &Limits, told: &mut dyn FnMut(u64)) -> Result<(), Fault> {
    let mut file = files::create_new(to, 0o600)?;
    let restart = |f: &mut File| f.set_len(0).and_then(|()| f.rewind()).map_err(files::at("cannot write", to));
    let write = |f: &mut File, part: &[u8]| f.write_all(part).map_err(files::at("cannot write", to));
    Into { of, have: 0, hasher: Sha256::new(), restart, write }.all(from, &mut file, limits, told)
}

struct Into<'a, R, W> {
    of: &'a Descriptor,
    have: u64,
    hasher: Sha256,
    restart: R,
    write: W,
}

impl<R, W> Into<'_, R, W> {
    fn all<T>(mut self, from: &mut dyn Blobs, to: &mut T, limits: &Limits, told: &mut dyn FnMut(u64)) -> Result<(), Fault>
    where
        R: FnMut(&mut T) -> Result<(), Fault>,
        W: FnMut(&mut T, &[u8]) -> Result<(), Fault>,
    {
        let (mut tries, mut backoff, begun) = (0, limits.backoff, Instant::now());
        loop {
            let before = self.have;
            let Some(why) = self.attempt(from, to, told)? else { break };
            tries = if self.have >= before.saturating_add(PROGRESS) { 0 } else { tries + 1 };
            if tries > limits.retries || !from.may_retry() || begun.elapsed() > limits.fetch {
                let text = format!("blob {} has {} bytes and broke off after {}: {why}", self.of.digest.short(), self.of.size, self.have);
                return Err(Fault::world("blob-truncated", text).hint("try again; nothing of it was kept"));
            }
            std::thread::sleep(backoff);
            backoff = (backoff * 2).min(limits.retry_after);
        }
        let found = files::digest_from(self.hasher);
        if found == self.of.digest {
            return Ok(());
        }
        let text = format!("what came for the blob {} has the digest {found}", self.of.digest);
        Err(bad("wrong-digest", text).hint("the registry, or somebody on the way, changed it; nothing of it was kept"))
    }

    /// Some: why it broke off.
    fn attempt<T>(&mut self, from: &mut dyn Blobs, to: &mut T, told: &mut dyn FnMut(u64)) -> Result<Option<String>, Fault>
    where
        R: FnMut(&mut T) -> Result<(), Fault>,
        W: FnMut(&mut T, &[u8]) -> Result<(), Fault>,
    {
        let (begins, mut body) = from.open(self.of, self.have)?;
        if begins != self.have {
            (self.restart)(to)?;
            (self.have, self.hasher) = (0, Sha256::new());
        }
        let mut buffer = vec![0u8; 1 << 17];
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) if self.have == self.of.size => return Ok(None),
                Ok(0) => return Ok(Some("it ended".to_string())),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Ok(Some(shown(&e.to_string()))),
            };
            if self.have + n as u64 > self.of.size {
                let text = format!("blob {} is larger than the {} bytes that its manifest says", self.of.digest.short(), self.of.size);
                return Err(too_large(text));
            }
            (self.write)(to, &buffer[..n])?;
            self.hasher.update(&buffer[..n]);
            self.have += n as u64;
            told(self.have);
        }
    }
}
