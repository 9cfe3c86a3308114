//! The user of an image in numbers: the image's own `/etc/passwd` and `/etc/group` say what its names are.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use disk::within::Root;
use std::path::Path;

const FILE_BYTES: u64 = 4 << 20;

/// Of `user`, `uid`, `user:group` or `uid:gid`; no user is root. None: the image does not know that name.
pub fn ids(root: &Root, user: Option<&str>) -> Option<(u32, u32)> {
    let read = |path: &str| root.read(Path::new(path), FILE_BYTES).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    resolve(user.unwrap_or("0"), &read("etc/passwd"), &read("etc/group"))
}

fn resolve(user: &str, passwd: &str, group: &str) -> Option<(u32, u32)> {
    let (user, of_group) = user.split_once(':').map_or((user, None), |(u, g)| (u, Some(g)));
    let line = fields(passwd).find(|f| f[0] == user || f.get(2) == Some(&user));
    let number = |text: &str| text.parse::<u32>().ok();
    let uid = match &line {
        Some(line) if line[0] == user => number(line.get(2)?)?,
        _ => number(user)?,
    };
    let gid = match of_group.filter(|g| !g.is_empty()) {
        Some(name) => match fields(group).find(|f| f[0] == name) {
            Some(line) => number(line.get(2)?)?,
            None => number(name)?,
        },
        // As Docker does it: the group of the user's line, else root's.
        None => line.and_then(|line| number(line.get(3)?)).unwrap_or(0),
    };
    Some((uid, gid))
}

fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|f| !f[0].is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_the_image() {
        let (passwd, group) = ("root:x:0:0:r:/root:/bin/sh\nweb:x:33:34::/:\nbad:x\n77:x:5:6::/:\n", "web:x:35:\nadm:x:4:a\n");
        for (user, is) in [
            ("", None),
            ("0", Some((0, 0))),
            ("web", Some((33, 34))),
            ("33", Some((33, 34))),
            ("web:adm", Some((33, 4))),
            ("web:", Some((33, 34))),
            ("1000", Some((1000, 0))),
            ("1000:1001", Some((1000, 1001))),
            ("77", Some((5, 6))),
            ("nobody", None),
            ("web:none", None),
            ("bad", None),
            ("-1", None),
        ] {
            assert_eq!(resolve(user, passwd, group), is, "{user}");
        }
    }
}
