//! Reads a Debian package file: an `ar` archive of a version, a control part and a data part.
//! It writes nothing.

use disk::files;
use model::Fault;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The largest control part there is in Debian is far below.
const CONTROL_LIMIT: u64 = 64 << 20;

/// The text of one control file and its mode.
pub struct Script {
    pub name: String,
    pub mode: u32,
    pub bytes: Vec<u8>,
}

pub struct Deb {
    path: PathBuf,
    /// When it was built, seconds since 1970: no file in it is newer.
    pub built: u64,
    /// The paragraph that describes it, without a newline at its end.
    pub control: String,
    /// Everything else of the control part: scripts, conffiles, triggers.
    pub scripts: Vec<Script>,
    data: Member,
}

struct Member {
    name: String,
    at: u64,
    bytes: u64,
    time: u64,
}

fn bad(path: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::world("bad-package-file", format!("{} is no whole Debian package: {why}", path.display()))
        .hint("its bytes are those that its mirror signed for: tell whoever made it, and take it out of the image's packages")
        .again(false)
}

impl Deb {
    pub fn open(path: &Path) -> Result<Deb, Fault> {
        let mut file = File::open(path).map_err(files::at("cannot read", path))?;
        let members = members(&mut file, path)?;
        let find =
            |start: &str| members.iter().position(|m| m.name.starts_with(start)).ok_or_else(|| bad(path, format!("it has no {start}")));
        let (version, control, data) = (find("debian-binary")?, find("control.tar")?, find("data.tar")?);
        // As dpkg wants them: what reads a package in another order sees another package.
        let between = members[..data].iter().enumerate().all(|(n, m)| [version, control].contains(&n) || m.name.starts_with('_'));
        if version != 0 || control > data || !between {
            let order: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
            return Err(bad(path, format!("its parts stand in the wrong order: {}", order.join(", "))));
        }
        let (text, scripts) = control_part(path, &members[control])?;
        let built = members[version].time;
        let data = members.into_iter().nth(data).expect("position found it");
        Ok(Deb { path: path.to_path_buf(), built, control: text, scripts, data })
    }

    /// The first value of a field of the control paragraph.
    pub fn field(&self, key: &str) -> Option<&str> {
        field(&self.control, key)
    }

    pub fn script(&self, name: &str) -> Option<&Script> {
        self.scripts.iter().find(|s| s.name == name)
    }

