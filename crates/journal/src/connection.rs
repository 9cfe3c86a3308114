//! Connections to the database, and copies that SQLite makes of it.

use crate::fault;
use crate::files;
use model::Fault;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const BUSY: Duration = Duration::from_secs(5);
/// A copy waits for a writer that is slow.
const COPY_BUSY: Duration = Duration::from_secs(10);

pub(crate) fn connect(path: &Path) -> Result<Connection, Fault> {
    let failed = |e: rusqlite::Error| fault::sql(path, &e);
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    conn.busy_timeout(BUSY).map_err(failed)?;
    conn.pragma_update(None, "cell_size_check", true).map_err(failed)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    conn.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

pub(crate) fn connect_read_only(path: &Path) -> Result<Connection, Fault> {
    let conn = connect(path)?;
    conn.pragma_update(None, "query_only", true).map_err(|e| fault::sql(path, &e))?;
    Ok(conn)
}

/// A panic in a closure rolled its transaction back; the connection itself is intact.
pub(crate) fn lock(conn: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    conn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SQLite's own waiting tries ten times a second, and never gets its turn beside a writer that pauses for less.
fn wait_among_writers(tries: i32) -> bool {
    const EVERY: Duration = Duration::from_micros(200);
    std::thread::sleep(EVERY);
    EVERY.saturating_mul(tries.unsigned_abs()) < COPY_BUSY
}

/// Runs `meanwhile` while nobody can commit, then copies the database as it was then to a new file; others write on during the copy.
/// Not synced yet. What `meanwhile` reads elsewhere belongs to the copy: nothing is changed in the world before its line is committed.
pub(crate) fn copy_with<T>(database: &Path, to: &Path, meanwhile: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let failed = |e: rusqlite::Error| fault::sql(database, &e);
    let source = connect_read_only(database)?;
    let value = {
        let mut holder = connect(database)?;
        holder.busy_handler(Some(wait_among_writers)).map_err(failed)?;
        let _held = holder.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        // A transaction that reads begins with its first read.
        source.execute_batch("BEGIN; SELECT count(*) FROM meta").map_err(failed)?;
        meanwhile()?
    };
    files::create_private(to)?;
    let failed = |e: rusqlite::Error| fault::sql(to, &e);
    let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    rusqlite::backup::Backup::new(&source, &mut copy).and_then(|backup| backup.step(-1)).map_err(failed)?;
    // The log of the original is in the copy; it is one file.
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
    copy.close().map_err(|(_, e)| failed(e))?;
    Ok(value)
}

/// Writes a complete copy to a new file, on a connection of its own: a long copy holds up neither readers nor writers. Not synced yet.
pub(crate) fn copy(database: &Path, to: &Path) -> Result<(), Fault> {
    let source = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| fault::sql(database, &e))?;
    source.busy_timeout(COPY_BUSY).map_err(|e| fault::sql(to, &e))?;
    files::create_private(to)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map(drop).map_err(|e| fault::sql(to, &e))
}
