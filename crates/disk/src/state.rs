//! State files: small files that say what is wanted or what is there. Each is kept twice, in `NAME` and `NAME.spare`, and each copy
//! carries a generation and a digest, so that damage is told from content and absence from removal.
//!
//! ```text
//! {"afresh_state":1,"generation":7,"sha256":"..."}     of "7\n" and everything below this line
//! the content, as its owner wrote it
//! ```
//!
//! Writing: `NAME` is replaced (durable if asked for), then `NAME.spare`; a crash in between leaves two generations. Reading: the newest
//! copy that is whole. A file without the first line is of an older version of Afresh; it is taken as it is, and is sealed when it is
//! written next. What to do when both copies are damaged is the owner's decision: this says [`Found::Damaged`], never [`Found::Absent`].
//!
//! Both copies hold the same generation in peace. An older one would not do as a spare: a declaration that was replaced may ask for
//! servers that were retired since.

use crate::Lasting;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const HEAD: &str = "{\"afresh_state\":1,\"generation\":";
/// Every version's first line begins with this.
const ANY_HEAD: &[u8] = b"{\"afresh_state\":";
const HEAD_BYTES_MAX: u64 = 200;
const SPARE: &str = ".spare";

#[derive(Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// Neither copy is there.
    Absent,
    Good(Good<T>),
    /// At least one copy is there, and none can be used: why.
    Damaged(String),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Good<T> {
    pub value: T,
    /// 0: of an older version of Afresh.
    pub generation: u64,
    /// Why the file itself could not be used, and this is its spare.
    pub damage: Option<String>,
    /// Both copies are whole; if not, writing it again makes them so.
    pub twice: bool,
}

impl<T> Found<T> {
    pub fn good(self) -> Option<T> {
        match self {
            Found::Good(good) => Some(good.value),
            Found::Absent | Found::Damaged(_) => None,
        }
    }
}

pub fn spare(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SPARE);
    PathBuf::from(name)
}

enum Copy {
    Absent,
    /// Without a first line of ours.
    Plain(Vec<u8>),
    Sealed(u64, Vec<u8>),
    Bad(String),
}

/// What `decode` says of the newest whole copy. No file of more than `bytes_max` bytes is read.
pub fn read<T>(path: &Path, bytes_max: u64, decode: impl Fn(&[u8]) -> Result<T, String>) -> Found<T> {
    let own = used(path, bytes_max, &decode);
    // Only ever written sealed.
    let other = match used(&spare(path), bytes_max, &decode) {
        Ok(Some((0, _))) => Err(format!("{}: it has no digest", spare(path).display())),
        other => other,
    };
    match (own, other) {
        (Ok(None), Ok(None)) => Found::Absent,
        (Ok(Some((generation, value))), Ok(Some((newer, newer_value)))) => {
            if generation > 0 && newer > generation {
                let damage = format!("{}: generation {generation} where {newer} was written", path.display());
                return Found::Good(Good { value: newer_value, generation: newer, damage: Some(damage), twice: false });
            }
            Found::Good(Good { value, generation, damage: None, twice: newer == generation })
        }
        (Ok(Some((generation, value))), _) => Found::Good(Good { value, generation, damage: None, twice: false }),
        (own, Ok(Some((generation, value)))) => {
            let damage = own.err().unwrap_or_else(|| format!("{}: it is missing", path.display()));
            Found::Good(Good { value, generation, damage: Some(damage), twice: false })
        }
        (Err(why), _) | (_, Err(why)) => Found::Damaged(why),
    }
}

fn used<T>(path: &Path, bytes_max: u64, decode: &impl Fn(&[u8]) -> Result<T, String>) -> Result<Option<(u64, T)>, String> {
    let at = |why: String| format!("{}: {why}", path.display());
    match load(path, bytes_max) {
        Copy::Absent => Ok(None),
        Copy::Bad(why) => Err(at(why)),
        Copy::Plain(bytes) => decode(&bytes).map(|value| Some((0, value))).map_err(at),
        Copy::Sealed(generation, bytes) => decode(&bytes).map(|value| Some((generation, value))).map_err(at),
    }
}

