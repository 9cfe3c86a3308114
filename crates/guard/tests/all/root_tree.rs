//! A labelled root directory: what is planted in it, what only looks like it, and what cannot be read.

use guard::Fact;
use guard::Verdict;
use guard::root::{Checksum, Exposure, File, Purpose, Survey, Tree, judge};
use guard::secrets::Detector;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

pub struct Node {
    pub mode: u32,
    pub owner: u32,
    /// `None`: a directory.
    pub content: Option<Vec<u8>>,
}

#[derive(Default)]
pub struct Memory {
    pub nodes: BTreeMap<String, Node>,
    pub unreadable: BTreeSet<String>,
}

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::built_in().unwrap());

impl Memory {
    /// A system of packages without any exposure.
    pub fn clean() -> Memory {
        let mut tree = Memory::default();
        tree.add("/usr/bin/passwd", 0o4755, "\x7fELF");
        tree.add("/var/lib/dpkg/info/passwd.list", 0o644, "/.\n/usr\n/usr/bin\n/usr/bin/passwd\n/usr/share/doc/x/examples/key.pem\n");
        tree.add("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/bash\napp:x:1000:1000::/home/app:/bin/sh\n");
        tree.add("/etc/shadow", 0o640, "root:*:19000:0:99999:7:::\napp:!:19000:0:99999:7:::\n");
        tree.add("/etc/crontab", 0o644, "SHELL=/bin/sh\n17 * * * * root cd / && run-parts --report /etc/cron.hourly\n");
        tree
    }

    pub fn add(&mut self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> &mut Memory {
        self.nodes.insert(path.into(), Node { mode, owner: 0, content: Some(content.as_ref().to_vec()) });
        self
    }

    pub fn directory(&mut self, path: &str, mode: u32) -> &mut Memory {
        self.nodes.insert(path.into(), Node { mode, owner: 0, content: None });
        self
    }

    pub fn scan(&self, purpose: Purpose) -> Vec<Exposure> {
        let survey = Survey::of(self, purpose);
        let mut found = survey.unknown();
        for (path, node) in &self.nodes {
            let content = match (&node.content, self.unreadable.contains(path)) {
                (_, true) => Fact::denied("read"),
                (content, false) => Fact::Known(content.as_deref().unwrap_or_default()),
            };
            let file = File { path, mode: node.mode, owner: node.owner, is_directory: node.content.is_none(), is_mounted: false, content };
            let leaks = || Fact::Known(DETECTOR.scan(node.content.as_deref().unwrap_or_default()));
            found.extend(judge(&survey, &file, leaks, self));
        }
        found
    }
}

/// A test writes the checksums of its lists in this form: what they are made of is not judged here.
pub fn checksum(kind: Checksum, content: &[u8]) -> String {
    let digits = format!("{:x}", Sha256::digest(content));
    match kind {
        Checksum::Md5 => digits[..32].into(),
        Checksum::Sha1 => format!("{}=", &digits[..27]),
    }
}

impl Tree for Memory {
    fn read(&self, path: &str) -> Fact<Option<Vec<u8>>> {
        if self.unreadable.contains(path) {
            return Fact::denied(path);
        }
        Fact::Known(self.nodes.get(path).and_then(|node| node.content.clone()))
    }

    fn checksum(&self, path: &str, kind: Checksum) -> Fact<String> {
        let Fact::Known(Some(content)) = self.read(path) else { return Fact::denied(path) };
        Fact::Known(checksum(kind, &content))
    }

    fn list(&self, path: &str) -> Fact<Option<Vec<String>>> {
        if self.unreadable.contains(path) {
            return Fact::denied(path);
        }
        let inside = self.nodes.keys().filter_map(|p| p.strip_prefix(path)?.strip_prefix('/'));
        let names: BTreeSet<String> = inside.map(|rest| rest.split('/').next().unwrap().to_string()).collect();
        Fact::Known((!names.is_empty()).then(|| names.into_iter().collect()))
    }
}

/// Public exposures by rule and path; `?` marks what is unknown.
pub fn rows(found: &[Exposure]) -> Vec<String> {
    let mark = |e: &Exposure| if e.verdict == Verdict::Unknown { "?" } else { "" };
    found.iter().map(|e| format!("{}{} {}", e.rule, mark(e), e.path)).collect()
}
