//! Files that hold what nobody else may know, by their names: what is packed can be read by every server of the service, and by whoever can read
//! the store. A guess that warns and refuses nothing.

use crate::ignore::{Ignore, fits};
use disk::files;
use model::Fault;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

const NAMES: &[&str] = &[
    ".env",
    ".env.*",
    ".envrc",
    ".npmrc",
    ".netrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    "auth.json",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.key",
    "*.tfstate",
    "*.tfstate.*",
];
/// Shown to everybody, without values.
const EXAMPLES: &[&str] = &["*.example", "*.sample", "*.template", "*.dist"];
/// Published code of others: such a file in it is no secret of this service.
const OTHERS: &[&str] = &["node_modules", "vendor", "site-packages", ".git"];
const DEPTH_MAX: usize = 64;
const ENTRIES_MAX: usize = 100_000;
/// Names for a warning.
const FOUND_MAX: usize = 20;
const PEM_BYTES_MAX: u64 = 64 << 10;

/// What is packed of this directory and looks private, from the directory. Nothing of a tarball.
pub fn private_files(root: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut look = Look { root, ignore: Ignore::default(), found: Vec::new(), left: ENTRIES_MAX };
    if root.is_dir() {
        look.ignore = Ignore::read(root)?;
        look.within(Path::new(""), 0);
    }
    look.found.sort();
    Ok(look.found)
}

struct Look<'a> {
    root: &'a Path,
    ignore: Ignore,
    found: Vec<PathBuf>,
    left: usize,
}

impl Look<'_> {
    /// What cannot be read is reported by whoever packs it.
    fn within(&mut self, below: &Path, depth: usize) {
        for entry in fs::read_dir(self.root.join(below)).into_iter().flatten().flatten() {
            let place = below.join(entry.file_name());
            let (Some(name), Ok(kind)) = (entry.file_name().to_str().map(str::to_string), entry.file_type()) else { continue };
            if self.left == 0 || self.found.len() >= FOUND_MAX || self.ignore.leaves_out(&place) {
                continue;
            }
            self.left -= 1;
            if kind.is_dir() && depth < DEPTH_MAX && !OTHERS.contains(&name.as_str()) {
                self.within(&place, depth + 1);
            } else if kind.is_file() && (is_named_so(&name) || (name.ends_with(".pem") && has_private_key(&self.root.join(&place)))) {
                self.found.push(place);
            }
        }
    }
}

fn is_named_so(name: &str) -> bool {
    let is_one = |patterns: &[&str]| patterns.iter().any(|pattern| fits(pattern, name));
    is_one(NAMES) && !is_one(EXAMPLES)
}

/// Most `.pem` files are certificates, which are public and may be needed.
fn has_private_key(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(files::at("cannot read", path));
    file.is_ok_and(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes).is_ok()) && bytes.windows(11).any(|part| part == b"PRIVATE KEY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_private_and_is_packed_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let found = || private_files(dir.path()).unwrap().iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" ");
        for name in ["app.py", ".env.example", "keys.py", "node_modules/x/.npmrc", ".environment", "monkey", "tfstate.py"] {
            put(name, "x");
        }
        put("ca.pem", "-----BEGIN CERTIFICATE-----");
        assert_eq!(found(), "");
        put("certs/own.pem", "-----BEGIN EC PRIVATE KEY-----");
        for name in [".env", ".env.local", "deep/down/.envrc", "deep/id_ed25519", "tls.key", "infra/terraform.tfstate.backup", "auth.json"]
        {
            put(name, "x");
        }
        let all = ".env .env.local auth.json certs/own.pem deep/down/.envrc deep/id_ed25519 infra/terraform.tfstate.backup tls.key";
        assert_eq!(found(), all);
        put(".afreshignore", "deep\n.env\n*.pem\n");
        assert_eq!(found(), ".env.local auth.json infra/terraform.tfstate.backup tls.key");
        std::os::unix::fs::symlink("/", dir.path().join("all")).unwrap();
        assert_eq!(found().split(' ').count(), 4, "no link is followed");
        assert_eq!(private_files(&dir.path().join("none")).unwrap().len(), 0);
    }
}
