//! Records of incidents, and copies of what proves them, beside the journal.
//!
//! ```text
//! STATE/incidents/ID/record           lines of JSON, each with the hash of the one before; replaced whole
//! STATE/incidents/ID/evidence/SHA256  a copy, named by its hash, on the disk before the record names it
//! ```

use crate::journal::Journal;
use disk::files;
use guard::incident::{Event, Incident, IncidentFault};
use guard::rules::{Facts, RuleSet};
use model::Fault;
use sha2::{Digest, Sha256};
use std::os::unix::fs::DirBuilderExt;
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
            // One that was begun and has no record yet is none.
            if let Some(name) = entry.file_name().to_str().filter(|_| files::exists(&entry.path().join("record"))) {
                names.push(name.to_string());
            }
        }
        names.sort();
        names.iter().map(|id| Incidents::read(root, id)).collect()
    }

    pub fn read(root: &Path, id: &str) -> Result<Incident, Fault> {
        let path = record(root, id)?;
        let bytes = files::read_limited(&path, RECORD_BYTES_MAX).map_err(|fault| {
            if fault.code == "no-such-file" {
                return Fault::yours("no-such-incident", format!("there is no incident {id}")).hint("`afresh guard incident list`");
            }
            fault
        })?;
        let bad = |e: &str| {
            let text = format!("{}: {e}", path.display());
            Fault::yours("bad-incident", text).hint("restore the file from a backup; nothing is written to a record that was changed")
        };
        let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        if !text.ends_with('\n') {
            return Err(bad(&format!("line {} is cut off", text.lines().count())));
        }
        let incident = Incident::read(&text, None).map_err(|e| bad(&e.to_string()))?;
        if incident.id == id { Ok(incident) } else { Err(bad(&format!("it is the record of incident {:?}", incident.id))) }
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
        let bytes = files::read_limited(path, EVIDENCE_BYTES_MAX)?;
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
        make_private(&path.with_file_name(""))?;
        disk::write(&path, incident.to_lines().as_bytes(), 0o600, disk::Lasting::Now).map_err(files::at("cannot write", &path))
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

/// Clocks run back; the record does not.
fn not_before(incident: &Incident, at_s: i64) -> i64 {
    incident.entries().last().map_or(at_s, |last| at_s.max(last.at_s))
}

fn refused(fault: &IncidentFault) -> Fault {
    Fault::yours("bad-incident", fault.to_string()).hint("`afresh guard incident show ID` lists what it has")
}
