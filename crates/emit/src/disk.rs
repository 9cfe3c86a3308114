//! Puts a bootable disk together: EFI system partition, root, the root's hash tree, and the service's code with its own.
//! It must not depend on when, where or by whom: equal inputs give equal bytes.

use crate::gpt;
use crate::gpt::{Entry, Guid};
use crate::initrd;
use crate::initrd::Volumes;
use crate::kit::Kit;
use crate::uki;
use crate::uki::Section;
use crate::verity::Verity;
use crate::{Emitted, Part, fat};
use disk::files;
use model::{Digest, Fault, Release};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the service's code lies. Either way its root hash is pinned in the disk's command line.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// An erofs file that becomes a part of this disk.
    Inside(&'a Path),
    /// An erofs file on a disk of its own, made by [`volume`].
    Apart(&'a Path),
}

pub struct DiskInputs<'a> {
    pub root_erofs: &'a Path,
    /// Kernel, modules, EFI stub and tools: see [`Kit`].
    pub kit: &'a Kit,
    pub artifact: Option<Artifact<'a>>,
    /// What runs on the machine: command, environment, user, drain. None: the image's own units only.
    pub release: Option<&'a Release>,
    /// More words for the kernel, behind ours.
    pub cmdline_extra: &'a str,
}

/// An erofs file with its hash tree, named after its root hash.
struct Volume<'a> {
    kind: &'static str,
    path: &'a Path,
    digest: Digest,
    bytes: u64,
    verity: Verity,
}

impl<'a> Volume<'a> {
    fn read(kind: &'static str, path: &'a Path) -> Result<Self, Fault> {
        must_be_erofs(path)?;
        let (digest, bytes) = files::digest_file(path)?;
        let verity = Verity::of_file(path, &digest, bytes)?;
        Ok(Volume { kind, path, digest, bytes, verity })
    }

    fn partitions(&self, data: Guid, hashes: Guid) -> [Content<'_>; 2] {
        let (data_id, hash_id) = self.verity.guids();
        let short = &self.verity.root_hex()[..16];
        let entry = |kind, id, name, bytes| Entry { kind, id, name, flags: gpt::READ_ONLY, bytes };
        let (name, hash_name) = (format!("afresh-{}-{short}", self.kind), format!("afresh-{}-hash-{short}", self.kind));
        let tree = &self.verity.tree;
        let data_part =
            Part { name: self.kind.to_string(), digest: self.digest.clone(), bytes: self.bytes, root_hash: Some(self.verity.root_hex()) };
        let hash_part =
            Part { name: format!("{}-hash", self.kind), digest: files::digest_of(tree), bytes: tree.len() as u64, root_hash: None };
        [
            Content { entry: entry(data, data_id, name, self.bytes), part: data_part, from: From::File(self.path) },
            Content { entry: entry(hashes, hash_id, hash_name, tree.len() as u64), part: hash_part, from: From::Bytes(tree) },
        ]
    }
}

enum From<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

struct Content<'a> {
    entry: Entry,
    part: Part,
    from: From<'a>,
}

/// A volume that is something else would be found out on the machine, too late.
fn must_be_erofs(path: &Path) -> Result<(), Fault> {
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(files::at("cannot read", path))?;
    let read = file.seek(SeekFrom::Start(1024)).and_then(|_| file.read_exact(&mut magic));
    if read.is_err() || magic != 0xe0f5_e1e2_u32.to_le_bytes() {
        return Err(Fault::yours("not-erofs", format!("{} is no erofs volume", path.display()))
            .hint("give the object of an image or of a packed artifact"));
    }
    Ok(())
}

/// A bootable disk for QEMU, clouds and machines with UEFI.
pub fn disk(inputs: &DiskInputs, out: &Path) -> Result<Emitted, Fault> {
    let root = Volume::read("root", inputs.root_erofs)?;
    let app = match inputs.artifact {
        Some(Artifact::Inside(path) | Artifact::Apart(path)) => Some(Volume::read("app", path)?),
        None => None,
    };
    let cmdline = command_line(&root.verity, app.as_ref().map(|a| &a.verity), inputs.cmdline_extra)?;
    let volumes = Volumes { root: &root.verity, app: app.as_ref().map(|a| &a.verity) };
    let boot = unified(inputs, &cmdline, &root.digest, &volumes)?;
    let boot_digest = files::digest_of(&boot);
    let number = u32::from_be_bytes(id("esp", &[&boot_digest]).0[..4].try_into().expect("four of sixteen bytes"));
    let esp = fat::esp(number, &boot)?;

    let esp_entry = Entry { kind: gpt::ESP, id: id("esp", &[&boot_digest]), name: "esp".into(), flags: 0, bytes: esp.len() as u64 };
    let esp_part = Part { name: "esp".into(), digest: files::digest_of(&esp), bytes: esp.len() as u64, root_hash: None };
    let mut contents = vec![Content { entry: esp_entry, part: esp_part, from: From::Bytes(&esp) }];
    contents.extend(root.partitions(gpt::ROOT, gpt::ROOT_VERITY));
    if let (Some(Artifact::Inside(_)), Some(app)) = (inputs.artifact, &app) {
        contents.extend(app.partitions(gpt::DATA, gpt::DATA));
    }
    let mut emitted = write(contents, out)?;
    emitted.parts.push(Part { name: "uki".into(), digest: boot_digest, bytes: boot.len() as u64, root_hash: None });
    Ok(emitted)
}

