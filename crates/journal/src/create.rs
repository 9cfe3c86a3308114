//! Creates the database: complete or not at all.

use crate::fault;
use crate::files::{self, backup_of, beside, io_fault};
use crate::schema::{APPLICATION, SCHEMA, declared};
use model::Fault;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Builds it under another name, syncs and renames it. Refused where a backup or a log says that there was one.
pub(crate) fn create(path: &Path) -> Result<(), Fault> {
    for rest in [backup_of(path), beside(path, "-wal")] {
        // An empty log says nothing: inspecting a damaged file may have left it.
        if std::fs::metadata(&rest).is_ok_and(|m| m.len() > 0) {
            return Err(fault::damaged(path, format_args!("it is gone, but {} exists", rest.display())));
        }
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|e| io_fault(parent, &e))?;
    let half = beside(path, ".new");
    let _ = std::fs::remove_file(&half);
    let failed = |e: rusqlite::Error| fault::sql(&half, &e);
    files::create_private(&half)?;
    let conn = Connection::open_with_flags(&half, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    conn.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
    conn.pragma_update(None, "user_version", SCHEMA).map_err(failed)?;
    let tables = declared(SCHEMA).unwrap_or_default();
    conn.execute_batch(&format!("BEGIN;{tables}COMMIT;")).map_err(failed)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    conn.close().map_err(|(_, e)| failed(e))?;
    files::sync(&half)?;
    files::replace(&half, path)
}
