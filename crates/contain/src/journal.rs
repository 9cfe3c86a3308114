//! The state directory: one file for each containment, replaced whole, on the disk before anything is changed.
//!
//! ```text
//! STATE/lock                held while something is changed
//! STATE/containments/ID     lines of JSON, each with the hash of the one before
//! STATE/heads/ID            how many lines it has, and the hash of the last
//! STATE/incidents/ID        (see `incidents`)
//! ```

use crate::entry::{Entry, Event, Planned, Standing};
use crate::head::Head;
use disk::files;
use disk::lock::{Lock, retry};
use guard::contain::Phase;
use model::Fault;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A plan has a policy before and one after, of 20 kB at most each; an account's covers many resources.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// What is begun leaves room for what comes of it: a record that is too large to be read again would stop every later run.
const PLAN_BYTES_MAX: u64 = 8 << 20;
const UNDO_BYTES_MAX: u64 = 12 << 20;
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The state directory, locked against every other run while it lives.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    _lock: Lock,
}

/// One containment, as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containment {
    pub id: String,
    pub planned: Planned,
    pub standing: Standing,
    entries: Vec<Entry>,
}

impl Containment {
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn at_s(&self) -> i64 {
        self.entries.first().map_or(0, |e| e.at_s)
    }

    /// Whether the change was ever sent.
    pub fn was_sent(&self) -> bool {
        self.entries.iter().any(|e| e.event == Event::Writing)
    }

    fn head(&self) -> &str {
        self.entries.last().map_or("", |e| e.hash.as_str())
    }

    fn to_lines(&self) -> String {
        self.entries.iter().filter_map(|e| serde_json::to_string(e).ok()).fold(String::new(), |text, line| text + &line + "\n")
    }
}

impl Journal {
    /// Makes the directory if it is missing, closed to other users, and locks it.
    pub fn open(root: &Path) -> Result<Journal, Fault> {
        for folder in [root.to_path_buf(), root.join("containments"), root.join("heads"), root.join("incidents")] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| unusable(&folder, &e))?;
            own(&folder)?;
        }
        let path = root.join("lock");
        let mut lock = retry(LOCK_PATIENCE, || Lock::try_exclusive(&path))?.ok_or_else(|| {
            let who = disk::lock::holder(&path).map(|pid| format!(", process {pid}")).unwrap_or_default();
            Fault::yours("busy", format!("another containment is in progress over {}{who}", root.display())).hint("wait until it has ended")
        })?;
        // Only for the message above.
        let _ = lock.write_holder();
        remove_half_written(&root.join("containments"))?;
        remove_half_written(&root.join("heads"))?;
        Ok(Journal { root: root.to_path_buf(), _lock: lock })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn all(&self) -> Result<Vec<Containment>, Fault> {
        Journal::list(&self.root)
    }

    /// Oldest first, without the lock: each file is whole. One that is not is an error, since what it contained is not known.
    pub fn list(root: &Path) -> Result<Vec<Containment>, Fault> {
        // First, since a run that is in progress writes a head after its record.
        let mut heads = BTreeMap::new();
        for name in names(&root.join("heads"))? {
            let head = Head::read(&root.join("heads").join(&name))?;
            heads.extend(head.map(|head| (name, head)));
        }
        let folder = root.join("containments");
        let mut found = Vec::new();
        for name in names(&folder)? {
            let path = folder.join(&name);
            let containment = read(&path, &name)?;
            if let Some(head) = heads.remove(&name) {
                let hashes: Vec<&str> = containment.entries.iter().map(|e| e.hash.as_str()).collect();
                head.check(&hashes).map_err(|e| bad(&path, hashes.len(), &format!("the record {e}")))?;
            }
            found.push(containment);
        }
        if let Some(name) = heads.keys().next() {
            return Err(bad(&folder.join(name), 1, "the record is missing"));
        }
        found.sort_by_key(|c: &Containment| (c.at_s(), sequence(&c.id), c.id.clone()));
        Ok(found)
    }

    /// Records a plan. It is on the disk when this returns.
    pub fn begin(&self, planned: Planned, by: &str, at_s: i64) -> Result<Containment, Fault> {
        let number = self.next_number()?;
        let seed = serde_json::to_string(&planned).unwrap_or_default();
        let digest = hex::encode(Sha256::digest(format!("{at_s}\n{number}\n{seed}")));
        let id = format!("c{number}-{}", &digest[..8]);
        let entry = Entry::new(&id, at_s, by, Event::Planned(Box::new(planned.clone())), "");
        let containment = Containment { id, planned, standing: Standing::Phase(Phase::Planned), entries: vec![entry] };
        self.write(&containment, PLAN_BYTES_MAX)?;
        Ok(containment)
    }

    /// Adds a line. It is on the disk when this returns; if it is not, nothing of it counts.
    pub fn record(&self, containment: &mut Containment, event: Event, by: &str, at_s: i64) -> Result<(), Fault> {
        let Some(standing) = containment.standing.after(&event) else {
            let text = format!("{} is {}: {event:?} cannot follow", containment.id, containment.standing.name());
            return Err(Fault::ours("bad-journal", text));
        };
        let at_s = at_s.max(containment.entries.last().map_or(0, |e| e.at_s));
        let mut changed = containment.clone();
        changed.entries.push(Entry::new(&containment.id, at_s, by, event, containment.head()));
        changed.standing = standing;
        let is_undo = matches!(changed.standing, Standing::Phase(Phase::Undoing { .. }));
        self.write(&changed, if is_undo { UNDO_BYTES_MAX } else { FILE_BYTES_MAX })?;
        *containment = changed;
        Ok(())
    }

    fn write(&self, containment: &Containment, bytes_max: u64) -> Result<(), Fault> {
        let (id, lines) = (&containment.id, containment.to_lines());
        if lines.len() as u64 > bytes_max {
            let text = format!("the record of {id} would have {} bytes, and {bytes_max} is the most", lines.len());
            return Err(Fault::yours("too-large", text).hint("contain fewer resources at a time: name them one by one"));
        }
        let path = self.root.join("containments").join(id);
        disk::write(&path, lines.as_bytes(), 0o600, disk::Lasting::Now).map_err(files::at("cannot write", &path))?;
        let head = Head { entries: containment.entries.len(), hash: containment.head().to_string() };
        head.write(&self.root.join("heads").join(id))
    }

    fn next_number(&self) -> Result<u64, Fault> {
        let folder = self.root.join("containments");
        let entries = std::fs::read_dir(&folder).map_err(|e| unusable(&folder, &e))?;
        let numbers = entries.flatten().filter_map(|e| e.file_name().to_str().map(sequence));
        Ok(numbers.max().unwrap_or(0) + 1)
    }
}

