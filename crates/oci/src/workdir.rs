//! Where an image's servers begin, through whatever links the image has on the way there. The text of the path is judged where a release is
//! made; only here is the tree at hand.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use crate::trouble::{bad, shown};
use disk::within::Root;
use model::Fault;
use model::from_image::{NO_WORKDIR, is_workdir};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// Refuses a directory that leads into what the kernel makes: a link there may lead out of the container (CVE-2024-21626).
pub fn check(root: &Root, workdir: Option<&str>) -> Result<(), Fault> {
    let Some(workdir) = workdir else { return Ok(()) };
    // A runtime would mount over what the link leads to, under another name than the one that is refused.
    if let Some(name) = NO_WORKDIR.iter().find(|name| root.read_link(Path::new(name)).is_some()) {
        return Err(bad("image-workdir", format!("the image has a working directory, and its /{name} is a link"))
            .hint("make it a directory, or set no WORKDIR"));
    }
    let why = match resolve(root, Path::new(workdir)) {
        Some(at) if is_workdir(&at.to_string_lossy()) => return Ok(()),
        Some(at) => format!("leads to {}", shown(&at.to_string_lossy())),
        None => format!("leads through more than {LINKS_MAX} links"),
    };
    Err(bad("image-workdir", format!("the image's working directory {:?} {why}", shown(workdir)))
        .hint("set another WORKDIR, a path from the root that no link leads to /proc, /sys or /dev"))
}

/// The path without links, from the root of the tree on. It ends at the first directory that the kernel fills: nothing of it is in the tree.
/// None: it never ends.
fn resolve(root: &Root, path: &Path) -> Option<PathBuf> {
    let parts = |path: &Path| -> Vec<OsString> {
        path.components().filter(|c| *c != Component::CurDir).map(|c| c.as_os_str().to_owned()).collect()
    };
    let (mut left, mut at, mut links) = (VecDeque::from(parts(path)), PathBuf::from("/"), 0);
    while let Some(part) = left.pop_front() {
        let next = match part.to_str() {
            Some("/") => PathBuf::from("/"),
            Some("..") => at.parent().unwrap_or(Path::new("/")).to_path_buf(),
            _ => at.join(&part),
        };
        let below = next.strip_prefix("/").unwrap_or(&next);
        if let Some(to) = root.read_link(below) {
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            parts(&to).into_iter().rev().for_each(|part| left.push_front(part));
            continue;
        }
        at = next;
        if !is_workdir(&at.to_string_lossy()) {
            break;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_into_what_the_kernel_makes() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["proc", "srv/app", "a/b"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for (name, to) in [
            ("fd", "/proc/self/fd/7"),
            ("far", "../../../../proc/self"),
            ("a/b/up", "../../sys"),
            ("two", "a/b/up"),
            ("parent", "/proc/.."),
            ("cur", "./srv/./app"),
            ("good", "/srv/app"),
            ("gone", "/nowhere"),
            ("self", "self"),
            ("all", "/"),
        ] {
            symlink(to, dir.path().join(name)).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let code = |path: &str| check(&root, Some(path)).map_err(|f| f.code);
        for path in ["/", "/srv/app", "/good", "/good/new", "/cur", "/gone/x", "/all/srv", "/not/there", "/a/b"] {
            assert_eq!(code(path), Ok(()), "{path}");
        }
        let refused = Err("image-workdir".to_string());
        for path in
            ["/fd", "/fd/x", "/far", "/two", "/two/kernel", "/parent", "/all/proc/1", "/all/all/sys", "/gone/../fd", "/self", "/proc/self"]
        {
            assert_eq!(code(path), refused, "{path}");
        }
        symlink("/srv", dir.path().join("dev")).unwrap();
        assert_eq!(code("/srv/fd"), refused, "there /dev is mounted");
        assert_eq!(check(&root, None).map_err(|f| f.code), Ok(()));
    }
}
