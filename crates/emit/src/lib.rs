//! Gives an image to worlds that do not know our store: an OCI layout for container tools, a bootable disk for machines and AMIs,
//! and the proof that such a disk boots to an answering service. It must not bake, and it changes nothing that it reads.
//!
//! ```text
//! tree | erofs ──▶ oci    layout: oci-layout, index.json, blobs (layer, config, manifest)
//!
//! erofs root ─┬─▶ verity ─▶ root hash ─▶ command line ─┐
//! artifact  ──┘                                        ├─▶ uki ─▶ fat (ESP) ─┬─▶ disk: GPT, ESP, root, its hash tree, app, its hash tree
//! kit (kernel, modules, busybox, dmsetup) ─▶ initrd ───┘   root, hash trees ─┘         └─▶ boot: QEMU to an HTTP answer
//! ```
//!
//! Equal inputs give equal bytes: every id is made from a digest of the content, every time is fixed, every list is sorted.

#![allow(clippy::disallowed_methods, reason = "what is written lies where the caller says; `kit`, which reads a tree, denies this")]

pub mod boot;
mod cpio;
mod disk;
mod disk_statement;
mod elf;
mod fat;
mod gpt;
mod initrd;
mod kit;
mod kits;
mod mounted;
mod oci;
mod oci_tar;
mod push;
mod uki;
mod verity;

pub use self::oci::{Compress, Meta, oci};
pub use ::oci::{Options as RegistryOptions, Pushed};
pub use disk::{Artifact, DiskInputs, disk, volume};
pub use disk_statement::{DiskMade, DiskSaid, MadeOf, admit_disk, attest_disk, attested_beside, rebuild_disk, verify_disk};
pub use kit::{Kit, PACKAGES as KIT_PACKAGES};
pub use kits::{KitState, MachineKit, Which, kept_kit, kit, kit_state, lock_kit};
pub use push::push;

use model::Digest;
use serde::{Deserialize, Serialize};

/// What was written, by the digest of the whole: of the disk's bytes, or of the OCI manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emitted {
    pub digest: Digest,
    pub bytes: u64,
    /// In the order they lie on the disk or in the manifest.
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub digest: Digest,
    pub bytes: u64,
    /// Of a volume with a verity tree: what the kernel checks every block against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<String>,
}

impl Emitted {
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|p| p.name == name)
    }
}
