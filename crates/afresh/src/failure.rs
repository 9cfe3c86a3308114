//! How a verb ends when it does not succeed, and how that is printed.

use crate::exit::{self, Exit};
use crate::show;
use model::Fault;

#[derive(Debug)]
pub enum Failure {
    Fault(Fault),
    /// A service file with errors: the rendering names every place, so one line more would only repeat it.
    File {
        rendered: String,
        errors: usize,
        name: String,
    },
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Fault(fault)
    }
}

impl Failure {
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Fault(fault) => exit::of_fault(fault),
            Failure::File { .. } => Exit::User,
        }
    }

    /// To stderr for people; with `--json` also to stdout, as one object.
    pub fn print(&self, json: bool) {
        let fault = match self {
            Failure::Fault(fault) => {
                show::error(fault);
                fault.clone()
            }
            Failure::File { rendered, errors, name } => {
                show::err_text(rendered);
                Fault::yours("bad-file", format!("{name}: {errors} {}", if *errors == 1 { "error" } else { "errors" }))
                    .hint("stderr has every place; `afresh validate` prints them again")
            }
        };
        if json {
            show::json(&serde_json::json!({ "error": fault }));
        }
    }
}

/// An error of the operating system on a path: an environment error, with what was tried.
pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Fault {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let message = format!("{what} {}: {error}", path.display());
    match error.kind() {
        StorageFull => Fault::world("disk-full", message).hint("free some space, or choose another --data-dir").again(false),
        PermissionDenied | ReadOnlyFilesystem => {
            Fault::world("no-permission", message).hint("run it as root, or choose another --data-dir").again(false)
        }
        NotFound => Fault::yours("no-file", message),
        _ => Fault::world("io", message),
    }
}
