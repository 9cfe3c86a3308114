//! The name of an entry: where it lies below the root, and whether it is a whiteout. Pure.

use crate::trouble::shown_bytes;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Deeper than any directory of an image, and less than this process may have open at once.
pub const DEPTH: usize = 200;
/// What the kernel takes.
const NAME_BYTES: usize = 255;
pub const PATH_BYTES: usize = 4000;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Files that aufs kept for itself. They say nothing of the tree.
const OF_AUFS: &[u8] = b".wh..wh.";

#[derive(Debug, PartialEq, Eq)]
pub enum Name {
    /// Below the root; the root itself is empty.
    Plain(PathBuf),
    /// Removes this of the layers below.
    Whiteout(PathBuf),
    /// Removes what the layers below have in this directory.
    Opaque(PathBuf),
    Ignored,
}

/// Below the root: `/a/./b/` is `a/b`. What leads upwards is refused, also where it would stay in the tree.
pub fn path(name: &[u8]) -> Result<PathBuf, String> {
    let refused = |why: &str| Err(format!("the name {:?} {why}", shown_bytes(name)));
    if name.len() > PATH_BYTES {
        return refused("is too long");
    }
    if name.contains(&0) {
        return refused("has a zero byte");
    }
    let mut path = PathBuf::new();
    let mut depth = 0;
    for part in name.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        depth += 1;
        match part {
            b".." => return refused("leads out of the tree"),
            _ if part.len() > NAME_BYTES => return refused("has a part that is too long"),
            _ if depth > DEPTH => return refused(&format!("is nested more than {DEPTH} deep")),
            _ => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

pub fn of(name: &[u8]) -> Result<Name, String> {
    let path = path(name)?;
    let mut parts: Vec<&[u8]> = path.iter().map(OsStr::as_bytes).collect();
    let Some(last) = parts.pop() else { return Ok(Name::Plain(path)) };
    if parts.iter().any(|part| part.starts_with(OF_AUFS)) {
        return Ok(Name::Ignored);
    }
    if parts.iter().any(|part| part.starts_with(WHITEOUT)) {
        return Err(format!("the name {:?} lies below a whiteout", shown_bytes(name)));
    }
    let parent = path.parent().map(PathBuf::from).unwrap_or_default();
    if last == OPAQUE {
        return Ok(Name::Opaque(parent));
    }
    if last.starts_with(OF_AUFS) {
        return Ok(Name::Ignored);
    }
    match last.strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => Err(format!("the whiteout {:?} names nothing", shown_bytes(name))),
        Some(hidden) => Ok(Name::Whiteout(parent.join(OsStr::from_bytes(hidden)))),
        None => Ok(Name::Plain(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_entries() {
        let plain = |p: &str| Ok(Name::Plain(p.into()));
        for (name, is) in [
            ("", plain("")),
            ("./", plain("")),
            ("/", plain("")),
            ("./a/./b/", plain("a/b")),
            ("/etc//passwd", plain("etc/passwd")),
            (".wh.a", Ok(Name::Whiteout("a".into()))),
            ("d/.wh..b", Ok(Name::Whiteout("d/.b".into()))),
            ("d/.wh..wh..opq", Ok(Name::Opaque("d".into()))),
            (".wh..wh..opq", Ok(Name::Opaque("".into()))),
            (".wh..wh.plnk/1.2", Ok(Name::Ignored)),
            (".wh..wh.aufs", Ok(Name::Ignored)),
        ] {
            assert_eq!(of(name.as_bytes()), is, "{name}");
        }
        let deep = "a/".repeat(DEPTH + 1);
        let (long, longer) = ("n".repeat(256), "abc/".repeat(1100));
        for bad in ["..", "a/../b", "/..", "d/.wh.", "d/.wh..", ".wh...", ".wh.x/y", "a\0b", &deep, &long, &longer] {
            assert!(of(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
