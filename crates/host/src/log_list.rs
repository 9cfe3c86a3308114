//! Which servers have a log in the data directory, running and gone.

use crate::log_file;
use crate::state_files;
use model::{Layout, Time};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The instance's, as the file is named.
    pub id: String,
    pub bytes: u64,
    pub written: Time,
}

/// The least recently written first.
pub fn logs(layout: &Layout) -> Vec<Listed> {
    let folder = layout.host().join("logs");
    let all = state_files::names(&folder).into_iter().filter_map(|name| {
        let id = name.strip_suffix(".log")?;
        let log = folder.join(&name);
        let written = state_files::time_of(&std::fs::metadata(&log).ok()?);
        let bytes = log_file::files(&log).iter().filter_map(|file| std::fs::metadata(file).ok()).map(|meta| meta.len()).sum();
        Some(Listed { id: id.to_string(), bytes, written })
    });
    let mut all: Vec<Listed> = all.collect();
    all.sort_by(|a, b| (a.written, &a.id).cmp(&(b.written, &b.id)));
    all
}
