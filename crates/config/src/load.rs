//! A service file from disk. The only file this crate ever reads.

use crate::diagnostic::{Diagnostic, render};
use crate::places::FILE_BYTES_MAX;
use model::{Fault, ServiceFile};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Why a service file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file itself: missing, a directory, unreadable, too large.
    #[error("{}: {message}", path.display())]
    File {
        /// As it was given.
        path: PathBuf,
        /// `no-file`, `not-a-file`, `unreadable`, `too-large`.
        code: &'static str,
        /// What is wrong, without the path.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What is in it.
    #[error("{}", diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid {
        /// The name the places are given with.
        name: String,
        /// What was read; for [`render`].
        text: String,
        /// At least one.
        diagnostics: Vec<Diagnostic>,
    },
}

impl LoadError {
    /// For people: with the lines, underlined.
    pub fn render(&self, colour: bool) -> String {
        match self {
            LoadError::File { hint, .. } => format!("{self}\nhint: {hint}\n"),
            LoadError::Invalid { name, text, diagnostics } => render(diagnostics, text, name, colour),
        }
    }

    /// For machines: one fault with the first place.
    pub fn fault(&self) -> Fault {
        match self {
            LoadError::File { code, hint, .. } => Fault::yours(code, self.to_string()).hint(hint.clone()),
            LoadError::Invalid { diagnostics, .. } => {
                let more = diagnostics.len().saturating_sub(1);
                let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
                let message = if more == 0 { first } else { format!("{first} (and {more} more)") };
                Fault::yours("bad-service-file", message).hint("`afresh validate` shows every error with its place")
            }
        }
    }
}

/// Reads and decodes a service file; `.json` is read as JSON.
pub fn load(path: impl AsRef<Path>) -> Result<ServiceFile, LoadError> {
    let path = path.as_ref();
    let bytes = read(path)?;
    let name = path.display().to_string();
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(&error, name)),
    };
    crate::parse::parse(&text, &name).map_err(|diagnostics| LoadError::Invalid { name, text, diagnostics })
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let fail = |code, message: String, hint: &str| LoadError::File { path: path.to_path_buf(), code, message, hint: hint.to_string() };
    let io = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => {
            fail("no-file", "there is no such file".into(), "name one with -f FILE, or go to the directory that has afresh.hcl")
        }
        ErrorKind::IsADirectory => fail("not-a-file", "this is a directory".into(), "name the file in it, such as afresh.hcl"),
        ErrorKind::NotADirectory => fail("no-file", "a part of this path is no directory".into(), "check the path"),
        ErrorKind::PermissionDenied => fail("unreadable", "you may not read this file".into(), "check its owner and mode with ls -l"),
        _ => fail("unreadable", error.to_string(), "check the disk and the path"),
    };
    let about = std::fs::metadata(path).map_err(io)?;
    if about.is_dir() {
        return Err(io(ErrorKind::IsADirectory.into()));
    }
    // A named pipe would block forever, a device might never end.
    if !about.is_file() {
        return Err(fail("not-a-file", "this is no ordinary file".into(), "copy it to a file first"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", about.len().max(bytes.len() as u64));
        return Err(fail("too-large", message, "is it the right file? split it, one file for each group of services"));
    }
    Ok(bytes)
}

/// The place is that of the first bad byte; the text is shown with � there.
fn not_utf8(error: &std::string::FromUtf8Error, name: String) -> LoadError {
    let at = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    let text = String::from_utf8_lossy(bytes).into_owned();
    let hint = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16: save it as UTF-8",
        _ => "save the file as UTF-8",
    };
    let mut sink = crate::sink::Sink::new(&text, &name);
    let message = format!("byte 0x{:02x} is not UTF-8", bytes.get(at).copied().unwrap_or(0));
    sink.push(crate::sink::Draft::new("not-utf8", at..at + 3, message).label("expected text in UTF-8").hint(hint));
    let diagnostics = sink.finish::<()>(None).err().unwrap_or_default();
    LoadError::Invalid { name, text, diagnostics }
}
