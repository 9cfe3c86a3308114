//! A copy of the database beside it, made while it is in use, to go back to when the disk has eaten the original.
//!
//! An older copy knows smaller fences and rotation numbers than the world has seen. The copy is therefore marked, and whoever opens
//! a marked file as the database jumps far ahead with both, so that no stamp is stale and no group name is used twice.

use crate::fault;
use crate::open::Database;
use crate::records::{Records, Tx};
use model::{Fault, RotationId};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FENCES_AHEAD: u64 = 1_000_000;
const ROTATIONS_AHEAD: u64 = 1_000;

pub(crate) fn path_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".backup");
    PathBuf::from(name)
}

impl Database {
    /// Where [`Database::backup`] writes.
    pub fn backup_path(&self) -> PathBuf {
        path_of(self.path())
    }

    /// Writes a whole copy and puts it in place of the last one in a single step. Blocking; others may read and write meanwhile.
    pub fn backup(&self) -> Result<(), Fault> {
        let target = self.backup_path();
        let half = target.with_extension("backup-half");
        match std::fs::remove_file(&half) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(fault::disk(&half, &e)),
        }
        let made = self.copy_to(&half).and_then(|()| {
            std::fs::rename(&half, &target).map_err(|e| fault::disk(&target, &e))?;
            crate::open::sync_parent(&target)
        });
        if made.is_err() {
            // What is half made is of no use; if it cannot be removed, the next backup does it.
            let _ = std::fs::remove_file(&half);
        }
        made
    }

    fn copy_to(&self, half: &Path) -> Result<(), Fault> {
        let told = |e: rusqlite::Error| fault::sql(half, &e);
        // A connection of its own: a long copy must not hold up readers.
        let source =
            Connection::open_with_flags(self.path(), OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| fault::sql(self.path(), &e))?;
        source.busy_timeout(Duration::from_secs(10)).map_err(told)?;
        crate::open::create_private(half)?;
        source.execute("VACUUM INTO ?1", [half.to_string_lossy()]).map_err(told)?;
        let copy = Connection::open_with_flags(half, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(told)?;
        copy.pragma_update(None, "synchronous", "FULL").map_err(told)?;
        copy.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('backup', 1)", []).map_err(told)?;
        copy.close().map_err(|(_, e)| told(e))?;
        std::fs::File::open(half).and_then(|f| f.sync_all()).map_err(|e| fault::disk(half, &e))
    }
}

/// A backup that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// When the copy was made.
    pub made: std::time::SystemTime,
    /// Rotations that were open then. They go on with the next start, whatever became of them since.
    pub open: Vec<RotationId>,
}

/// What [`restore`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub backup: Backup,
    /// Where what was there before lies now.
    pub aside: Vec<PathBuf>,
}

/// Whether there is a backup that could be restored. Nothing is changed.
pub fn check_backup(database: &Path) -> Result<Backup, Fault> {
    let (backup, half) = checked_copy(database)?;
    std::fs::remove_file(&half).map_err(|e| fault::disk(&half, &e))?;
    Ok(backup)
}

/// A copy of the backup that was looked over, and what is in it.
fn checked_copy(database: &Path) -> Result<(Backup, PathBuf), Fault> {
    let backup = path_of(database);
    let made = match std::fs::metadata(&backup).and_then(|m| m.modified()) {
        Ok(made) => made,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fault::yours("no-backup", format!("there is no backup: {} is not there", backup.display()))
                .hint("if the database is damaged too, move it aside, start serve and take over what runs: `afresh adopt`"));
        }
        Err(e) => return Err(fault::disk(&backup, &e)),
    };
    let half = crate::wal::beside(database, ".restore");
    let _ = std::fs::remove_file(&half);
    crate::open::create_private(&half)?;
    std::fs::copy(&backup, &half).map_err(|e| fault::disk(&half, &e))?;
    std::fs::File::open(&half).and_then(|f| f.sync_all()).map_err(|e| fault::disk(&half, &e))?;
    // Before anything is moved: a damaged backup is no help.
    let looked = crate::open::look_over(&half).and_then(|()| open_in(&half));
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(crate::wal::beside(&half, rest));
    }
    match looked {
        Ok(open) => Ok((Backup { made, open }, half)),
        Err(fault) => {
            let _ = std::fs::remove_file(&half);
            Err(fault)
        }
    }
}

fn open_in(half: &Path) -> Result<Vec<RotationId>, Fault> {
    let conn = Connection::open_with_flags(half, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| fault::sql(half, &e))?;
    Ok(Records { conn: &conn, path: half }.open_rotations()?.into_iter().map(|row| row.id).collect())
}

/// Puts the backup in the database's place and what was there aside. Nobody may have the database open.
pub fn restore(database: &Path) -> Result<Restored, Fault> {
    let (backup, half) = checked_copy(database)?;
    let mut number = 1;
    let name = |n: u32, suffix: &str| crate::wal::beside(database, &format!(".aside-{n}{suffix}"));
    let parts = ["", "-wal", "-shm"];
    while parts.iter().any(|p| name(number, p).exists()) {
        number += 1;
    }
    let mut aside = Vec::new();
    for part in parts {
        let (from, to) = (crate::wal::beside(database, part), name(number, part));
        match std::fs::rename(&from, &to) {
            Ok(()) => aside.push(to),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(fault::disk(&from, &e)),
        }
    }
    std::fs::rename(&half, database).map_err(|e| fault::disk(database, &e))?;
    crate::open::sync_parent(database)?;
    Ok(Restored { backup, aside })
}

/// A whole copy under another name, not marked: to go back to the version before.
pub(crate) fn copy_as_it_is(database: &Path, to: &Path) -> Result<(), Fault> {
    let told = |e: rusqlite::Error| fault::sql(to, &e);
    let half = crate::wal::beside(to, ".half");
    let _ = std::fs::remove_file(&half);
    let source = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| fault::sql(database, &e))?;
    crate::open::create_private(&half)?;
    source.execute("VACUUM INTO ?1", [half.to_string_lossy()]).map_err(told)?;
    std::fs::File::open(&half).and_then(|f| f.sync_all()).map_err(|e| fault::disk(&half, &e))?;
    std::fs::rename(&half, to).map_err(|e| fault::disk(to, &e))?;
    crate::open::sync_parent(to)
}

/// The database is a backup that somebody put in its place: jump ahead, once.
pub(crate) fn jump_if_restored(tx: &Tx<'_>) -> Result<bool, Fault> {
    if tx.run("DELETE FROM meta WHERE key = 'backup'", &[])? == 0 {
        return Ok(false);
    }
    for name in &tx.every_service_name()? {
        if let Some(mut head) = tx.head(name)? {
            head.rotation_last += ROTATIONS_AHEAD;
            tx.put_head(name, &head)?;
        }
        if let Some(mut lease) = tx.lease(name)? {
            lease.fence.0 += FENCES_AHEAD;
            tx.put_lease(&lease)?;
        }
    }
    Ok(true)
}
