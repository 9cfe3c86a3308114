//! An OCI image layout, as a directory or as a tar archive of one. It is read where it is; what lies in it is as little believed as a registry.

use crate::document::{Descriptor, REF_NAME, Top, choose, top};
use crate::limits::Limits;
use crate::source::Blobs;
use crate::tar_entries::{Entries, Kind};
use crate::trouble::{bad, shown};
use disk::files;
use model::{Digest, Fault};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// More files than any archive of images has.
const FILES: usize = 100_000;

enum Files {
    Directory(OwnedFd),
    /// By name: where the bytes begin, and how many they are.
    Archive(BTreeMap<String, (u64, u64)>),
}

pub struct Layout {
    at: PathBuf,
    files: Files,
    name: Option<String>,
    limits: Limits,
}

fn no_layout(at: &Path, why: &str) -> Fault {
    Fault::yours("no-oci-layout", format!("{} is no OCI image layout: {why}", at.display()))
        .hint("`skopeo copy docker-archive:FILE oci-archive:FILE` makes one of what `docker save` wrote")
}

/// A pipe would keep who opens it waiting, and is no file.
fn plain(dir: impl AsFd, path: &Path, how: ResolveFlags) -> rustix::io::Result<File> {
    let fd = rustix::fs::openat2(dir, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty(), how)?;
    let is_file = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode).is_file();
    if is_file { Ok(fd.into()) } else { Err(Errno::INVAL) }
}

fn unreadable(at: &Path, e: Errno) -> Fault {
    match e {
        Errno::INVAL => bad("bad-image", format!("{} is no file", at.display())),
        Errno::LOOP | Errno::XDEV => {
            bad("bad-image", format!("{} leads through a link", at.display())).hint("`cp -rL` makes a copy without links")
        }
        e => files::fault("cannot read", at, &e.into()),
    }
}

impl Layout {
    pub fn directory(at: &Path, name: Option<String>, limits: &Limits) -> Result<Layout, Fault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(at, flags, Mode::empty()).map_err(|e| files::fault("cannot open", at, &e.into()))?;
        let layout = Layout { at: at.to_path_buf(), files: Files::Directory(dir), name, limits: limits.clone() };
        match layout.file("oci-layout", 0) {
            Err(e) if e.code == "no-such-blob" => Err(no_layout(at, "it has no file oci-layout")),
            other => other.map(|_| layout),
        }
    }

    pub fn archive(at: &Path, name: Option<String>, limits: &Limits) -> Result<Layout, Fault> {
        let file = plain(CWD, at, ResolveFlags::empty()).map_err(|e| unreadable(at, e))?;
        let mut entries = Entries::new(BufReader::with_capacity(1 << 18, file));
        let mut held = BTreeMap::new();
        while let Some(entry) = entries.next().map_err(|e| no_layout(at, &shown(&e.to_string())))? {
            let name = String::from_utf8_lossy(&entry.name).trim_start_matches("./").to_string();
            // No other name is ever asked for, and a name may have a megabyte.
            let is_ours = name.len() < 100 && (name.starts_with("blobs/") || ["oci-layout", "index.json"].contains(&name.as_str()));
            if is_ours && entry.kind == Kind::File && entry.pieces.len() == 1 {
                held.insert(name, (entries.position(), entry.bytes));
            }
            if held.len() > FILES {
                return Err(no_layout(at, "it has too many files"));
            }
        }
        if !held.contains_key("oci-layout") {
            return Err(no_layout(at, "it has no file oci-layout"));
        }
        Ok(Layout { at: at.to_path_buf(), files: Files::Archive(held), name, limits: limits.clone() })
    }

    fn file(&self, name: &str, from: u64) -> Result<(PathBuf, Box<dyn Read>), Fault> {
        let missing = |at: &Path| Fault::yours("no-such-blob", format!("{} has no {name}", at.display())).hint("copy the image again");
        match &self.files {
            Files::Directory(dir) => {
                let path = self.at.join(name);
                // Whoever makes a layout must not choose which file of this machine is read.
                let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                let mut file = plain(dir, Path::new(name), how).map_err(|e| match e {
                    Errno::NOENT => missing(&self.at),
                    e => unreadable(&path, e),
                })?;
                file.seek(SeekFrom::Start(from)).map_err(files::at("cannot read", &path))?;
                Ok((path, Box::new(file)))
            }
            Files::Archive(held) => {
                let (at, bytes) = *held.get(name).ok_or_else(|| missing(&self.at))?;
                let mut file = File::open(&self.at).map_err(files::at("cannot read", &self.at))?;
                file.seek(SeekFrom::Start(at.saturating_add(from))).map_err(files::at("cannot read", &self.at))?;
                Ok((self.at.clone(), Box::new(file.take(bytes.saturating_sub(from)))))
            }
        }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, Fault> {
        let (path, from) = self.file(name, 0)?;
        let mut bytes = Vec::new();
        from.take(self.limits.document_bytes + 1).read_to_end(&mut bytes).map_err(files::at("cannot read", &path))?;
        if bytes.len() as u64 > self.limits.document_bytes {
            return Err(crate::trouble::too_large(format!("{name} has more than {} bytes", self.limits.document_bytes)));
        }
        Ok(bytes)
    }

    fn blob(digest: &Digest) -> String {
        format!("blobs/sha256/{}", digest.hex())
    }
}

impl Blobs for Layout {
    fn top(&mut self) -> Result<(Vec<u8>, Option<Digest>), Fault> {
        let index = self.document("index.json")?;
        let Top::Index(all) = top(&index, &self.limits)? else { return Err(no_layout(&self.at, "its index.json is no index")) };
        let names = || {
            let names: Vec<String> = all.iter().filter_map(|d| d.annotations.get(REF_NAME)).take(20).map(|n| shown(n)).collect();
            format!("its images are {}", names.join(", "))
        };
        let one = match &self.name {
            Some(name) => all
                .iter()
                .find(|d| d.annotations.get(REF_NAME) == Some(name))
                .ok_or_else(|| Fault::yours("no-such-image", format!("{} has no image {name}; {}", self.at.display(), names())))?,
            None => match &all[..] {
                [one] => one,
                [] => return Err(no_layout(&self.at, "it has no image")),
                all => choose(all, crate::document::architecture()).map_err(|_| {
                    Fault::yours("which-image", format!("{} has {} images; {}", self.at.display(), all.len(), names()))
                        .hint("write the name behind the path: oci:DIRECTORY:NAME")
                })?,
            },
        };
        Ok((self.document(&Self::blob(&one.digest))?, Some(one.digest.clone())))
    }

    fn manifest(&mut self, of: &Descriptor) -> Result<Vec<u8>, Fault> {
        self.document(&Self::blob(&of.digest))
    }

    fn open(&mut self, of: &Descriptor, from: u64) -> Result<(u64, Box<dyn Read + '_>), Fault> {
        let (_, file) = self.file(&Self::blob(&of.digest), from)?;
        Ok((from, file))
    }

    /// What is on this machine is read where it is.
    fn offers(&mut self, _: &Descriptor) -> bool {
        false
    }

    fn may_retry(&self) -> bool {
        false
    }
}
