//! Connections to the database, and copies that SQLite makes of it.

use crate::fault;
use crate::files;
use model::Fault;
use rusqlite::{Connection, OpenFlags};
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

/// Writes a complete copy to a new file, on a connection of its own: a long copy holds up neither readers nor writers. Not synced yet.
pub(crate) fn copy(database: &Path, to: &Path) -> Result<(), Fault> {
    let source = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| fault::sql(database, &e))?;
    source.busy_timeout(COPY_BUSY).map_err(|e| fault::sql(to, &e))?;
    files::create_private(to)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map(drop).map_err(|e| fault::sql(to, &e))
}
