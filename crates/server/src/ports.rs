//! What the server needs of the object store beyond `rotation::ImageStore`, and the wall clock.

use model::{Container, Digest, Fault, ImageName, Steady, Time};
use rotation::{Clock, ImageStore};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// One object of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub digest: Digest,
    /// The recipe's name; None: an artifact.
    pub image: Option<ImageName>,
    pub bytes: u64,
    pub packages: u32,
    pub made: Time,
    /// Of a container image: its name, and the digest that pins it.
    pub pinned: Option<(String, Digest)>,
}

pub trait Images: ImageStore + Send + Sync {
    fn kept(&self) -> Result<Vec<Kept>, Fault>;
    /// What a container image says of itself. None: it is none.
    fn container(&self, _image: &Digest) -> Result<Option<Container>, Fault> {
        Ok(None)
    }
    /// When an object was made. None: it is not there.
    fn made(&self, object: &Digest) -> Result<Option<Time>, Fault> {
        Ok(self.kept()?.into_iter().find(|kept| kept.digest == *object).map(|kept| kept.made))
    }
    /// Removes objects that are neither in `keep` nor the current image of a recipe nor quite new; returns their digests and bytes.
    fn sweep(&self, keep: &BTreeSet<Digest>) -> Result<Vec<(Digest, u64)>, Fault>;
    /// What of the store cannot be used, and why.
    fn corrupt(&self) -> Result<Vec<Fault>, Fault> {
        Ok(Vec::new())
    }
}

impl Images for store::Store {
    fn kept(&self) -> Result<Vec<Kept>, Fault> {
        let (manifests, damaged) = self.list()?;
        for fault in damaged {
            tracing::warn!(code = fault.code, "{}", fault.message);
        }
        // A base is neither an image nor an artifact: it is kept to save time.
        let kept = manifests.into_iter().filter(|m| m.kind != store::Kind::Base).map(|m| Kept {
            image: (m.kind == store::Kind::Image).then(|| ImageName::new(m.name.clone()).ok()).flatten(),
            digest: m.digest,
            bytes: m.bytes,
            packages: u32::try_from(m.packages.len()).unwrap_or(u32::MAX),
            made: m.made,
            pinned: m.container.map(|c| (c.reference, c.manifest)),
        });
        Ok(kept.collect())
    }

    fn container(&self, image: &Digest) -> Result<Option<Container>, Fault> {
        Ok(self.manifest(image)?.container)
    }

    fn made(&self, object: &Digest) -> Result<Option<Time>, Fault> {
        match self.manifest(object) {
            Ok(manifest) => Ok(Some(manifest.made)),
            Err(fault) if fault.code == "object-missing" => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn sweep(&self, keep: &BTreeSet<Digest>) -> Result<Vec<(Digest, u64)>, Fault> {
        Ok(self.gc(keep, 0)?.into_iter().map(|r| (r.digest, r.bytes)).collect())
    }

    fn corrupt(&self) -> Result<Vec<Fault>, Fault> {
        self.damage()
    }
}

pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Time {
        disk::files::now()
    }

    /// `CLOCK_BOOTTIME` of this boot: every process of the machine reads the same clock.
    fn steady(&self) -> Option<Steady> {
        static BOOT: OnceLock<u64> = OnceLock::new();
        let clock = *BOOT.get_or_init(|| {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
            // Without an id, no other process's clock is taken for this one.
            u64::from_str_radix(&digits, 16).unwrap_or_else(|_| u64::from(std::process::id()))
        });
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ms = u64::try_from(up.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(up.tv_nsec).unwrap_or(0) / 1_000_000;
        Some(Steady { clock, ms })
    }
}
