//! The lock: every package of an image by its bytes, one a line, so that a diff of two locks reads like a changelog.
//! Pure but for reading and writing its own file.

use disk::files;
use model::{Digest, Fault, ImageSpec, Time};
use serde::{Deserialize, Serialize};
use std::path::Path;

const LIMIT: u64 = 64 << 20;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The form of this file: 1.
    pub lock: u32,
    pub debian: String,
    pub arch: String,
    /// Of the recipe it answers, and that recipe: a lock and the package store are all that a build needs.
    pub recipe: Digest,
    pub spec: ImageSpec,
    /// When the mirrors were asked, and what they had signed then.
    pub asked: Time,
    /// The count of looks at the mirrors in this store: which of two locks is newer. Dates cannot say it: the machine's clock may go
    /// back, and two indexes may be signed in one second. 0: locked before this was kept, or not for a store.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sequence: u64,
    pub indexes: Vec<Index>,
    /// Settings of the machine's apt that were passed on purpose; a check that was switched off shows here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub origin: String,
    pub suite: String,
    pub date: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    pub digest: Digest,
}

/// One further line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Locked {
    pub name: String,
    pub version: String,
    pub arch: String,
    /// The first of the suites that have it: `bookworm-security`.
    pub suite: String,
    pub bytes: u64,
    pub sha256: String,
    pub url: String,
    /// The source package, where its name is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Must be there before any script can run: essential, of priority required, or apt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Which image brings it: 0 is the lowest base. An image without a base has 0 only.
    #[serde(default, skip_serializing_if = "is_lowest")]
    pub level: u32,
}

fn is_zero(sequence: &u64) -> bool {
    *sequence == 0
}

fn is_lowest(level: &u32) -> bool {
    *level == 0
}

impl Locked {
    /// The source package's name, without a version behind it.
    pub fn source_name(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.name).split(' ').next().unwrap_or(&self.name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub head: Head,
    /// By name.
    pub packages: Vec<Locked>,
}

impl Lock {
    /// Of what decides the image: the recipe and the packages' bytes; not which mirror they came from, nor when.
    pub fn digest(&self) -> Digest {
        let mut text = format!("lock {} {}\n{}\n", self.head.debian, self.head.arch, self.head.recipe);
        for p in &self.packages {
            text.push_str(&format!("{} {}", p.name, p.sha256));
            // Left out at 0, so that an image without a base has the digest it always had.
            text.push_str(&if p.level > 0 { format!(" {}\n", p.level) } else { "\n".to_string() });
        }
        files::digest_of(text.as_bytes())
    }

    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string(&self.head).expect("our types hold nothing that JSON cannot");
        for p in &self.packages {
            text.push('\n');
            text.push_str(&serde_json::to_string(p).expect("our types hold nothing that JSON cannot"));
        }
        text.push('\n');
        let sum = serde_json::to_string(&Sum { sum: files::digest_of(text.as_bytes()) }).expect("our types hold nothing that JSON cannot");
        text + &sum + "\n"
    }

    pub fn write(&self, path: &Path) -> Result<(), Fault> {
        files::write_atomic(path, self.to_text().as_bytes())
    }

    pub fn read(path: &Path) -> Result<Lock, Fault> {
        let bytes = files::read_limited(path, LIMIT)?;
        Self::parse(&String::from_utf8_lossy(&bytes), &path.display().to_string())
    }

    pub fn parse(text: &str, name: &str) -> Result<Lock, Fault> {
        let bad = |line: usize, why: &dyn std::fmt::Display| {
            Fault::yours("bad-lock", format!("{name}:{line}: {why}")).hint("make it again with `afresh image lock`")
        };
        let text = summed(text).map_err(|why| bad(text.lines().count(), &why))?;
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| bad(1, &"the file is empty"))?;
        let head: Head = serde_json::from_str(first).map_err(|e| bad(1, &e))?;
        if head.lock != 1 {
            return Err(bad(1, &format!("it is of form {}, and this program reads form 1", head.lock)));
        }
        let mut packages: Vec<Locked> = Vec::new();
        for (n, line) in lines.filter(|(_, l)| !l.trim().is_empty()) {
            let p: Locked = serde_json::from_str(line).map_err(|e| bad(n + 1, &e))?;
            if p.sha256.len() != 64 || !p.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(bad(n + 1, &"sha256 is not 64 lower-case hex digits"));
            }
            if packages.last().is_some_and(|before| before.name >= p.name) {
                return Err(bad(n + 1, &"the packages are not sorted by name, or one stands there twice"));
            }
            if p.level as usize >= head.spec.levels().len() {
                return Err(bad(n + 1, &format!("{} belongs to level {}, and its image has no such base", p.name, p.level)));
            }
            packages.push(p);
        }
        if packages.is_empty() {
            return Err(bad(1, &"it locks no package: was the file cut short?"));
        }
        Ok(Lock { head, packages })
    }
}

/// The last line: of all before it, so that a lock that was changed by chance is not taken for another one. Who changes one on
/// purpose leaves it out.
#[derive(Serialize, Deserialize)]
struct Sum {
    sum: Digest,
}

fn summed(text: &str) -> Result<&str, &'static str> {
    let Some(at) = text.trim_end().rfind("\n{\"sum\"") else { return Ok(text) };
    let (before, last) = text.split_at(at + 1);
    match serde_json::from_str::<Sum>(last) {
        Ok(Sum { sum }) if sum == files::digest_of(before.as_bytes()) => Ok(before),
        _ => Err("the lines before the last are not what was written; take that line out if it was changed on purpose"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn what_is_written_reads_the_same() {
        let lock = sample(&[("a", "1"), ("b", "2")]);
        assert_eq!(Lock::parse(&lock.to_text(), "x").unwrap(), lock);
        assert_eq!(lock.to_text().lines().count(), 4);
        // Older ones have no sum, and who changes one leaves it out.
        let text = lock.to_text();
        let bare = text.rsplit_once("{\"sum\"").unwrap().0;
        assert_eq!(Lock::parse(bare, "x").unwrap(), lock);
        assert_eq!(Lock::parse(&text.replace("http://m/a", "http://n/a"), "x").unwrap_err().code, "bad-lock");
    }

    #[test]
    fn mirrors_and_times_do_not_decide_the_image_and_packages_do() {
        let lock = sample(&[("a", "1")]);
        let mut other = lock.clone();
        other.packages[0].url = "http://other/".into();
        other.head.asked = Time(99);
        assert_eq!(lock.digest(), other.digest());
        assert_ne!(lock.digest(), sample(&[("a", "2")]).digest());
        other.packages[0].level = 1;
        assert_ne!(lock.digest(), other.digest(), "which of two images brings a package decides too");
        let text = other.to_text();
        assert!(Lock::parse(&text, "x").unwrap_err().message.starts_with("x:2: a belongs to level 1"), "{text}");
    }

    #[test]
    fn damage_is_told_with_its_line() {
        let good = sample(&[("a", "1"), ("b", "2")]).to_text();
        for cut in 1..good.len() - 1 {
            let text = &good[..cut];
            if let Err(f) = Lock::parse(text, "x.lock") {
                assert_eq!(f.code, "bad-lock");
                assert!(f.message.starts_with("x.lock:"), "{}", f.message);
            }
        }
        for text in ["", "{}", "\u{0}\u{1}", &good.replace("\"lock\":1", "\"lock\":9"), &good.lines().rev().collect::<Vec<_>>().join("\n")]
        {
            assert_eq!(Lock::parse(text, "x").unwrap_err().code, "bad-lock");
        }
    }
}
