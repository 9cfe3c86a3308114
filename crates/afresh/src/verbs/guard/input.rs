//! Files that are named on the command line: rules, waivers, plans.

use crate::failure;
use model::Fault;
use std::path::Path;

/// `hint`: what to do where it is not there.
pub fn read(path: &Path, hint: &str) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|e| {
        let fault = failure::io("cannot read", path, &e);
        if fault.code == "no-file" { fault.hint(hint) } else { fault }
    })
}
