//! The dm-verity hash tree of a volume (format 1, SHA-256, blocks of 4096), byte for byte what `veritysetup format` writes.
//! It must not open devices: the kernel that boots the disk does.
//!
//! ```text
//! hash device:  superblock ▏ top level (one block) ▏ ... ▏ lowest level: one digest for each data block
//! root hash  =  SHA-256(salt, top block);  a volume of one block has no levels, and its root hash is that block's
//! ```

use crate::gpt::Guid;
use disk::files;
use model::{Digest, Fault};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub const BLOCK: usize = 4096;
const HASH: usize = 32;
/// Its tree is 1 GB, which is held in memory.
const MOST_BYTES: u64 = 128 << 30;

pub struct Verity {
    pub salt: [u8; HASH],
    pub root: [u8; HASH],
    pub data_blocks: u64,
    /// The hash device's bytes, with its superblock.
    pub tree: Vec<u8>,
}

impl Verity {
    /// The salt is the volume's own digest, so that the tree depends on nothing else.
    pub fn of_file(path: &Path, digest: &Digest, bytes: u64) -> Result<Verity, Fault> {
        if bytes == 0 || bytes > MOST_BYTES {
            return Err(Fault::yours("bad-volume-size", format!("{} has {bytes} bytes: a volume has 1 byte to 128 GiB", path.display())));
        }
        let mut salt = [0; HASH];
        hex::decode_to_slice(digest.hex(), &mut salt).expect("a digest is 64 hex digits");
        let file = File::open(path).map_err(files::at("cannot read", path))?;
        Verity::read(file, bytes.div_ceil(BLOCK as u64), salt).map_err(files::at("cannot read", path))
    }

    /// The last block may be short: the rest of it is zeros.
    pub fn read(mut from: impl Read, data_blocks: u64, salt: [u8; HASH]) -> std::io::Result<Verity> {
        let start = Sha256::new_with_prefix(salt);
        let mut level = Vec::new();
        for _ in 0..data_blocks {
            let mut block = [0; BLOCK];
            fill(&mut from, &mut block)?;
            level.extend_from_slice(&hash(&start, &block));
        }
        let mut levels = Vec::new();
        while level.len() > HASH {
            level.resize(level.len().next_multiple_of(BLOCK), 0);
            let above = level.chunks(BLOCK).flat_map(|block| hash(&start, block)).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        let root: [u8; HASH] = level.try_into().map_err(|_| std::io::Error::other("a volume without blocks"))?;
        let mut tree = superblock(&root, &salt, data_blocks);
        levels.iter().rev().for_each(|l| tree.extend_from_slice(l));
        Ok(Verity { salt, root, data_blocks, tree })
    }

    pub fn root_hex(&self) -> String {
        hex::encode(self.root)
    }

    /// The halves of the root hash are the ids of the two partitions, as the Discoverable Partitions Specification has it.
    pub fn guids(&self) -> (Guid, Guid) {
        let half = |at: usize| Guid(self.root[at..at + 16].try_into().expect("the hash has 32 bytes"));
        (half(0), half(16))
    }

    /// The line `dmsetup create` wants, with the devices still to be named.
    pub fn table(&self, data: &str, hashes: &str) -> String {
        let (blocks, sectors) = (self.data_blocks, self.data_blocks * (BLOCK as u64 / 512));
        format!("0 {sectors} verity 1 {data} {hashes} 4096 4096 {blocks} 1 sha256 {} {}", self.root_hex(), hex::encode(self.salt))
    }
}

fn hash(start: &Sha256, block: &[u8]) -> [u8; HASH] {
    let mut hasher = start.clone();
    hasher.update(block);
    hasher.finalize().into()
}

fn fill(from: &mut impl Read, block: &mut [u8]) -> std::io::Result<()> {
    let mut at = 0;
    while at < block.len() {
        match from.read(&mut block[at..]) {
            Ok(0) => return Ok(()),
            Ok(n) => at += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// `struct verity_sb` of cryptsetup's lib/verity/verity.c, padded to a block.
fn superblock(root: &[u8; HASH], salt: &[u8; HASH], data_blocks: u64) -> Vec<u8> {
    let mut b = Vec::with_capacity(BLOCK);
    b.extend_from_slice(b"verity\0\0");
    b.extend_from_slice(&1u32.to_le_bytes()); // version of the superblock
    b.extend_from_slice(&1u32.to_le_bytes()); // hash type: the salt comes first
    b.extend_from_slice(&root[..16]); // the id of the tree
    b.extend_from_slice(b"sha256");
    b.resize(64, 0);
    b.extend_from_slice(&(BLOCK as u32).to_le_bytes());
    b.extend_from_slice(&(BLOCK as u32).to_le_bytes());
    b.extend_from_slice(&data_blocks.to_le_bytes());
    b.extend_from_slice(&(HASH as u16).to_le_bytes());
    b.resize(88, 0);
    b.extend_from_slice(salt);
    b.resize(BLOCK, 0);
    b
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn veritysetup() -> bool {
        Path::new("/usr/sbin/veritysetup").exists() || Path::new("/sbin/veritysetup").exists()
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|i| ((i / 7) ^ (i >> 9)) as u8).collect()
    }

    /// Counts of blocks around every place where a level is added.
    #[test]
    fn equals_veritysetup_to_the_byte() {
        if !veritysetup() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for blocks in [1usize, 2, 127, 128, 129, 300, 16384, 16385] {
            let data = bytes(blocks * BLOCK);
            let (at, hashes) = (dir.path().join("data"), dir.path().join("hashes"));
            std::fs::write(&at, &data).unwrap();
            std::fs::remove_file(&hashes).ok();
            let (digest, count) = files::digest_file(&at).unwrap();
            let ours = Verity::of_file(&at, &digest, count).unwrap();
            let salt = format!("--salt={}", hex::encode(ours.salt));
            let uuid = format!("--uuid={}", Guid(ours.root[..16].try_into().unwrap()));
            let said = Command::new("veritysetup").args(["format", &salt, &uuid]).args([&at, &hashes]).output().unwrap();
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            let text = String::from_utf8(said.stdout).unwrap();
            let root = text.lines().find_map(|l| l.strip_prefix("Root hash:")).unwrap().trim();
            assert_eq!(root, ours.root_hex(), "root hash of {blocks} blocks");
            let mut theirs = std::fs::read(&hashes).unwrap();
            theirs.resize(theirs.len().next_multiple_of(BLOCK), 0);
            assert!(theirs == ours.tree, "hash device of {blocks} blocks");
        }
    }

    #[test]
    fn a_short_last_block_counts_as_zeros() {
        let mut padded = bytes(5000);
        let short = Verity::read(&padded[..], 2, [3; 32]).unwrap();
        padded.resize(8192, 0);
        assert_eq!(short.tree, Verity::read(&padded[..], 2, [3; 32]).unwrap().tree);
    }
}
