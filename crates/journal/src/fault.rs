//! Errors of SQLite and damage of the database as faults: whose they are, where, and what to do.

use crate::files::backup_of;
use model::Fault;
use rusqlite::ErrorCode;
use std::path::Path;

pub(crate) const DAMAGED: &str = "database-damaged";

/// The database is corrupt. Nothing was changed in it; the hint says how to recover.
pub(crate) fn damaged(path: &Path, what: impl std::fmt::Display) -> Fault {
    let backup = backup_of(path);
    let hint = if backup.is_file() {
        "nothing was changed in it. Stop serve, run `afresh restore` to put the backup in its place, and start it again; servers and routes \
         keep running meanwhile. Deploy again what was deployed after the backup was made, or take it over: `afresh adopt`"
            .to_string()
    } else {
        format!(
            "nothing was changed in it, and there is no backup {1}. Stop serve, move {0}, {0}-wal and {0}-shm aside, start it again, and \
             take over what runs: `afresh adopt`; servers and routes keep running meanwhile",
            path.display(),
            backup.display()
        )
    };
    Fault::world(DAMAGED, format!("{}: {what}", path.display())).hint(hint).again(false)
}

/// A row whose checksum or content is wrong.
pub(crate) fn corrupt_row(path: &Path, table: &str, key: impl std::fmt::Display) -> Fault {
    damaged(path, format_args!("row {key} of table {table} is corrupt"))
}

pub(crate) fn sql(path: &Path, error: &rusqlite::Error) -> Fault {
    let text = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Fault::world("disk-full", text).hint("free some space on the disk of the data directory; nothing was lost")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::AuthorizationForStatementDenied) => {
            Fault::world("disk-read-only", text).hint("the data directory must be writable by the user that runs `afresh serve`")
        }
        Some(ErrorCode::SystemIoFailure) => {
            Fault::world("disk-error", text).hint("the disk of the data directory returns errors; see the kernel's log")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Fault::world("database-busy", text).hint("another process holds the database; only one `afresh serve` may use a data directory")
        }
        Some(ErrorCode::OutOfMemory) => Fault::world("out-of-memory", text),
        // A value that SQLite holds and that does not read back was not written by us.
        None if matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)
        ) =>
        {
            damaged(path, error)
        }
        _ => Fault::ours("database", text),
    }
}
