//! What a machine needs to come up and an image does not hold: kernel, modules, the EFI stub, busybox, dmsetup.
//! It is a tree of unpacked packages, patched apart from images. Its links are followed inside it only. It must not be run on this machine.

#![deny(clippy::disallowed_methods, reason = "paths of a kit are resolved in within.rs and nowhere else")]

use crate::elf;
use crate::elf::Module;
use disk::files;
use disk::within::Root;
use model::Fault;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Unpacked, not installed: their maintainer scripts would build an initrd of this machine's.
pub const PACKAGES: [&str; 4] = ["linux-image-cloud-amd64", "busybox-static", "systemd-boot-efi", "dmsetup"];
const LIBRARIES: [&str; 3] = ["lib/x86_64-linux-gnu", "lib64", "lib"];
/// Above every kernel and library there is.
const MOST_BYTES: u64 = 256 << 20;

pub struct Kit {
    at: PathBuf,
    root: Root,
    /// `6.1.0-56-cloud-amd64`
    pub version: String,
    /// Name (with `_`) to path in the kit.
    modules: BTreeMap<String, String>,
    builtin: Vec<String>,
}

impl Kit {
    pub fn open(at: &Path) -> Result<Kit, Fault> {
        let mut kit =
            Kit { at: at.to_path_buf(), root: Root::open(at)?, version: String::new(), modules: BTreeMap::new(), builtin: Vec::new() };
        let kernels: Vec<String> = kit.names("boot").iter().filter_map(|n| n.strip_prefix("vmlinuz-").map(str::to_string)).collect();
        kit.version = match kernels.as_slice() {
            [one] => one.clone(),
            [] => return Err(kit.lacks("boot/vmlinuz-*", PACKAGES[0])),
            many => {
                return Err(Fault::yours("several-kernels", format!("{} has {} kernels: {}", at.display(), many.len(), many.join(", ")))
                    .hint("keep one kernel package in the kit"));
            }
        };
        let base = format!("lib/modules/{}", kit.version);
        kit.list_modules(&format!("{base}/kernel"), 0);
        let builtin = String::from_utf8_lossy(&kit.read(&format!("{base}/modules.builtin"), PACKAGES[0])?).into_owned();
        kit.builtin = builtin.lines().filter_map(module_name).collect();
        Ok(kit)
    }

    fn lacks(&self, what: &str, package: &str) -> Fault {
        Fault::yours("kit-incomplete", format!("{} has no {what}", self.at.display())).hint(format!("unpack the package {package} into it"))
    }

    /// Where it may lie: unpacked packages alone have no links from `lib` to `usr/lib`, and newer ones only bring the latter.
    fn places(path: &str) -> [PathBuf; 2] {
        [PathBuf::from(path), Path::new("usr").join(path)]
    }

    fn open_in(&self, path: &str, flags: OFlags) -> Option<OwnedFd> {
        Self::places(path).iter().find_map(|place| self.root.open_in(place, flags).ok())
    }

    /// Sorted; empty where there is no such directory.
    fn names(&self, dir: &str) -> Vec<String> {
        let entries = Self::places(dir).iter().find_map(|place| self.root.list(place).ok()).unwrap_or_default();
        let mut names: Vec<String> = entries.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect();
        names.sort();
        names
    }

    fn list_modules(&mut self, dir: &str, depth: u32) {
        for name in self.names(dir) {
            let path = format!("{dir}/{name}");
            match module_name(&name) {
                Some(module) => drop(self.modules.insert(module, path)),
                None if depth < 12 => self.list_modules(&path, depth + 1),
                None => {}
            }
        }
    }

