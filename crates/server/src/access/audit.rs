//! The audit: one line for each change and each refusal, who, from where, what, and the outcome. Only serve writes it, and a caller
//! controls nothing of a line but the values of its bounded fields, which JSON escapes.
//!
//! ```text
//! DATA/audit/changes.log, refusals.log    each up to 4 MiB, then renamed to .1 ... .4 (the oldest goes): refusals cannot push changes out
//! ```
//! After the first hundred, refusals of one identity beyond one a second are counted, and its next line carries the count.

use api::control::AuditLine;
use model::{Fault, Layout};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const BYTES_MAX: u64 = 4 << 20;
const KEPT: usize = 4;
const BURST: f64 = 100.0;
const A_SECOND: f64 = 1.0;
/// Identities that are counted by themselves; all further ones share one count.
const COUNTED_MAX: usize = 1_000;
/// No more is read for one answer.
const READ_MAX: u64 = 8 << 20;

const CHANGES: &str = "changes.log";
const REFUSALS: &str = "refusals.log";

pub struct Audit {
    dir: PathBuf,
    inner: Mutex<BTreeMap<String, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
    skipped: u64,
}

impl Audit {
    pub fn open(layout: &Layout) -> Result<Audit, Fault> {
        let dir = layout.root().join("audit");
        crate::files::private_dir(&dir)?;
        Ok(Audit { dir, inner: Mutex::default() })
    }

    /// A line that cannot be written is logged: a full disk must not prevent a rollback.
    pub fn write(&self, mut line: AuditLine) {
        let mut buckets = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if line.is_refusal() {
            match admit(&mut buckets, &line.who) {
                Some(skipped) => line.skipped = skipped,
                None => return,
            }
            REFUSALS
        } else {
            CHANGES
        };
        if let Err(e) = append(&self.dir.join(name), &line) {
            tracing::error!(who = line.who, what = line.what, outcome = line.outcome, "cannot write the audit: {e}");
        }
    }

    /// As [`Self::write`], for what must not happen without its line.
    pub fn must_write(&self, line: &AuditLine) -> Result<(), Fault> {
        let _alone = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        append(&self.dir.join(CHANGES), line).map_err(|e| {
            Fault::world("audit-unwritable", format!("the audit cannot be written, so nothing was begun: {e}"))
                .hint("is the disk of the data directory full?")
        })
    }

    /// The newest lines, oldest first; `refused`: refusals alone.
    pub fn read(&self, limit: usize, refused: bool) -> Result<Vec<AuditLine>, Fault> {
        let mut all = Vec::new();
        for name in if refused { &[REFUSALS][..] } else { &[CHANGES, REFUSALS][..] } {
            let path = self.dir.join(name);
            let mut bytes = Vec::new();
            for place in [path.with_extension("log.1"), path] {
                bytes.extend(tail(&place).map_err(|e| crate::files::io_fault(&place, &e))?);
            }
            // A line that was cut off by a crash, or by where reading began, is skipped.
            all.extend(bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<AuditLine>(line).ok()));
        }
        all.sort_by_key(|line| line.at);
        all.drain(..all.len().saturating_sub(limit));
        Ok(all)
    }
}

/// None: too many refusals of this identity. Else how many of its lines were left out before this one.
fn admit(buckets: &mut BTreeMap<String, Bucket>, who: &str) -> Option<u64> {
    let who = if buckets.len() < COUNTED_MAX || buckets.contains_key(who) { who } else { "" };
    let now = Instant::now();
    let bucket = buckets.entry(who.to_string()).or_insert(Bucket { left: BURST, at: now, skipped: 0 });
    bucket.left = (bucket.left + now.duration_since(bucket.at).as_secs_f64() * A_SECOND).min(BURST);
    bucket.at = now;
    if bucket.left < 1.0 {
        bucket.skipped += 1;
        return None;
    }
    bucket.left -= 1.0;
    Some(std::mem::take(&mut bucket.skipped))
}

fn append(path: &Path, line: &AuditLine) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(line).map_err(std::io::Error::other)?;
    bytes.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.len() + bytes.len() as u64 > BYTES_MAX {
        rotate_files(path)?;
        file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    }
    // One write: a line is complete or, after a crash, cut off at its end.
    file.write_all(&bytes)
}

fn rotate_files(path: &Path) -> std::io::Result<()> {
    for n in (1..KEPT).rev() {
        match std::fs::rename(path.with_extension(format!("log.{n}")), path.with_extension(format!("log.{}", n + 1))) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    std::fs::rename(path, path.with_extension("log.1"))
}

fn tail(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_MAX)))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: u64, who: &str, outcome: &str) -> AuditLine {
        AuditLine { at: model::Time(at), who: who.into(), what: "x".repeat(3_000), outcome: outcome.into(), ..AuditLine::default() }
    }

    #[test]
    fn refusals_push_no_change_out_and_none_fills_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(&Layout::new(dir.path())).unwrap();
        audit.write(line(1, "root", "done"));
        for i in 0..10 {
            audit.write(line(1_000_000 + i, "me", "done"));
        }
        for i in 0..10_000 {
            audit.write(line(2 + i, &format!("uid:{}", i % 2_000), "refused"));
        }
        for i in 0..5_000 {
            audit.write(line(20_000 + i, "noisy", "refused"));
        }
        let bytes: u64 = std::fs::read_dir(dir.path().join("audit")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= (KEPT as u64 + 1) * BYTES_MAX + BYTES_MAX, "{bytes}");
        let lines = audit.read(100_000, false).unwrap();
        assert_eq!(lines.iter().filter(|l| l.who == "root").count(), 1);
        let refused = audit.read(5, true).unwrap();
        assert!(refused.len() == 5 && refused.iter().all(AuditLine::is_refusal), "a limit counts what is asked for: {refused:?}");
        assert!(lines.iter().filter(|l| l.who == "noisy").count() < 200);
        assert!(lines.is_sorted_by_key(|l| l.at) && audit.read(3, false).unwrap().len() == 3);
    }

    #[test]
    fn a_value_with_a_line_feed_makes_no_second_line() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(&Layout::new(dir.path())).unwrap();
        let forged = "x\n{\"at\":1,\"who\":\"root\",\"what\":\"forged\",\"outcome\":\"done\"}\n";
        audit.write(AuditLine { on: forged.into(), ..line(1, "token:ci", "refused") });
        let text = std::fs::read_to_string(dir.path().join("audit/refusals.log")).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(audit.read(10, false).unwrap().iter().all(|l| l.who == "token:ci"));
        std::fs::write(dir.path().join("audit/refusals.log"), &text[..text.len() / 2]).unwrap();
        assert!(audit.read(10, false).unwrap().is_empty(), "half a line is none");
    }
}
