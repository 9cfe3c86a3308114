//! The file in a data directory that identifies it, and says where it was last used. Its content is validated before anything is named
//! after it.

use crate::state_files;
use disk::state::Found;
use model::{Fault, Layout, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// 32 random hex digits.
    pub id: String,
    /// 8 hex digits: part of every name on the host.
    pub mark: String,
    pub made: Time,
    /// Where it was last used.
    pub machine: String,
    pub boot: String,
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    /// It was restored from a backup of this time, and nobody has said yet that the original is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Time>,
}

pub fn path(layout: &Layout) -> PathBuf {
    layout.root().join("afresh.json")
}

/// What distinguishes a directory from a copy of it, and where it is.
pub struct Place {
    pub machine: String,
    pub boot: String,
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
}

impl Place {
    pub fn of(root: &Path) -> Result<Place, Fault> {
        let meta = std::fs::metadata(root).map_err(|e| state_files::at(root, "looking at", e))?;
        let text = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_string()).unwrap_or_default();
        Ok(Place {
            // Not the id itself: it is a secret of its machine (machine-id(5)).
            machine: digest_of(&text("/etc/machine-id")),
            boot: text("/proc/sys/kernel/random/boot_id"),
            path: root.canonicalize().map_err(|e| state_files::at(root, "resolving", e))?,
            device: meta.dev(),
            inode: meta.ino(),
        })
    }
}

/// Empty where the machine has none.
fn digest_of(machine: &str) -> String {
    if machine.len() < 32 { String::new() } else { hex::encode(Sha256::digest(format!("afresh {machine}")))[..32].to_string() }
}

impl Marker {
    pub fn at(place: Place) -> Marker {
        let Place { machine, boot, path, device, inode } = place;
        Marker { id: String::new(), mark: String::new(), made: Time(0), machine, boot, path, device, inode, restored: None }
    }

    pub fn is_at(&self, place: &Place) -> bool {
        self.path == place.path && self.device == place.device && self.inode == place.inode && self.boot == place.boot
    }
}

pub fn write(layout: &Layout, marker: &Marker) -> Result<(), Fault> {
    state_files::write_json(&path(layout), marker)
}

/// A marker is small; a larger file was not written by Afresh.
const MARKER_BYTES_MAX: u64 = 16 << 10;
/// How much is quoted of one that was not.
const QUOTED_CHARS_MAX: usize = 40;

/// What is in a directory's marker.
pub enum Marked {
    Good(Marker),
    Absent,
    /// Its bytes are not those that were written.
    Damaged(String),
    /// It is intact and holds what Afresh never writes. Names on this host are made of it, so it is not used.
    Unsound(String),
}

pub fn read(layout: &Layout) -> Marked {
    let decode = |bytes: &[u8]| serde_json::from_slice::<Marker>(bytes).map_err(|e| format!("does not decode: {}", cut(&e.to_string())));
    match disk::state::read(&path(layout), MARKER_BYTES_MAX, decode) {
        Found::Absent => Marked::Absent,
        Found::Damaged(why) => Marked::Damaged(why),
        Found::Good(good) => match unsound(&good.value) {
            None => Marked::Good(good.value),
            Some(why) => Marked::Unsound(why),
        },
    }
}

pub fn sound(layout: &Layout) -> Option<Marker> {
    if let Marked::Good(marker) = read(layout) { Some(marker) } else { None }
}

fn cut(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

/// Pure: why it cannot be one that was written by Afresh.
fn unsound(marker: &Marker) -> Option<String> {
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let fields = [
        ("id", &marker.id, hex(&marker.id, 32)),
        ("mark", &marker.mark, hex(&marker.mark, 8)),
        ("machine", &marker.machine, marker.machine.is_empty() || hex(&marker.machine, 32)),
        ("boot", &marker.boot, marker.boot.len() <= 36 && marker.boot.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')),
    ];
    let wrong = fields.into_iter().find(|(_, _, good)| !good).map(|(name, text, _)| format!("{name} is {:?}", cut(text)));
    let path = marker.path.to_string_lossy();
    let path_good = marker.path.is_absolute() && path.len() <= PATH_BYTES_MAX && !path.contains(char::is_control);
    wrong.or_else(|| (!path_good).then(|| format!("path is {:?}", cut(&path))))
}

/// As the kernel has it.
const PATH_BYTES_MAX: usize = 4_096;

pub fn forged(layout: &Layout, why: &str) -> Fault {
    let path = path(layout);
    Fault::world("foreign-dir", format!("{}: Afresh did not write this: {why}; nothing was started, ended or changed", path.display()))
        .hint(format!(
            "restore it from a backup; or remove {0} and {0}.spare: the directory is marked again if it is one of Afresh's",
            path.display()
        ))
        .again(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{mark, open, ours};

    #[test]
    fn a_marker_that_afresh_never_wrote_is_refused_in_a_few_words() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("a"));
        open(&layout, false).unwrap();
        let good = sound(&layout).unwrap();
        let long = "f".repeat(8_000);
        let spoil: [&dyn Fn(&mut Marker); 11] = [
            &|m| m.mark = "../../..".to_string(),
            &|m| m.mark = String::new(),
            &|m| m.mark = "0123abc\u{e9}".to_string(),
            &|m| m.mark = "0123ABCD".to_string(),
            &|m| m.mark.clone_from(&long),
            &|m| m.id.clone_from(&long),
            &|m| m.id = m.id[1..].to_string(),
            &|m| m.machine.clone_from(&long),
            &|m| m.boot = "a\nb".to_string(),
            &|m| m.path = PathBuf::from("relative"),
            &|m| m.path = PathBuf::from("/\u{1b}[2J"),
        ];
        for (i, spoil) in spoil.iter().enumerate() {
            let mut marker = good.clone();
            spoil(&mut marker);
            write(&layout, &marker).unwrap();
            let before = std::fs::read(path(&layout)).unwrap();
            for fault in [open(&layout, false).unwrap_err(), open(&layout, true).unwrap_err(), ours(&layout).unwrap_err()] {
                assert!(fault.code == "foreign-dir" && fault.message.contains("did not write"), "case {i}: {fault:?}");
                assert!(fault.message.len() < 400 && !fault.message.contains(char::is_control), "case {i}: {fault:?}");
            }
            assert_eq!(std::fs::read(path(&layout)).unwrap(), before, "case {i}: it stays as it was found");
            let used = mark(&layout);
            assert!(used.len() == 8 && used.bytes().all(|b| b.is_ascii_hexdigit()), "case {i}: {used:?} would name a bridge");
        }
        // Larger than any marker, or no marker at all: damage, reported briefly.
        for text in ["x".repeat(100_000), format!("{{\"id\":\"{long}\",\"device\":\"{long}\"}}")] {
            for file in [path(&layout), disk::state::spare(&path(&layout))] {
                std::fs::write(file, &text).unwrap();
            }
            assert!(matches!(read(&layout), Marked::Damaged(why) if why.len() < 400));
        }
    }
}
