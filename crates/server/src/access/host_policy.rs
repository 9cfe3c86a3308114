//! Reads the host policy. Only root (and the user that serve runs as) may be able to write it.

use model::Fault;
use model::access::HostPolicy;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const BYTES_MAX: u64 = 256 << 10;

/// Without a file: the defaults.
pub fn read(path: &Path) -> Result<HostPolicy, Fault> {
    let shown = path.display();
    let refused = |why: String| {
        Fault::yours("policy-not-safe", format!("{shown}: {why}"))
            .hint(format!("`chown root:root {shown} && chmod 0644 {shown}`; until then it permits nobody but the administrator"))
    };
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(HostPolicy::default()),
        Err(e) => return Err(refused(format!("cannot read the host policy: {e}"))),
    };
    let seen = file.metadata().map_err(|e| refused(e.to_string()))?;
    if !seen.is_file() {
        return Err(refused("the host policy is not a regular file".to_string()));
    }
    if seen.uid() != 0 && seen.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused(format!("the host policy belongs to uid {}, not to root", seen.uid())));
    }
    if seen.mode() & 0o022 != 0 {
        return Err(refused(format!("the host policy has mode {:04o}: users other than root can write it", seen.mode() & 0o7777)));
    }
    let mut text = String::new();
    Read::by_ref(&mut file).take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| refused(e.to_string()))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(refused(format!("the host policy has more than {BYTES_MAX} bytes")));
    }
    config::parse_policy(&text, &shown.to_string()).map_err(|all| {
        let first = all.first().map(ToString::to_string).unwrap_or_default();
        Fault::yours("policy-invalid", first).hint("`afresh policy check` shows every error with its place")
    })
}
