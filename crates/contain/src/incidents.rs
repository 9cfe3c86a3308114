//! Records of incidents, and copies of what proves them, beside the journal.
//!
//! ```text
//! STATE/incidents/ID/record           lines of JSON, each with the hash of the one before; replaced whole
//! STATE/incidents/ID/head             how many lines it has, and the hash of the last
//! STATE/incidents/ID/evidence/SHA256  a copy, named by its hash, on the disk before the record names it
//! ```

use crate::head::Head;
use crate::journal::Journal;
use disk::files;
use guard::incident::{Event, Incident, IncidentFault};
use guard::rules::{Facts, RuleSet};
use model::Fault;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const RECORD_BYTES_MAX: u64 = 64 << 20;
const EVIDENCE_BYTES_MAX: u64 = 256 << 20;

/// Whether a copy is still what the record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Whole,
    Changed,
    Missing,
}

/// With the lock of the journal held.
pub struct Incidents<'a> {
    journal: &'a Journal,
}

impl<'a> Incidents<'a> {
    pub fn new(journal: &'a Journal) -> Incidents<'a> {
        Incidents { journal }
    }

    pub fn list(root: &Path) -> Result<Vec<Incident>, Fault> {
        let folder = root.join("incidents");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(files::fault("cannot list", &folder, &e)),
        };
        let mut names: Vec<String> = Vec::new();
        for entry in entries {
            let entry = entry.map_err(files::at("cannot list", &folder))?;
            // One that was begun and has no record yet is none; one whose record is missing has its head.
            let is_begun = ["record", "head"].iter().any(|name| files::exists(&entry.path().join(name)));
            if let Some(name) = entry.file_name().to_str().filter(|_| is_begun) {
                names.push(name.to_string());
            }
        }
        names.sort();
        names.iter().map(|id| Incidents::read(root, id)).collect()
    }

    pub fn read(root: &Path, id: &str) -> Result<Incident, Fault> {
        let path = record(root, id)?;
        let bad = |e: &str| {
            let text = format!("{}: {e}", path.display());
            Fault::yours("bad-incident", text).hint("restore the file from a backup; nothing is written to a record that was changed")
        };
        // First, since a run that is in progress writes it after the record.
        let head = Head::read(&path.with_file_name("head"))?;
        let bytes = files::read_limited(&path, RECORD_BYTES_MAX).map_err(|fault| match (fault.code.as_str(), &head) {
            ("no-such-file", None) => {
                Fault::yours("no-such-incident", format!("there is no incident {id}")).hint("`afresh guard incident list`")
            }
            ("no-such-file", Some(_)) => bad("the record is missing"),
            _ => fault,
        })?;
        let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        if !text.ends_with('\n') {
            return Err(bad(&format!("line {} is cut off", text.lines().count())));
        }
        let incident = Incident::read(&text, None).map_err(|e| bad(&e.to_string()))?;
        if incident.id != id {
            return Err(bad(&format!("it is the record of incident {:?}", incident.id)));
        }
        let hashes: Vec<&str> = incident.entries().iter().map(|e| e.hash.as_str()).collect();
        head.map_or(Ok(()), |head| head.check(&hashes)).map_err(|e| bad(&format!("the record {e}")))?;
        Ok(incident)
    }

    /// `day`: 2026-11-30. The first of a day is `INC-2026-11-30-1`.
    pub fn open(&self, day: &str, facts: &Facts, (fingerprint, why): (&str, &str), by: &str, at_s: i64) -> Result<Incident, Fault> {
        let free = (1..).map(|n| format!("INC-{day}-{n}")).find(|id| !files::exists(&self.journal.root().join("incidents").join(id)));
        let id = free.unwrap_or_default();
        let incident = Incident::open(&id, facts, fingerprint, why, by, at_s).map_err(|e| refused(&e))?;
        self.write(&incident)?;
        Ok(incident)
    }

    /// Adds entries, all or none of them.
    pub fn append(&self, id: &str, events: Vec<Event>, by: &str, at_s: i64) -> Result<Incident, Fault> {
        let mut incident = Incidents::read(self.journal.root(), id)?;
        let at_s = not_before(&incident, at_s);
        for event in events {
            incident.append(event, by, at_s).map_err(|e| refused(&e))?;
        }
        self.write(&incident)?;
        Ok(incident)
    }

    pub fn close(&self, id: &str, (rule, set): (&str, &RuleSet), by: &str, at_s: i64) -> Result<Incident, Fault> {
        let mut incident = Incidents::read(self.journal.root(), id)?;
        let at_s = not_before(&incident, at_s);
        incident.close(rule, set, by, at_s).map_err(|e| refused(&e))?;
        self.write(&incident)?;
        Ok(incident)
    }

