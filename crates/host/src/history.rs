//! What happened to the fleet by itself: deaths, servers killed at their memory limit, replacements, repaired state files.
//! A bounded list, on the disk so that a new keeper knows it; it decides nothing, and a full disk costs only its older part.

use api::fleet::{Happened, HappenedKind};
use model::{GroupName, InstanceId, Layout, ServiceName};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many are kept in memory and returned.
const KEPT: usize = 1_000;
/// The file is rotated at this size, and one rotated file is kept.
const FILE_BYTES_MAX: u64 = 1 << 20;
const TEXT_CHARS_MAX: usize = 500;

pub struct History {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    all: VecDeque<Happened>,
    next: u64,
}

/// What it is about.
#[derive(Clone, Debug, Default)]
pub struct About {
    pub service: Option<ServiceName>,
    pub group: Option<GroupName>,
    pub instance: Option<InstanceId>,
}

impl History {
    pub fn open(layout: &Layout) -> Self {
        let path = layout.host().join("happened.jsonl");
        let mut all = VecDeque::new();
        for file in [turned(&path), path.clone()] {
            // A line that a crash or a full disk cut short is skipped.
            let lines = read(&file);
            all.extend(lines.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Happened>(line).ok()));
        }
        let next = all.iter().map(|one| one.number).max().unwrap_or(0) + 1;
        all.drain(..all.len().saturating_sub(KEPT));
        Self { path, inner: Mutex::new(Inner { all, next }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, kind: HappenedKind, about: About, text: &str) {
        let mut inner = self.inner();
        let About { service, group, instance } = about;
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect();
        tracing::warn!(kind = kind.code(), instance = instance.as_ref().map(InstanceId::as_str), "{text}");
        let one = Happened { number: inner.next, at: disk::files::now(), kind, service, group, instance, text };
        inner.next += 1;
        if let Err(e) = append(&self.path, &one) {
            tracing::warn!("{}: {e}", self.path.display());
        }
        inner.all.push_back(one);
        if inner.all.len() > KEPT {
            inner.all.pop_front();
        }
    }

    /// Oldest first.
    pub fn after(&self, number: u64) -> Vec<Happened> {
        self.inner().all.iter().filter(|one| one.number > number).cloned().collect()
    }
}

fn turned(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // What cannot be read is lost, and nothing depends on it.
        let _ = file.take(2 * FILE_BYTES_MAX).read_to_end(&mut bytes);
    }
    bytes
}

fn append(path: &Path, one: &Happened) -> std::io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|m| m.len() > FILE_BYTES_MAX) {
        std::fs::rename(path, turned(path))?;
    }
    // It begins with a line feed: after a line that was cut short it is still a line of its own.
    let mut line = b"\n".to_vec();
    serde_json::to_writer(&mut line, one)?;
    std::fs::File::options().create(true).append(true).open(path)?.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(history: &History) -> Vec<(u64, String)> {
        history.after(0).into_iter().map(|one| (one.number, one.text)).collect()
    }

    #[test]
    fn it_is_kept_over_a_restart_and_a_line_cut_short_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.host()).unwrap();
        let history = History::open(&layout);
        history.add(HappenedKind::Died, About::default(), "one\nof a kind");
        history.add(HappenedKind::OomKilled, About::default(), "two");
        let path = layout.host().join("happened.jsonl");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let history = History::open(&layout);
        assert_eq!(texts(&history), [(1, "one of a kind".to_string())]);
        history.add(HappenedKind::Died, About::default(), "three");
        assert_eq!(texts(&History::open(&layout)), [(1, "one of a kind".to_string()), (2, "three".to_string())]);
        assert_eq!(history.after(1).len(), 1);
    }

    #[test]
    fn it_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.host()).unwrap();
        let history = History::open(&layout);
        for _ in 0..KEPT + 5 {
            history.add(HappenedKind::Died, About::default(), &"x".repeat(4_000));
        }
        assert_eq!(history.after(0).len(), KEPT);
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        let path = layout.host().join("happened.jsonl");
        assert!(bytes(&path) + bytes(&turned(&path)) < 2 * FILE_BYTES_MAX + 8_192);
        assert_eq!(History::open(&layout).after(0).len(), KEPT);
    }
}
