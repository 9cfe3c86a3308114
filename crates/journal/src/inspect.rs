//! Checks a file before it is used as the database: header, version, tables, integrity. It never changes the file.

use crate::connection::connect;
use crate::fault;
use crate::files::io_fault;
use crate::schema::{APPLICATION, SCHEMA, declared, tables};
use model::Fault;
use rusqlite::Connection;
use std::io::Read;
use std::path::Path;

/// Up to this size the indexes are compared with their tables too; beyond, that would hold up a restart.
const FULL_CHECK_BYTES: u64 = 32 << 20;

/// Whether a file is an intact database of a known version.
pub(crate) fn inspect(path: &Path) -> Result<(), Fault> {
    inspect_header(path)?;
    inspect_content(path)
}

/// The first bytes, read without SQLite: it takes an empty file for a new database, and we never leave an empty file.
pub(crate) fn inspect_header(path: &Path) -> Result<(), Fault> {
    let mut header = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| io_fault(path, &e))?;
    let len = file.metadata().map_err(|e| io_fault(path, &e))?.len();
    file.take(100).read_to_end(&mut header).map_err(|e| io_fault(path, &e))?;
    if header.len() < 100 {
        return Err(fault::damaged(path, format_args!("it was cut off after {len} bytes")));
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(fault::damaged(path, "it is not an SQLite database"));
    }
    // Of another value here SQLite says that it may not write, or that it failed, not that the file is damaged.
    let (versions, schema_format) = (&header[18..20], u32::from_be_bytes([header[44], header[45], header[46], header[47]]));
    if versions.iter().any(|version| !(1..=2).contains(version)) || !(1..=4).contains(&schema_format) {
        return Err(fault::damaged(path, "its header has format numbers that SQLite never writes"));
    }
    if header[68..72] != (APPLICATION as u32).to_be_bytes() {
        return Err(fault::damaged(path, "it is not a database of afresh"));
    }
    Ok(())
}

/// Version, tables and integrity, on a connection that cannot write into the database. (It may read the write-ahead log that a killed
/// process leaves.)
pub(crate) fn inspect_content(path: &Path) -> Result<(), Fault> {
    let failed = |e: rusqlite::Error| fault::sql(path, &e);
    let conn = connect(path)?;
    conn.pragma_update(None, "query_only", true).map_err(failed)?;
    // Without this, the last connection to close would fold the log into the file.
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(failed)?;
    if version > SCHEMA {
        return Err(Fault::yours(
            "database-newer",
            format!("{}: it has schema {version}; this afresh knows schemas up to {SCHEMA}. Nothing was changed in it", path.display()),
        )
        .hint("start the newer afresh that wrote it, or restore a backup from before the upgrade"));
    }
    let Some(declared) = declared(version) else {
        return Err(fault::damaged(path, format_args!("it has schema {version}, which does not exist")));
    };
    let blank = Connection::open_in_memory().map_err(failed)?;
    blank.execute_batch(&declared).map_err(failed)?;
    if tables(&conn).map_err(failed)? != tables(&blank).map_err(failed)? {
        return Err(fault::damaged(path, format_args!("its tables are not those of schema {version}")));
    }
    let len = std::fs::metadata(path).map_err(|e| io_fault(path, &e))?.len();
    let check = if len <= FULL_CHECK_BYTES { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
    let found: String = conn.query_row(check, [], |r| r.get(0)).map_err(failed)?;
    if found == "ok" { Ok(()) } else { Err(fault::damaged(path, found)) }
}
