//! Reads the host policy. Only root (and the user that serve runs as) may be able to write it.

use crate::files::read_trusted;
use model::Fault;
use model::access::HostPolicy;
use std::path::Path;

const BYTES_MAX: u64 = 256 << 10;

/// Without a file: the defaults.
pub fn read(path: &Path) -> Result<HostPolicy, Fault> {
    let shown = path.display();
    let refused = |why: String| {
        Fault::yours("policy-not-safe", format!("{shown}: {why}"))
            .hint(format!("`chown root:root {shown} && chmod 0644 {shown}`; until then it permits nobody but the administrator"))
    };
    let text = match read_trusted(path, BYTES_MAX).map_err(|why| refused(format!("the host policy is not used: {why}")))? {
        Some(text) => text,
        None => return Ok(HostPolicy::default()),
    };
    config::parse_policy(&text, &shown.to_string()).map_err(|all| {
        let first = all.first().map(ToString::to_string).unwrap_or_default();
        Fault::yours("policy-invalid", first).hint("`afresh policy check` shows every error with its place")
    })
}
