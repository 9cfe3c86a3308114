//! Unpacks a tarball that nobody vouches for into an empty directory: nothing may land outside, nothing may be a device,
//! nothing may fill the disk.

use disk::files;
use model::Fault;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// More entries than any artifact has; each costs memory.
const ENTRIES: usize = 1_000_000;

fn bad(archive: &Path, entry: &Path, why: &str) -> Fault {
    Fault::yours("bad-archive", format!("{}: {}: {why}", archive.display(), entry.display()))
        .hint("pack it again from a clean directory: tar -C DIR -czf FILE .")
}

/// By the first bytes, not by the name.
fn reader(path: &Path) -> Result<Box<dyn Read>, Fault> {
    let mut head = [0u8; 6];
    let mut n = 0;
    let mut file = File::open(path).map_err(files::at("cannot read", path))?;
    while n < head.len() {
        match file.read(&mut head[n..]).map_err(files::at("cannot read", path))? {
            0 => break,
            more => n += more,
        }
    }
    let file = BufReader::with_capacity(1 << 18, File::open(path).map_err(files::at("cannot read", path))?);
    Ok(match &head[..n] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::new(file).map_err(files::at("cannot read", path))?),
        _ => Box::new(file),
    })
}

/// The entry's place below the root. `Ok(None)`: the root itself.
fn place(entry: &Path) -> Result<Option<PathBuf>, &'static str> {
    let mut place = PathBuf::new();
    for part in entry.components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err("its path has .. in it"),
            Component::RootDir | Component::Prefix(_) => return Err("its path is absolute"),
        }
    }
    Ok((!place.as_os_str().is_empty()).then_some(place))
}

/// Whether a link at `from` (below the root) to `target` stays below the root, by its text alone.
pub fn stays_within(from: &Path, target: &Path) -> bool {
    let mut depth = from.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

/// Unpacks into `root`, which is empty, at most `limit_bytes` of content.
pub fn unpack(path: &Path, root: &Path, limit_bytes: u64) -> Result<(), Fault> {
    let broken = |e: std::io::Error| {
        if e.raw_os_error().is_some() {
            return files::fault("cannot unpack", path, &e);
        }
        Fault::yours("bad-archive", format!("{} is no whole tar archive (tar, tar.gz, tar.xz or tar.zst): {e}", path.display()))
            .hint("was it cut short while it was copied? `tar -tf FILE` tells")
    };
    let mut archive = tar::Archive::new(Tail { inner: reader(path)?, zeros: 0 });
    let mut into = Into { archive: path, root, left: limit_bytes, dirs: BTreeSet::new() };
    let mut count = 0;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        count += 1;
        if count > ENTRIES {
            return Err(bad(path, Path::new(""), "it has more than a million entries"));
        }
        into.take(&mut entry).map_err(|e| match e {
            Trouble::Fault(f) => f,
            Trouble::Read(e) => broken(e),
        })?;
    }
    if count == 0 {
        return Err(Fault::yours("bad-archive", format!("{} has nothing in it, or is no tar archive", path.display()))
            .hint("give a directory, or a tar, tar.gz, tar.xz or tar.zst"));
    }
    // Read to the very end: only there does a compressed stream show its checksum, and a tar its mark that nothing is missing.
    let mut tail = archive.into_inner();
    std::io::copy(&mut tail.by_ref().take(limit_bytes), &mut std::io::sink()).map_err(broken)?;
    if tail.zeros >= 512 { Ok(()) } else { Err(broken(std::io::ErrorKind::UnexpectedEof.into())) }
}

/// Counts the zero bytes that stand at the end of what was read so far.
struct Tail<R> {
    inner: R,
    zeros: usize,
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let zeros = buffer[..n].iter().rev().take_while(|b| **b == 0).count();
        self.zeros = if zeros == n { self.zeros.saturating_add(n) } else { zeros };
        Ok(n)
    }
}

enum Trouble {
    Fault(Fault),
    Read(std::io::Error),
}

impl From<Fault> for Trouble {
    fn from(f: Fault) -> Self {
        Trouble::Fault(f)
    }
}

struct Into<'a> {
    archive: &'a Path,
    root: &'a Path,
    left: u64,
    /// Places known to be directories that we made: a link can never stand in for one.
    dirs: BTreeSet<PathBuf>,
}