/// Of files that are whole: what is being written begins with a dot.
fn names(folder: &Path) -> Result<Vec<String>, Fault> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unusable(folder, &e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| unusable(folder, &e))?.file_name();
        found.extend(name.to_str().filter(|name| !name.starts_with('.')).map(str::to_string));
    }
    Ok(found)
}

/// The number in `c12-0a1b2c3d`.
fn sequence(id: &str) -> u64 {
    id.strip_prefix('c').and_then(|rest| rest.split_once('-')).and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

/// Reads a file, and refuses one that is cut, changed, or of something else.
fn read(path: &Path, name: &str) -> Result<Containment, Fault> {
    let bytes = files::read_limited(path, FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| bad(path, 1, "it is not UTF-8"))?;
    if !text.ends_with('\n') {
        return Err(bad(path, text.lines().count(), "it is cut off"));
    }
    let mut found: Option<Containment> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let entry: Entry = serde_json::from_str(line).map_err(|e| bad(path, number, &format!("it cannot be read: {e}")))?;
        let previous = found.as_ref().map_or("", Containment::head);
        if entry.hash != entry.computed_hash() || entry.previous != previous {
            return Err(bad(path, number, "it was changed, or a line before it is missing"));
        }
        if entry.containment != name {
            return Err(bad(path, number, &format!("it belongs to {:?}", model::text::shown(&entry.containment, 60))));
        }
        found = Some(match (found, &entry.event) {
            (None, Event::Planned(planned)) => Containment {
                id: name.to_string(),
                planned: (**planned).clone(),
                standing: Standing::Phase(Phase::Planned),
                entries: vec![entry],
            },
            (Some(mut so_far), event) => {
                let Some(standing) = so_far.standing.after(event) else {
                    return Err(bad(path, number, "it cannot follow the line before it"));
                };
                so_far.standing = standing;
                so_far.entries.push(entry);
                so_far
            }
            (None, _) => return Err(bad(path, number, "it is no plan, with which every journal begins")),
        });
    }
    found.ok_or_else(|| bad(path, 1, "it is empty"))
}

fn bad(path: &Path, line: usize, what: &str) -> Fault {
    let text = format!("{}, line {line}: {what}", path.display());
    Fault::yours("bad-journal", text)
        .hint("restore the file from a backup; its plan has the value to restore by hand. Moving it and its file in heads/ away forgets that containment")
}

/// What is planned in it is done: nobody else may write there, and it is no link.
fn own(folder: &Path) -> Result<(), Fault> {
    let found = std::fs::symlink_metadata(folder).map_err(|e| unusable(folder, &e))?;
    if found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let text = format!("{} is not a directory of your own that nobody else may write to", folder.display());
    Err(Fault::yours("unsafe-state", text)
        .hint(format!("chown it to yourself and `chmod 700 {}`, or name another: --state DIR", folder.display())))
}

/// What a killed run was writing when it was killed: the file that it would have replaced is whole.
fn remove_half_written(folder: &Path) -> Result<(), Fault> {
    let entries = std::fs::read_dir(folder).map_err(|e| unusable(folder, &e))?;
    let half = entries.flatten().filter(|e| e.file_name().to_str().is_some_and(|name| name.starts_with('.')));
    half.map(|e| e.path()).try_for_each(|path| files::remove_file(&path))
}

fn unusable(path: &Path, error: &std::io::Error) -> Fault {
    let fault = files::fault("cannot use", path, error);
    if fault.code == "no-permission" {
        return fault.hint("keep the journal in a directory of your own: --state ~/.local/state/afresh-guard");
    }
    fault
}
