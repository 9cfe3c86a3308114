//! What a verb ends with when it does not succeed, and how it is told.

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::show;
use model::Fault;

#[derive(Debug)]
pub enum Failure {
    Fault(Fault),
    /// A service file that is wrong: the rendering names every place, so one line more would only repeat it.
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
            Failure::File { .. } => Exit::Yours,
        }
    }

    /// To stderr for people; with `--json` also to stdout, as one object.
    pub fn print(&self, context: &Context) {
        let fault = match self {
            Failure::Fault(fault) => {
                show::error(fault);
                fault.clone()
            }
            Failure::File { rendered, errors, name } => {
                show::err_text(rendered);
                Fault::yours("bad-file", format!("{name}: {errors} {}", if *errors == 1 { "error" } else { "errors" }))
                    .hint("every place is told on stderr; `afresh check` tells them again")
            }
        };
        if context.json {
            show::json(&serde_json::json!({ "error": fault }));
        }
    }
}

/// An error of the operating system on a path: the world's, with what was tried.
pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Fault {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let message = format!("{what} {}: {error}", path.display());
    match error.kind() {
        StorageFull => Fault::world("disk-full", message).hint("free some room, or point --data-dir at another disk").again(false),
        PermissionDenied | ReadOnlyFilesystem => {
            Fault::world("no-permission", message).hint("run it as root, or choose another --data-dir").again(false)
        }
        NotFound => Fault::yours("no-file", message),
        _ => Fault::world("io", message),
    }
}