fn load(path: &Path, bytes_max: u64) -> Copy {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Copy::Absent,
        Err(e) => return Copy::Bad(e.to_string()),
    };
    let mut bytes = Vec::new();
    match file.take(bytes_max.saturating_add(HEAD_BYTES_MAX + 1)).read_to_end(&mut bytes) {
        Err(e) => Copy::Bad(e.to_string()),
        Ok(n) if n as u64 > bytes_max + HEAD_BYTES_MAX => Copy::Bad(format!("it is larger than any such file, {bytes_max} bytes")),
        Ok(_) => open(bytes),
    }
}

fn open(bytes: Vec<u8>) -> Copy {
    if bytes.is_empty() {
        return Copy::Bad("it is empty".to_string());
    }
    if !bytes.starts_with(ANY_HEAD) {
        return Copy::Plain(bytes);
    }
    let Some((generation, digest, begin)) = head(&bytes) else { return Copy::Bad("its first line is damaged".to_string()) };
    let content = &bytes[begin..];
    if seal(generation, content) != digest {
        return Copy::Bad("its digest is of another content: it was damaged or changed by hand".to_string());
    }
    Copy::Sealed(generation, content.to_vec())
}

/// Generation, digest, and where the content begins.
fn head(bytes: &[u8]) -> Option<(u64, String, usize)> {
    let end = bytes.iter().take(HEAD_BYTES_MAX as usize).position(|b| *b == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let (generation, rest) = line.strip_prefix(HEAD)?.split_once(",\"sha256\":\"")?;
    let digest = rest.strip_suffix("\"}")?;
    // As it is written, and in no other way: a sign or a zero in front is damage.
    let number: u64 = generation.parse().ok()?;
    (number > 0 && number.to_string() == generation).then(|| (number, digest.to_string(), end + 1))
}

fn seal(generation: u64, content: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{generation}\n"));
    hasher.update(content);
    hex::encode(hasher.finalize())
}

/// The content of a state file's bytes, whether they are whole or not: for tests and tools that only look.
pub fn content(bytes: &[u8]) -> &[u8] {
    head(bytes).map_or(bytes, |(_, _, begin)| &bytes[begin..])
}

/// Puts a new generation in both places. Done is what the file itself holds: that the spare could not be written (a full disk) makes
/// it an older generation, which is never preferred.
pub fn write(path: &Path, content: &[u8], mode: u32, lasting: Lasting) -> io::Result<()> {
    let generation = generation_of(path).max(generation_of(&spare(path))).saturating_add(1);
    let mut bytes = format!("{HEAD}{generation},\"sha256\":\"{}\"}}\n", seal(generation, content)).into_bytes();
    bytes.extend_from_slice(content);
    crate::write(path, &bytes, mode, lasting)?;
    let _ = crate::write(&spare(path), &bytes, mode, Lasting::Soon);
    Ok(())
}

fn generation_of(path: &Path) -> u64 {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES_MAX).read_to_end(&mut bytes));
    read.ok().and_then(|_| head(&bytes)).map_or(0, |(generation, _, _)| generation)
}

/// Removes both copies. What others read is first written with a content that says that it is over: absence alone says nothing.
pub fn remove(path: &Path) -> io::Result<()> {
    for path in [path.to_path_buf(), spare(path)] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Names without `ending` of which a directory has a copy or both.
pub fn names(directory: &Path, ending: &str) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.file_name();
        let Some(file) = file.to_str().filter(|name| !name.starts_with('.')) else { continue };
        if let Some(name) = file.strip_suffix(SPARE).unwrap_or(file).strip_suffix(ending) {
            names.insert(name.to_string());
        }
    }
    Ok(names)
}

/// Enough to see that one of the copies was replaced, changed or removed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark([Option<Stat>; 2]);

/// Inode, length, and the times of change.
type Stat = (u64, u64, i64, i64, i64);

impl Mark {
    pub fn of(path: &Path) -> Mark {
        let one = |path: &Path| fs::metadata(path).ok().map(|m| (m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime_nsec()));
        Mark([one(path), one(&spare(path))])
    }