/// A disk with the service's code only, for a machine whose disk was made with [`Artifact::Apart`].
pub fn volume(artifact: &Path, out: &Path) -> Result<Emitted, Fault> {
    let app = Volume::read("app", artifact)?;
    write(app.partitions(gpt::DATA, gpt::DATA).into(), out)
}

/// Not `roothash=`: systemd in the image would set the same volume up once more, with tools the image need not have.
fn command_line(root: &Verity, app: Option<&Verity>, extra: &str) -> Result<String, Fault> {
    if extra.contains(['\0', '\n']) || !extra.is_ascii() {
        return Err(Fault::yours("bad-cmdline", "the kernel's command line is one line of ASCII"));
    }
    let mut line = format!("console=tty0 console=ttyS0,115200 panic=10 net.ifnames=0 systemd.gpt_auto=0 afresh.root={}", root.root_hex());
    if let Some(app) = app {
        line.push_str(&format!(" afresh.app={}", app.root_hex()));
    }
    if !extra.trim().is_empty() {
        line.push(' ');
        line.push_str(extra.trim());
    }
    if line.len() > 2000 {
        return Err(Fault::yours("bad-cmdline", format!("the kernel takes 2047 characters of command line, and this has {}", line.len())));
    }
    Ok(line)
}

fn unified(inputs: &DiskInputs, cmdline: &str, root: &Digest, volumes: &Volumes) -> Result<Vec<u8>, Fault> {
    let (kernel, initrd) = (inputs.kit.kernel()?, initrd::build(inputs.kit, volumes, inputs.release)?);
    let label = inputs.release.map_or_else(|| format!("image {}", root.short()), Release::label);
    let osrel = format!("ID=afresh\nNAME=Afresh\nVERSION_ID={}\nPRETTY_NAME=\"Afresh {label}\"\n", root.short());
    let sections = [
        Section { name: ".osrel", bytes: osrel.as_bytes() },
        Section { name: ".cmdline", bytes: cmdline.as_bytes() },
        Section { name: ".initrd", bytes: &initrd },
        Section { name: ".linux", bytes: &kernel },
    ];
    uki::build(&inputs.kit.stub()?, &sections)
}

/// The first half of a digest over what it is for and what is in it.
fn id(what: &str, of: &[&Digest]) -> Guid {
    let mut hasher = Sha256::new_with_prefix(format!("afresh disk id: {what}\n"));
    of.iter().for_each(|d| hasher.update(format!("{d}\n")));
    let hash: [u8; 32] = hasher.finalize().into();
    Guid(hash[..16].try_into().expect("sixteen of 32 bytes"))
}

fn write(contents: Vec<Content>, out: &Path) -> Result<Emitted, Fault> {
    let all: Vec<&Digest> = contents.iter().map(|c| &c.part.digest).collect();
    let disk_id = id("disk", &all);
    let (mut entries, mut rest) = (Vec::new(), Vec::new());
    for content in contents {
        entries.push(content.entry);
        rest.push((content.part, content.from));
    }
    let laid = gpt::lay(disk_id, &entries);
    let name = out.file_name().ok_or_else(|| Fault::yours("no-file-name", format!("{} names no file", out.display())))?;
    let dir = out.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::want_space(dir, rest.iter().map(|(p, _)| p.bytes).sum(), "the disk")?;
    let prefix = format!(".{}-", name.to_string_lossy());
    let temp = tempfile::Builder::new().prefix(&prefix).tempfile_in(dir).map_err(files::at("cannot write in", dir))?;
    let file = temp.as_file();
    file.set_len(laid.disk_bytes).map_err(files::at("cannot write", out))?;
    file.write_all_at(&laid.head, 0).map_err(files::at("cannot write", out))?;
    for ((part, from), at) in rest.iter().zip(&laid.at) {
        let written = match from {
            From::Bytes(bytes) => sparse(file, *at, bytes).map_err(files::at("cannot write", out))?,
            From::File(path) => copy(file, *at, path, out)?,
        };
        if written != part.bytes {
            return Err(Fault::world("changed-underway", format!("{} of {} changed while it was read", part.name, out.display())));
        }
    }
    file.write_all_at(&laid.tail, laid.tail_at).map_err(files::at("cannot write", out))?;
    file.sync_all().map_err(files::at("cannot write", out))?;
    files::set_mode(temp.path(), 0o644)?;
    // Read back, so that the digest is of what is on the disk.
    let (digest, bytes) = files::digest_file(temp.path())?;
    temp.persist(out).map_err(|e| files::fault("cannot write", out, &e.error))?;
    files::sync_dir(dir)?;
    Ok(Emitted { digest, bytes, parts: rest.into_iter().map(|(part, _)| part).collect() })
}

fn copy(file: &File, at: u64, path: &Path, out: &Path) -> Result<u64, Fault> {
    let mut from = File::open(path).map_err(files::at("cannot read", path))?;
    let (mut buffer, mut done) = (vec![0; 1 << 20], 0);
    loop {
        let count = from.read(&mut buffer).map_err(files::at("cannot read", path))?;
        if count == 0 {
            return Ok(done);
        }
        sparse(file, at + done, &buffer[..count]).map_err(files::at("cannot write", out))?;
        done += count as u64;
    }
}

/// Zeros are not written: the file is long already, and holes cost nothing.
fn sparse(file: &File, at: u64, bytes: &[u8]) -> std::io::Result<u64> {
    for (i, block) in bytes.chunks(1 << 16).enumerate() {
        if block.iter().any(|b| *b != 0) {
            file.write_all_at(block, at + (i << 16) as u64)?;
        }
    }
    Ok(bytes.len() as u64)
}