impl Into<'_> {
    fn take<R: Read>(&mut self, entry: &mut tar::Entry<R>) -> Result<(), Trouble> {
        let name = entry.path().map_err(Trouble::Read)?.into_owned();
        let Some(place) = place(&name).map_err(|why| bad(self.archive, &name, why))? else { return Ok(()) };
        if let Some(parent) = place.parent() {
            self.make_dirs(parent, &name)?;
        }
        let target = self.root.join(&place);
        match entry.header().entry_type() {
            EntryType::Directory => self.make_dirs(&place, &name)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(entry, &target, &name)?,
            EntryType::Symlink => {
                let to = entry.link_name().map_err(Trouble::Read)?.unwrap_or_default().into_owned();
                if !stays_within(&place, &to) {
                    return Err(bad(self.archive, &name, &format!("the link leads out of the archive, to {}", to.display())).into());
                }
                self.make_room(&target, &name)?;
                std::os::unix::fs::symlink(&to, &target).map_err(files::at("cannot make the link", &target))?;
            }
            EntryType::Link => {
                let to = entry.link_name().map_err(Trouble::Read)?.unwrap_or_default().into_owned();
                self.hard_link(&to, &target, &name)?;
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(bad(self.archive, &name, "it is a device, a pipe or something else that is no file, directory or link").into()),
        }
        Ok(())
    }

    fn make_dirs(&mut self, place: &Path, name: &Path) -> Result<(), Fault> {
        let mut at = PathBuf::new();
        for part in place.components() {
            at.push(part);
            if self.dirs.contains(&at) {
                continue;
            }
            match fs::create_dir(self.root.join(&at)) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    return Err(bad(self.archive, name, "a part of its path is a file or a link"));
                }
                Err(e) => return Err(files::fault("cannot make", &self.root.join(&at), &e)),
            }
            self.dirs.insert(at.clone());
        }
        Ok(())
    }

    /// A later entry of the same name takes the place of an earlier one, as tar does; never that of a directory.
    fn make_room(&self, target: &Path, name: &Path) -> Result<(), Fault> {
        match fs::symlink_metadata(target) {
            Ok(m) if m.is_dir() => Err(bad(self.archive, name, "a directory of the same name came before it")),
            Ok(_) => files::remove_file(target),
            Err(_) => Ok(()),
        }
    }

    fn file<R: Read>(&mut self, entry: &mut tar::Entry<R>, target: &Path, name: &Path) -> Result<(), Trouble> {
        self.make_room(target, name)?;
        let mode = entry.header().mode().map_err(Trouble::Read)?;
        let mut file = files::create_new(target, plain_mode(mode, false))?;
        let mut limited = entry.by_ref().take(self.left + 1);
        let mut buffer = vec![0u8; 1 << 17];
        loop {
            let n = limited.read(&mut buffer).map_err(Trouble::Read)?;
            if n == 0 {
                return Ok(());
            }
            if n as u64 > self.left {
                return Err(bad(self.archive, name, "what is in the archive is larger than the space there is for it").into());
            }
            self.left -= n as u64;
            std::io::Write::write_all(&mut file, &buffer[..n]).map_err(files::at("cannot write", target))?;
        }
    }

    fn hard_link(&mut self, to: &Path, target: &Path, name: &Path) -> Result<(), Fault> {
        let source = place(to).map_err(|why| bad(self.archive, name, why))?.map(|p| self.root.join(p));
        let whole = |p: &PathBuf| self.parents_are_ours(p) && fs::symlink_metadata(p).is_ok_and(|m| m.is_file());
        let Some(source) = source.filter(whole) else {
            return Err(bad(self.archive, name, &format!("it is a hard link to {}, which is no file that came before it", to.display())));
        };
        self.make_room(target, name)?;
        fs::hard_link(&source, target).map_err(files::at("cannot link", target))
    }

    fn parents_are_ours(&self, path: &Path) -> bool {
        let below = path.strip_prefix(self.root).ok().and_then(Path::parent);
        below.is_some_and(|p| p.as_os_str().is_empty() || self.dirs.contains(p))
    }
}