    /// Of the data part, as it is packed.
    pub fn bytes(&self) -> u64 {
        self.data.bytes
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What people call it.
    pub fn name(&self) -> String {
        format!("{} {}", self.field("Package").unwrap_or("?"), self.field("Version").unwrap_or("?"))
    }

    /// Bytes that it says it takes when it is unpacked; 0: it does not say.
    pub fn installed_bytes(&self) -> u64 {
        self.field("Installed-Size").and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
    }

    /// Calls `each` with every entry of the data part, in order.
    pub fn entries(&self, mut each: impl FnMut(tar::Entry<'_, Box<dyn Read>>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut archive = tar::Archive::new(reader(&self.path, &self.data)?);
        for entry in archive.entries().map_err(|e| bad(&self.path, e))? {
            each(entry.map_err(|e| bad(&self.path, e))?)?;
        }
        // To the end, where a compressed stream shows its checksum.
        std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(|e| bad(&self.path, e))?;
        Ok(())
    }
}

pub fn field<'a>(paragraph: &'a str, key: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

fn members(file: &mut File, path: &Path) -> Result<Vec<Member>, Fault> {
    let whole = file.metadata().map_err(files::at("cannot look at", path))?.len();
    let mut magic = [0u8; 8];
    file.read_exact(&mut magic).map_err(|e| bad(path, e))?;
    if &magic != b"!<arch>\n" {
        return Err(bad(path, "it is no ar archive"));
    }
    let (mut at, mut all) = (8u64, Vec::new());
    while at + 60 <= whole {
        let mut head = [0u8; 60];
        file.seek(SeekFrom::Start(at)).map_err(|e| bad(path, e))?;
        file.read_exact(&mut head).map_err(|e| bad(path, e))?;
        let text = |a: usize, b: usize| std::str::from_utf8(&head[a..b]).unwrap_or("").trim().trim_end_matches('/').to_string();
        let bytes: u64 = text(48, 58).parse().map_err(|_| bad(path, "a member has no size"))?;
        if &head[58..] != b"`\n" || bytes > whole - at - 60 {
            return Err(bad(path, "a member is cut off"));
        }
        all.push(Member { name: text(0, 16), at: at + 60, bytes, time: text(16, 28).parse().unwrap_or(0) });
        at += 60 + bytes + bytes % 2;
    }
    Ok(all)
}

fn reader(path: &Path, member: &Member) -> Result<Box<dyn Read>, Fault> {
    let mut file = File::open(path).map_err(files::at("cannot read", path))?;
    file.seek(SeekFrom::Start(member.at)).map_err(files::at("cannot read", path))?;
    let raw = BufReader::with_capacity(1 << 18, file.take(member.bytes));
    Ok(match member.name.rsplit_once(".tar").map(|(_, ending)| ending) {
        Some(".xz") => Box::new(liblzma::read::XzDecoder::new(raw)),
        Some(".zst") => Box::new(zstd::stream::read::Decoder::with_buffer(raw).map_err(|e| bad(path, e))?),
        Some(".gz") => Box::new(flate2::read::GzDecoder::new(raw)),
        Some("") => Box::new(raw),
        other => return Err(bad(path, format!("{} is packed in an unknown way ({other:?})", member.name))),
    })
}

fn control_part(path: &Path, member: &Member) -> Result<(String, Vec<Script>), Fault> {
    let mut archive = tar::Archive::new(reader(path, member)?.take(CONTROL_LIMIT));
    let (mut control, mut scripts) = (None, Vec::new());
    for entry in archive.entries().map_err(|e| bad(path, e))? {
        let mut entry = entry.map_err(|e| bad(path, e))?;
        let name = entry.path().map_err(|e| bad(path, e))?.to_string_lossy().trim_start_matches("./").to_string();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.') {
            return Err(bad(path, format!("a control file is named {name:?}")));
        }
        let mode = entry.header().mode().map_err(|e| bad(path, e))? & 0o7777;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|e| bad(path, e))?;
        if name == "control" {
            control = Some(String::from_utf8_lossy(&bytes).trim_end().to_string());
        } else {
            scripts.push(Script { name, mode, bytes });
        }
    }
    Ok((control.ok_or_else(|| bad(path, "it has no control file"))?, scripts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_package_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.deb");
        let member = |name: &str, size: &str| format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 1_700_000_000, 0, 0, "100644");
        for garbage in [
            Vec::new(),
            b"!<arch>\n".to_vec(),
            b"PK\x03\x04 zip".to_vec(),
            format!("!<arch>\n{}2.0\n", member("debian-binary", "999")).into_bytes(),
            format!("!<arch>\n{}2.0\n", member("debian-binary", "x")).into_bytes(),
            format!("!<arch>\n{}zz{}2.0\n{}zz", member("data.tar", "2"), member("debian-binary", "4"), member("control.tar", "2"))
                .into_bytes(),
            format!("!<arch>\n{}2.0\n{}zz{}zz", member("debian-binary", "4"), member("data.tar", "2"), member("control.tar", "2"))
                .into_bytes(),
            format!("!<arch>\n{}2.0\n{}zz{}zz", member("debian-binary", "4"), member("control.tar.xz", "2"), member("data.tar.xz", "2"))
                .into_bytes(),
        ] {
            std::fs::write(&path, garbage).unwrap();
            assert_eq!(Deb::open(&path).err().unwrap().code, "bad-package-file");
        }
    }

    /// dpkg-deb is the oracle: it writes, we read.
    #[test]
    fn reads_what_dpkg_deb_writes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("p");
        std::fs::create_dir_all(root.join("DEBIAN")).unwrap();
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/conf"), "x").unwrap();
        std::fs::write(
            root.join("DEBIAN/control"),
            "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n more\n",
        )
        .unwrap();
        std::fs::write(root.join("DEBIAN/conffiles"), "/etc/conf\n").unwrap();
        for kind in ["xz", "gzip", "zstd", "none"] {
            let path = dir.path().join("p.deb");
            let done = std::process::Command::new("dpkg-deb")
                .env("SOURCE_DATE_EPOCH", "1234567890")
                .args(["-b", "--root-owner-group", "-Z", kind])
                .arg(&root)
                .arg(&path)
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            let deb = Deb::open(&path).unwrap();
            assert_eq!((deb.field("Version"), deb.built), (Some("1"), 1_234_567_890));
            assert_eq!(deb.script("conffiles").unwrap().bytes, b"/etc/conf\n");
            let mut names = Vec::new();
            deb.entries(|e| {
                names.push(e.path().unwrap().to_string_lossy().into_owned());
                Ok(())
            })
            .unwrap();
            assert_eq!(names, ["./", "./etc/", "./etc/conf"]);
        }
    }
}
