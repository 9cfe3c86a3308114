//! The name under which this data directory's control plane takes leases: created once and kept in the directory, so that a restarted
//! control plane takes its own leases back.

use crate::files::{io_fault, private_dir};
use model::{Fault, Layout};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

const UUID: &str = "/proc/sys/kernel/random/uuid";

pub fn lease_holder(layout: &Layout) -> Result<String, Fault> {
    let control = layout.root().join("control");
    let path = control.join("node");
    if let Some(name) = read_name(&path)? {
        return Ok(name);
    }
    private_dir(&control)?;
    let uuid = std::fs::read_to_string(UUID).map_err(|e| io_fault(Path::new(UUID), &e))?;
    let name = format!("node-{}", uuid.trim());
    disk::write(&path, name.as_bytes(), 0o600, disk::Lasting::Now).map_err(|e| io_fault(&path, &e))?;
    Ok(name)
}

/// None: there is no complete name. Then a new one is made, and the leases of the old one expire.
fn read_name(path: &Path) -> Result<Option<String>, Fault> {
    let mut text = String::new();
    match File::open(path).and_then(|f| f.take(200).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => return Ok(None),
        Err(e) => return Err(io_fault(path, &e)),
    }
    let complete =
        text.len() == "node-".len() + 36 && text.starts_with("node-") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    Ok(complete.then_some(text))
}