    pub fn read(&self, path: &str, package: &str) -> Result<Vec<u8>, Fault> {
        let fd = self.open_in(path, OFlags::RDONLY | OFlags::NONBLOCK).ok_or_else(|| self.lacks(path, package))?;
        let mut bytes = Vec::new();
        let place = self.at.join(path);
        File::from(fd).take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(files::at("cannot read", &place))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(Fault::yours("too-large", format!("{} is over {} MB", place.display(), MOST_BYTES >> 20)));
        }
        Ok(bytes)
    }

    pub fn kernel(&self) -> Result<Vec<u8>, Fault> {
        self.read(&format!("boot/vmlinuz-{}", self.version), PACKAGES[0])
    }

    pub fn stub(&self) -> Result<Vec<u8>, Fault> {
        self.read("usr/lib/systemd/boot/efi/linuxx64.efi.stub", "systemd-boot-efi")
    }

    pub fn busybox(&self) -> Result<Vec<u8>, Fault> {
        let bytes = self.read("bin/busybox", "busybox-static")?;
        match elf::program(&bytes, "busybox")?.loader {
            None => Ok(bytes),
            Some(_) => Err(Fault::yours("busybox-not-static", format!("the busybox in {} needs libraries", self.at.display()))
                .hint("unpack busybox-static instead of busybox")),
        }
    }

    /// A program and all it loads: where each goes in the initrd, and its bytes.
    pub fn program(&self, place: &str, package: &str) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
        let bytes = self.read(place, package)?;
        let mut found = BTreeMap::new();
        let mut open = vec![(place.to_string(), bytes)];
        while let Some((place, bytes)) = open.pop() {
            let needs = elf::program(&bytes, &place)?;
            found.insert(place, bytes);
            if let Some(loader) = needs.loader.map(|l| l.trim_start_matches('/').to_string()) {
                let bytes = self.read(&loader, "libc6")?;
                found.insert(loader, bytes);
            }
            for library in needs.libraries {
                let place = format!("lib/{library}");
                // The loader is among the libraries of the C library, and has its place already.
                if found.contains_key(&place) || library.starts_with("ld-linux") || open.iter().any(|(p, _)| *p == place) {
                    continue;
                }
                let bytes = LIBRARIES.iter().find_map(|dir| self.read(&format!("{dir}/{library}"), package).ok());
                open.push((place, bytes.ok_or_else(|| self.lacks(&library, package))?));
            }
        }
        Ok(found)
    }

    pub fn is_builtin(&self, module: &str) -> bool {
        self.builtin.iter().any(|b| b == module)
    }

    /// What is compressed on disk comes out as the kernel wants it. None: the kernel has no such module of its own.
    pub fn module(&self, name: &str) -> Result<Option<(Vec<u8>, Module)>, Fault> {
        let Some(path) = self.modules.get(name) else { return Ok(None) };
        let packed = self.read(path, PACKAGES[0])?;
        let mut bytes = Vec::new();
        let read = match path.rsplit_once('.').map(|(_, end)| end) {
            Some("xz") => liblzma::read::XzDecoder::new(&*packed).take(MOST_BYTES).read_to_end(&mut bytes),
            Some("zst") => zstd::Decoder::new(&*packed).and_then(|d| d.take(MOST_BYTES).read_to_end(&mut bytes)),
            Some("gz") => flate2::read::GzDecoder::new(&*packed).take(MOST_BYTES).read_to_end(&mut bytes),
            _ => {
                bytes = packed;
                Ok(0)
            }
        };
        read.map_err(|e| Fault::yours("bad-module", format!("{} cannot be unpacked: {e}", self.at.join(path).display())))?;
        let info = elf::module(&bytes, path)?;
        Ok(Some((bytes, info)))
    }
}

/// `kernel/fs/erofs/erofs.ko.xz` is `erofs`.
fn module_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (stem, rest) = name.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| elf::plain(stem))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's own tree")]
mod tests {
    use super::*;

    #[test]
    fn a_tree_without_a_kernel_says_which_package_brings_one() {
        let dir = tempfile::tempdir().unwrap();
        let fault = Kit::open(dir.path()).err().unwrap();
        assert_eq!(fault.code, "kit-incomplete");
        assert!(fault.hint.unwrap().contains("linux-image-cloud-amd64"));
        std::fs::create_dir(dir.path().join("boot")).unwrap();
        std::fs::write(dir.path().join("boot/vmlinuz-1"), "").unwrap();
        std::fs::write(dir.path().join("boot/vmlinuz-2"), "").unwrap();
        assert_eq!(Kit::open(dir.path()).err().unwrap().code, "several-kernels");
    }

    #[test]
    fn links_out_of_the_kit_stay_in_it() {
        let dir = tempfile::tempdir().unwrap();
        for d in ["boot", "lib/modules/1/kernel", "usr/lib/systemd/boot/efi"] {
            std::fs::create_dir_all(dir.path().join(d)).unwrap();
        }
        std::fs::write(dir.path().join("boot/vmlinuz-1"), "k").unwrap();
        std::fs::write(dir.path().join("lib/modules/1/modules.builtin"), "kernel/fs/x/over-lay.ko\n").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("usr/lib/systemd/boot/efi/linuxx64.efi.stub")).unwrap();
        let kit = Kit::open(dir.path()).unwrap();
        assert!(kit.is_builtin("over_lay"));
        assert_eq!(kit.stub().unwrap_err().code, "kit-incomplete");
    }

    #[test]
    fn names_of_modules() {
        assert_eq!(module_name("a/b/dm-mod.ko.xz").as_deref(), Some("dm_mod"));
        assert_eq!(module_name("x.ko"), Some("x".into()));
        assert_eq!(module_name("modules.order"), None);
    }
}
