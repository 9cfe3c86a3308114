//! Writes a tree as one tar stream that depends on the tree only: sorted names, numeric owners, whole seconds, extended attributes and
//! long names as PAX records in a fixed order. It follows no link and crosses no mount.

use disk::files;
use model::Fault;
use rustix::fs::{FileType, major, minor};
use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Extended attributes of one file: the kernel's own limit.
const XATTR_MAX: usize = 64 << 10;

struct Writer<'a, W: Write> {
    root: &'a Path,
    epoch: u64,
    tar: Builder<W>,
    /// Device and inode of files with several names, and the first of them.
    links: HashMap<(u64, u64), PathBuf>,
    device: u64,
}

/// Times after `epoch` (seconds since 1970) become `epoch`.
pub fn write<W: Write>(root: &Path, epoch: u64, to: W) -> Result<W, Fault> {
    let meta = fs::symlink_metadata(root).map_err(files::at("cannot read", root))?;
    if !meta.is_dir() {
        return Err(Fault::yours("not-a-directory", format!("{} is no directory", root.display())));
    }
    let mut writer = Writer { root, epoch, tar: Builder::new(to), links: HashMap::new(), device: meta.dev() };
    writer.children(Path::new(""))?;
    writer.tar.into_inner().map_err(files::at("cannot write the layer of", root))
}

impl<W: Write> Writer<'_, W> {
    fn children(&mut self, dir: &Path) -> Result<(), Fault> {
        let at = self.root.join(dir);
        let mut names = Vec::new();
        for entry in fs::read_dir(&at).map_err(files::at("cannot list", &at))? {
            names.push(entry.map_err(files::at("cannot list", &at))?.file_name());
        }
        names.sort();
        for name in names {
            let path = dir.join(name);
            let full = self.root.join(&path);
            let meta = fs::symlink_metadata(&full).map_err(files::at("cannot look at", &full))?;
            self.entry(&path, &full, &meta)?;
            if meta.is_dir() && meta.dev() == self.device {
                self.children(&path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, full: &Path, meta: &Metadata) -> Result<(), Fault> {
        let mut header = Header::new_ustar();
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(meta.uid().into());
        header.set_gid(meta.gid().into());
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0).min(self.epoch));
        header.set_size(0);
        let mut link = None;
        let kind = FileType::from_raw_mode(meta.mode());
        let entry_type = match kind {
            FileType::Directory => EntryType::Directory,
            FileType::Symlink => {
                link = Some(fs::read_link(full).map_err(files::at("cannot read the link", full))?);
                EntryType::Symlink
            }
            FileType::RegularFile => match self.first_name(path, meta) {
                Some(first) => {
                    link = Some(first);
                    EntryType::Link
                }
                None => {
                    header.set_size(meta.size());
                    EntryType::Regular
                }
            },
            FileType::Fifo => EntryType::Fifo,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            // A socket is a process's, not a tree's.
            _ => return Ok(()),
        };
        header.set_entry_type(entry_type);
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            header
                .set_device_major(major(meta.rdev()))
                .and_then(|()| header.set_device_minor(minor(meta.rdev())))
                .map_err(files::at("cannot pack", full))?;
        }
        let records = self.names(&mut header, path, link.as_deref(), kind == FileType::Directory);
        let linked = header.entry_type() == EntryType::Link;
        self.append(&mut header, records, full, linked).map_err(files::at("cannot pack", full))
    }

    fn first_name(&mut self, path: &Path, meta: &Metadata) -> Option<PathBuf> {
        if meta.nlink() < 2 {
            return None;
        }
        let key = (meta.dev(), meta.ino());
        if let Some(first) = self.links.get(&key) {
            return Some(first.clone());
        }
        self.links.insert(key, path.to_path_buf());
        None
    }

    /// Sets name and link in the header, and gives back what of them needs a record.
    fn names(&self, header: &mut Header, path: &Path, link: Option<&Path>, dir: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut name = path.as_os_str().as_bytes().to_vec();
        if dir {
            name.push(b'/');
        }
        let mut records = Vec::new();
        let ustar = header.as_ustar_mut().expect("the header was made as ustar");
        for (field, bytes, key) in
            [(&mut ustar.name, Some(name.as_slice()), "path"), (&mut ustar.linkname, link.map(|l| l.as_os_str().as_bytes()), "linkpath")]
        {
            let Some(bytes) = bytes else { continue };
            let fits = bytes.len().min(field.len());
            field[..fits].copy_from_slice(&bytes[..fits]);
            if bytes.len() > field.len() || !bytes.is_ascii() {
                records.push((key.as_bytes().to_vec(), bytes.to_vec()));
            }
        }
        records
    }

    fn append(&mut self, header: &mut Header, mut records: Vec<(Vec<u8>, Vec<u8>)>, full: &Path, linked: bool) -> std::io::Result<()> {
        if !linked {
            records.extend(xattrs(full)?.into_iter().map(|(name, value)| ([b"SCHILY.xattr.".as_slice(), &name].concat(), value)));
        }
        header.set_cksum();
        if !records.is_empty() {
            let body = pax(&records);
            let mut extension = Header::new_ustar();
            extension.set_entry_type(EntryType::XHeader);
            extension.as_ustar_mut().expect("the header was made as ustar").name[..9].copy_from_slice(b"PaxHeader");
            extension.set_mode(0o644);
            extension.set_uid(0);
            extension.set_gid(0);
            extension.set_mtime(0);
            extension.set_size(body.len() as u64);
            extension.set_cksum();
            self.tar.append(&extension, body.as_slice())?;
        }
        if header.entry_type() != EntryType::Regular {
            return self.tar.append(header, std::io::empty());
        }
        // `append` copies to the end whatever the header says: a file that changes underway would tear the stream.
        let size = header.entry_size()?;
        let mut file = Exactly { file: File::open(full)?, left: size };
        self.tar.append(header, &mut file)?;
        if file.left == 0 { Ok(()) } else { Err(std::io::Error::other("it changed while it was read")) }
    }
}

struct Exactly {
    file: File,
    left: u64,
}

impl std::io::Read for Exactly {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        let count = self.file.read(&mut to[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}

/// `length key=value\n`, the length counting itself.
fn pax(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        out.extend_from_slice(format!("{length} ").as_bytes());
        out.extend_from_slice(key);
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

/// Sorted; empty where the filesystem has none.
fn xattrs(path: &Path) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut buffer = vec![0u8; XATTR_MAX];
    let count = match rustix::fs::llistxattr(path, buffer.as_mut_slice()) {
        Ok(count) => count,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in buffer[..count].split_inclusive(|b| *b == 0).filter_map(|n| CStr::from_bytes_with_nul(n).ok()) {
        let mut value = vec![0u8; XATTR_MAX];
        let size = rustix::fs::lgetxattr(path, OsStr::from_bytes(name.to_bytes()), value.as_mut_slice())?;
        value.truncate(size);
        found.push((name.to_bytes().to_vec(), value));
    }
    found.sort();
    Ok(found)
}