    /// Neither copy is there.
    pub fn is_absent(&self) -> bool {
        self.0 == [None, None]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"count\": 3\n}\n";

    fn text(bytes: &[u8]) -> Result<String, String> {
        let text = String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string())?;
        // As JSON is: whole from its first byte to its last.
        if text.starts_with("{\n") && text.ends_with("}\n") { Ok(text) } else { Err("does not decode".to_string()) }
    }

    fn look(path: &Path) -> Found<String> {
        read(path, 1 << 20, text)
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.json");
        write(&path, TEXT.as_bytes(), 0o600, Lasting::Soon).unwrap();
        (dir, path)
    }

    fn good(found: Found<String>) -> Good<String> {
        match found {
            Found::Good(good) => good,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read_and_generations_grow() {
        let (dir, path) = written();
        assert_eq!(good(look(&path)), Good { value: TEXT.into(), generation: 1, damage: None, twice: true });
        write(&path, b"{\n}\n", 0o600, Lasting::Now).unwrap();
        assert_eq!(good(look(&path)), Good { value: "{\n}\n".into(), generation: 2, damage: None, twice: true });
        assert_eq!(names(dir.path(), ".json").unwrap(), BTreeSet::from(["web".to_string()]));
        assert_eq!(content(&fs::read(&path).unwrap()), b"{\n}\n");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(look(&path), Found::Absent);
        assert!(Mark::of(&path).is_absent());
    }

    /// A bit of every byte flipped, every length: the spare is read and the damage is told; of both copies, nothing is read.
    #[test]
    fn any_damage_is_seen_and_the_spare_is_as_good() {
        let (_dir, path) = written();
        let whole = fs::read(&path).unwrap();
        let cut = (0..whole.len()).map(|n| whole[..n].to_vec());
        let flipped = (0..whole.len()).map(|n| {
            let mut bytes = whole.clone();
            bytes[n] ^= 1 << (n % 8);
            bytes
        });
        for bytes in cut.chain(flipped) {
            fs::write(&path, &bytes).unwrap();
            let read = good(look(&path));
            assert!(read.value == TEXT && read.damage.is_some() && !read.twice, "{bytes:?}");
            fs::write(spare(&path), &bytes).unwrap();
            assert!(matches!(look(&path), Found::Damaged(_)), "{:?}", String::from_utf8_lossy(&bytes));
            fs::write(spare(&path), &whole).unwrap();
        }
        fs::remove_file(&path).unwrap();
        assert!(good(look(&path)).damage.unwrap().contains("missing"));
        fs::write(spare(&path), "x").unwrap();
        assert!(matches!(look(&path), Found::Damaged(_)), "a damaged spare alone is not absence");
    }

    #[test]
    fn an_older_copy_put_back_does_not_win() {
        let (_dir, path) = written();
        let old = fs::read(&path).unwrap();
        write(&path, b"{\n}\n", 0o600, Lasting::Soon).unwrap();
        fs::write(&path, &old).unwrap();
        let read = good(look(&path));
        assert!(read.value == "{\n}\n" && read.generation == 2 && read.damage.is_some());
        // And a spare that lags, as after a crash between the two, is no damage.
        write(&path, TEXT.as_bytes(), 0o600, Lasting::Soon).unwrap();
        fs::write(spare(&path), &old).unwrap();
        let read = good(look(&path));
        assert!(read.value == TEXT && read.generation == 3 && read.damage.is_none() && !read.twice);
    }

    #[test]
    fn a_file_of_an_older_version_is_read_and_sealed_when_written() {
        let (_dir, path) = written();
        fs::write(&path, "{\n old }\n").unwrap();
        assert_eq!(good(look(&path)), Good { value: "{\n old }\n".into(), generation: 0, damage: None, twice: false });
        write(&path, TEXT.as_bytes(), 0o600, Lasting::Soon).unwrap();
        assert!(good(look(&path)).twice);
        fs::write(spare(&path), "{\n old }\n").unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(look(&path), Found::Damaged(_)), "no spare was ever without a digest");
    }

    #[test]
    fn a_mark_moves_with_either_copy() {
        let (_dir, path) = written();
        let mark = Mark::of(&path);
        assert_eq!(mark, Mark::of(&path));
        fs::remove_file(spare(&path)).unwrap();
        assert!(mark != Mark::of(&path) && !Mark::of(&path).is_absent());
    }
}
