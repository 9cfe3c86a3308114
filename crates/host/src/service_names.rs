//! What renamed services are called, as the control plane writes it: servers look them up by any of these names. Read again when the file
//! was replaced; a file that is gone or damaged changes nothing.

use crate::state_files::{self, Read};
use model::Names;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub struct ServiceNames {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Inode and time of the file that was read last.
    file: Option<(u64, i64, i64)>,
    names: Names,
}

impl ServiceNames {
    pub fn at(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    pub fn now(&self) -> Names {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let file = std::fs::metadata(&self.path).ok().map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec()));
        if file.is_some() && file != known.file {
            known.file = file;
            match state_files::read_json(&self.path) {
                Read::Good(names) => known.names = names,
                Read::Missing => {}
                Read::Bad(why) => tracing::warn!("names of renamed services stay as they were: {}: {why}", self.path.display()),
            }
        }
        known.names.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ServiceName;

    #[test]
    fn names_are_read_when_they_are_written_and_kept_when_they_are_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service-names.json");
        let (web, shop) = (ServiceName::new("web").unwrap(), ServiceName::new("shop").unwrap());
        let names = ServiceNames::at(path.clone());
        assert!(names.now().is_empty());
        let mut renamed = Names::default();
        renamed.rename(&web, &shop);
        state_files::write_json(&path, &renamed).unwrap();
        assert_eq!(names.now(), renamed);
        for path in [path.clone(), disk::state::spare(&path)] {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "{").unwrap();
        }
        assert_eq!(names.now(), renamed, "damaged");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(names.now(), renamed, "gone");
        renamed.rename(&web, &web);
        state_files::write_json(&path, &renamed).unwrap();
        assert_eq!(names.now(), renamed);
    }
}