    /// Copies a file, and records its hash.
    pub fn keep(&self, id: &str, path: &Path, by: &str, at_s: i64) -> Result<String, Fault> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let bytes = read_plain(path, EVIDENCE_BYTES_MAX)?;
        self.keep_bytes(id, &name, &bytes, by, at_s)
    }

    pub fn keep_bytes(&self, id: &str, name: &str, bytes: &[u8], by: &str, at_s: i64) -> Result<String, Fault> {
        let sha256 = hex::encode(Sha256::digest(bytes));
        let folder = self.folder(id)?.join("evidence");
        make_private(&folder)?;
        let copy = folder.join(&sha256);
        disk::write(&copy, bytes, 0o400, disk::Lasting::Now).map_err(files::at("cannot write", &copy))?;
        let event = Event::Evidence { name: model::text::shown(name, 200), sha256: sha256.clone() };
        self.append(id, vec![event], by, at_s)?;
        Ok(sha256)
    }

    /// Every copy that the record names, hashed again.
    pub fn evidence(root: &Path, incident: &Incident) -> Result<Vec<(String, String, Kept)>, Fault> {
        let folder = record(root, &incident.id)?.with_file_name("evidence");
        let mut found = Vec::new();
        for entry in incident.entries() {
            let Event::Evidence { name, sha256 } = &entry.event else { continue };
            let kept = match files::read_limited(&folder.join(sha256), EVIDENCE_BYTES_MAX) {
                Ok(bytes) if hex::encode(Sha256::digest(&bytes)) == *sha256 => Kept::Whole,
                Err(fault) if fault.code == "no-such-file" => Kept::Missing,
                Ok(_) | Err(_) => Kept::Changed,
            };
            found.push((name.clone(), sha256.clone(), kept));
        }
        Ok(found)
    }

    fn folder(&self, id: &str) -> Result<PathBuf, Fault> {
        Ok(record(self.journal.root(), id)?.with_file_name(""))
    }

    fn write(&self, incident: &Incident) -> Result<(), Fault> {
        let path = record(self.journal.root(), &incident.id)?;
        let lines = incident.to_lines();
        if lines.len() as u64 > RECORD_BYTES_MAX {
            let text = format!("the record of {} would have {} bytes, and {RECORD_BYTES_MAX} is the most", incident.id, lines.len());
            return Err(Fault::yours("too-large", text).hint("keep what is long as evidence: afresh guard incident evidence"));
        }
        make_private(&path.with_file_name(""))?;
        disk::write(&path, lines.as_bytes(), 0o600, disk::Lasting::Now).map_err(files::at("cannot write", &path))?;
        let head = Head { entries: incident.entries().len(), hash: incident.head().to_string() };
        head.write(&path.with_file_name("head"))
    }
}

/// An identifier is one name of a directory.
fn record(root: &Path, id: &str) -> Result<PathBuf, Fault> {
    let is_name = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_name {
        let text = format!("{:?} is no incident", model::text::shown(id, 64));
        return Err(Fault::yours("no-such-incident", text).hint("`afresh guard incident list`"));
    }
    Ok(root.join("incidents").join(id).join("record"))
}

fn make_private(folder: &Path) -> Result<(), Fault> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(files::at("cannot make", folder))
}

/// A pipe would keep whoever opens it waiting, and a device may have no end.
fn read_plain(path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
    let is_plain = |found: std::io::Result<std::fs::Metadata>| match found.map_err(files::at("cannot read", path))? {
        found if found.is_file() => Ok(()),
        _ => Err(Fault::yours("not-a-file", format!("{} is no plain file", path.display())).hint("copy what it gives into a file first")),
    };
    is_plain(std::fs::metadata(path))?;
    // What took its place since is opened without waiting for it.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(files::at("cannot read", path))?;
    is_plain(file.metadata())?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(files::at("cannot read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Fault::world("too-large", format!("{} is larger than {limit} bytes", path.display())).again(false));
    }
    Ok(bytes)
}

/// Clocks run back; the record does not.
fn not_before(incident: &Incident, at_s: i64) -> i64 {
    incident.entries().last().map_or(at_s, |last| at_s.max(last.at_s))
}

fn refused(fault: &IncidentFault) -> Fault {
    Fault::yours("bad-incident", fault.to_string()).hint("`afresh guard incident show ID` lists what it has")
}
