//! A copy of the database beside it, made while it is in use, to restore when the original is damaged.

use crate::connection;
use crate::database::Database;
use crate::fault;
use crate::files::{self, backup_of, beside, io_fault};
use crate::inspect::inspect;
use crate::records::{Lists, Records};
use crate::restored::MARK;
use model::{Fault, RotationId};
use rusqlite::{Connection, OpenFlags};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

impl Database {
    /// Where [`Database::backup`] writes.
    pub fn backup_path(&self) -> PathBuf {
        backup_of(self.path())
    }

    /// Writes a complete copy and replaces the last one with it in a single step. Blocking; others may read and write meanwhile.
    pub fn backup(&self) -> Result<(), Fault> {
        let target = self.backup_path();
        let half = target.with_extension("backup-half");
        files::remove(&half)?;
        let made = self.copy_marked(&half).and_then(|()| files::replace(&half, &target));
        if made.is_err() {
            // If it cannot be removed, the next backup removes it.
            let _ = std::fs::remove_file(&half);
        }
        made
    }

    fn copy_marked(&self, half: &Path) -> Result<(), Fault> {
        connection::copy(self.path(), half)?;
        mark(half)
    }
}

fn mark(copy: &Path) -> Result<(), Fault> {
    let failed = |e: rusqlite::Error| fault::sql(copy, &e);
    let conn = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    conn.execute(MARK, []).map_err(failed)?;
    conn.close().map_err(|(_, e)| failed(e))?;
    files::sync(copy)
}

/// A copy of a database that may be in use, for a backup of the whole data directory: inspected, marked as [`Database::backup`] marks
/// its own. `meanwhile` runs while nobody can commit, so what it reads belongs to the copy; `browse` reads the copy.
pub fn snapshot<T, U>(
    database: &Path,
    to: &Path,
    meanwhile: impl FnOnce() -> Result<T, Fault>,
    browse: impl FnOnce(&Lists<'_>) -> Result<U, Fault>,
) -> Result<(T, U), Fault> {
    let made = (|| {
        let value = connection::copy_with(database, to, meanwhile)?;
        inspect(to)?;
        let conn = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| fault::sql(to, &e))?;
        let browsed = browse(&Lists(Records { conn: &conn, path: to }))?;
        drop(conn);
        mark(to)?;
        Ok((value, browsed))
    })();
    if made.is_err() {
        let _ = std::fs::remove_file(to);
    }
    made
}

/// Whether a file that nobody uses is an intact database that this version can open. Changes nothing. It is one file: SQLite would follow
/// a log beside it, and remove whatever file a rollback journal names.
pub fn check_copy(copy: &Path) -> Result<Vec<RotationId>, Fault> {
    if let Some(rest) = ["-journal", "-wal"].iter().find(|rest| beside(copy, rest).symlink_metadata().is_ok()) {
        return Err(fault::damaged(copy, format_args!("it is no copy: its {} lies beside it", &rest[1..])));
    }
    let checked = inspect(copy).and_then(|()| open_rotations(copy));
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(copy, rest));
    }
    checked
}

/// A backup that is intact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// When the copy was made.
    pub made: std::time::SystemTime,
    /// Rotations that were open then. They continue with the next start, whatever became of them since.
    pub open: Vec<RotationId>,
}

/// What [`restore`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub backup: Backup,
    /// Where the files of the replaced database are now.
    pub aside: Vec<PathBuf>,
}

/// Whether there is a backup that can be restored. Changes nothing.
pub fn check_backup(database: &Path) -> Result<Backup, Fault> {
    let (backup, half) = inspected_copy(database)?;
    std::fs::remove_file(&half).map_err(|e| io_fault(&half, &e))?;
    Ok(backup)
}

/// A copy of the backup that was inspected, and what is in it.
fn inspected_copy(database: &Path) -> Result<(Backup, PathBuf), Fault> {
    let backup = backup_of(database);
    let made = match std::fs::metadata(&backup).and_then(|m| m.modified()) {
        Ok(made) => made,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Fault::yours("no-backup", format!("there is no backup: {} does not exist", backup.display()))
                .hint("if the database is damaged too, move it aside, start serve and take over what runs: `afresh adopt`"));
        }
        Err(e) => return Err(io_fault(&backup, &e)),
    };
    let half = beside(database, ".restore");
    // Of one that was killed.
    for rest in ["", "-journal", "-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(&half, rest));
    }
    files::create_private(&half)?;
    std::fs::copy(&backup, &half).map_err(|e| io_fault(&half, &e))?;
    files::sync(&half)?;
    // Before anything is moved: a damaged backup is no help.
    match check_copy(&half) {
        Ok(open) => Ok((Backup { made, open }, half)),
        Err(fault) => {
            let _ = std::fs::remove_file(&half);
            Err(fault)
        }
    }
}

fn open_rotations(half: &Path) -> Result<Vec<RotationId>, Fault> {
    let conn = Connection::open_with_flags(half, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| fault::sql(half, &e))?;
    Ok(Records { conn: &conn, path: half }.open_rotations()?.into_iter().map(|row| row.id).collect())
}

/// Moves the database aside and puts the backup in its place. Nobody may have the database open.
pub fn restore(database: &Path) -> Result<Restored, Fault> {
    let (backup, half) = inspected_copy(database)?;
    let mut number = 1;
    let name = |n: u32, suffix: &str| beside(database, &format!(".aside-{n}{suffix}"));
    let parts = ["", "-wal", "-shm"];
    while parts.iter().any(|p| name(number, p).exists()) {
        number += 1;
    }
    let mut aside = Vec::new();
    for part in parts {
        let (from, to) = (beside(database, part), name(number, part));
        match std::fs::rename(&from, &to) {
            Ok(()) => aside.push(to),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io_fault(&from, &e)),
        }
    }
    files::replace(&half, database)?;
    Ok(Restored { backup, aside })
}
