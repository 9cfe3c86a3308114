//! What SQLite says, told as a fault: whose it is, where, and what to do.

use model::Fault;
use rusqlite::ErrorCode;
use std::path::Path;

pub const DAMAGED: &str = "database-damaged";

/// The database cannot be believed. Nothing was changed in it; the hint says what to do with it.
pub fn damaged(path: &Path, what: impl std::fmt::Display) -> Fault {
    let backup = super::backup::path_of(path);
    let hint = if backup.is_file() {
        "nothing was changed in it. Stop serve, run `afresh restore` to put the backup in its place, and start again; servers and routes run on \
         meanwhile. What was deployed after the backup was made has to be deployed again, or taken over: `afresh adopt`"
            .to_string()
    } else {
        format!(
            "nothing was changed in it and there is no backup {1}. Stop serve, move {0}, {0}-wal and {0}-shm aside, start again, and take over \
             what runs: `afresh adopt`; servers and routes run on meanwhile",
            path.display(),
            backup.display()
        )
    };
    Fault::world(DAMAGED, format!("{}: {what}", path.display())).hint(hint).again(false)
}

/// A row whose checksum or content is wrong.
pub fn rotten(path: &Path, table: &str, key: impl std::fmt::Display) -> Fault {
    damaged(path, format_args!("the row {key} of table {table} is not what was written"))
}

pub fn sql(path: &Path, error: &rusqlite::Error) -> Fault {
    let told = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Fault::world("disk-full", told).hint("make room on the disk of the data directory; nothing was lost"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::AuthorizationForStatementDenied) => {
            Fault::world("disk-read-only", told).hint("the data directory must be writable by the user that runs `afresh serve`")
        }
        Some(ErrorCode::SystemIoFailure) => {
            Fault::world("disk-error", told).hint("the disk of the data directory gives errors; see the kernel's log")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Fault::world("database-busy", told).hint("another process holds the database; only one `afresh serve` may use a data directory")
        }
        Some(ErrorCode::OutOfMemory) => Fault::world("out-of-memory", told),
        // A value that SQLite stores and we cannot read back did not come from us.
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
        _ => Fault::ours("database", told),
    }
}

pub fn disk(path: &Path, error: &std::io::Error) -> Fault {
    use std::io::ErrorKind;
    let told = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Fault::world("disk-full", told).hint("make room on the disk of the data directory")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Fault::world("disk-read-only", told).hint("the data directory must be writable by the user that runs `afresh serve`")
        }
        _ => Fault::world("disk-error", told),
    }
}