/// Modes that tell how a file may be used and nothing more: read for all, write for none but root, execute kept.
pub fn plain_mode(mode: u32, is_dir: bool) -> u32 {
    if is_dir || mode & 0o111 != 0 { 0o755 } else { 0o644 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Kind, name, link's target, content.
    type Case<'a> = (EntryType, &'a str, Option<&'a str>, &'a str);

    fn header(kind: EntryType, name: &str, link: Option<&str>, size: u64) -> tar::Header {
        let mut h = tar::Header::new_ustar();
        h.set_entry_type(kind);
        // Written by hand: the library refuses to write what a hostile archive holds.
        h.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            h.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        h.set_mode(0o777);
        h.set_size(size);
        h.set_cksum();
        h
    }

    fn try_unpack(entries: &[Case]) -> (tempfile::TempDir, Result<(), Fault>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        for (kind, name, link, text) in entries {
            tar.append(&header(*kind, name, *link, text.len() as u64), text.as_bytes()).unwrap();
        }
        tar.finish().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let result = unpack(&path, &root, 1 << 20);
        (dir, result)
    }

    #[test]
    fn hostile_archives_are_refused_and_write_nothing_outside() {
        use EntryType::{Block, Char, Fifo, Link, Regular, Symlink};
        let cases: &[&[Case]] = &[
            &[(Regular, "../evil", None, "x")],
            &[(Regular, "a/../../evil", None, "x")],
            &[(Regular, "/evil", None, "x")],
            &[(Symlink, "l", Some("/etc"), "")],
            &[(Symlink, "l", Some("../x"), "")],
            &[(Symlink, "a/l", Some("../../x"), "")],
            &[(Symlink, "l", Some("."), ""), (Regular, "l/evil", None, "x")],
            &[(Link, "h", Some("/etc/passwd"), "")],
            &[(Link, "h", Some("nothing"), "")],
            &[(Symlink, "l", Some("f"), ""), (Link, "h", Some("l"), "")],
            &[(Char, "c", None, "")],
            &[(Block, "b", None, "")],
            &[(Fifo, "p", None, "")],
            &[(Regular, "f", None, "x"), (Regular, "f/g", None, "x")],
        ];
        for case in cases {
            let (dir, result) = try_unpack(case);
            assert_eq!(result.unwrap_err().code, "bad-archive", "{case:?}");
            assert!(!dir.path().join("evil").exists());
        }
    }

    #[test]
    fn a_good_one_comes_out_whole() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let (dir, result) = try_unpack(&[
            (Directory, "./", None, ""),
            (Directory, "d", None, ""),
            (Regular, "d/f", None, "text"),
            (Symlink, "d/l", Some("../d/f"), ""),
            (Link, "h", Some("d/f"), ""),
            (Regular, "d/f2", None, "old"),
            (Regular, "d/f2", None, "new"),
        ]);
        result.unwrap();
        let root = dir.path().join("root");
        assert_eq!(fs::read_to_string(root.join("h")).unwrap(), "text");
        assert_eq!(fs::read_to_string(root.join("d/l")).unwrap(), "text");
        assert_eq!(fs::read_to_string(root.join("d/f2")).unwrap(), "new");
    }

    #[test]
    fn a_bomb_and_a_cut_one_are_refused() {
        let big = "x".repeat((1 << 20) + 1);
        let (_d, result) = try_unpack(&[(EntryType::Regular, "big", None, &big)]);
        assert!(result.unwrap_err().message.contains("larger than the space"));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(&mut gz);
        tar.append(&header(EntryType::Regular, "f", None, 5000), "y".repeat(5000).as_bytes()).unwrap();
        tar.finish().unwrap();
        drop(tar);
        let bytes = gz.finish().unwrap();
        for cut in [10, 20, bytes.len() / 2, bytes.len() - 9] {
            let root = dir.path().join(format!("r{cut}"));
            fs::create_dir(&root).unwrap();
            File::create(&path).unwrap().write_all(&bytes[..cut]).unwrap();
            assert_eq!(unpack(&path, &root, 1 << 20).unwrap_err().code, "bad-archive", "{cut}");
        }
        for garbage in [&b""[..], b"hello", &[7u8; 4096]] {
            fs::write(&path, garbage).unwrap();
            assert_eq!(unpack(&path, dir.path(), 1 << 20).unwrap_err().code, "bad-archive");
        }
    }
}
