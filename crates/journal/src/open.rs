//! Opening the database: made whole or not at all, looked over before it is believed, refused when it is newer than this program.
//!
//! ```text
//! no file ─▶ built under another name, synced, renamed ─▶ opened
//! a file ─▶ header ▸ log ▸ version ▸ integrity ▸ (older: migrate) ─▶ opened        any doubt ─▶ a fault, and not a byte changed
//! ```

use crate::backup;
use crate::fault;
use crate::migrate::{SCHEMA, declared};
use crate::records::{Lists, Records, Tx};
use model::Fault;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// `afsh`: so that another program's database is never taken for ours.
const APPLICATION: i64 = 0x6166_7368;
const BUSY: Duration = Duration::from_secs(5);
/// Up to this size the indexes are compared with their tables too; beyond, that would hold up a restart.
const WHOLE_CHECK_BYTES: u64 = 32 << 20;

type Hook = Box<dyn Fn() + Send + Sync>;

/// One writer and one reader on one file; cheap to share behind an `Arc`.
pub struct Database {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// For lists, which may be long: drivers do not wait for them.
    browser: Mutex<Connection>,
    hooks: RwLock<Vec<Hook>>,
}

impl Database {
    /// Makes the database if there is none and no sign that there was one.
    pub fn open(path: &Path) -> Result<Database, Fault> {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_file() => look_at_header(path, meta.len())?,
            Ok(_) => return Err(fault::damaged(path, "it is not a file")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => create(path)?,
            Err(e) => return Err(fault::disk(path, &e)),
        }
        crate::wal::look_over(path)?;
        look_inside(path)?;
        let mut writer = connect(path)?;
        // A backup that was put in place keeps no log yet.
        writer.pragma_update(None, "journal_mode", "WAL").map_err(|e| fault::sql(path, &e))?;
        crate::migrate::migrate(&mut writer, path)?;
        let (reader, browser) = (read_only(path)?, read_only(path)?);
        let store = Database {
            path: path.to_path_buf(),
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            browser: Mutex::new(browser),
            hooks: RwLock::new(Vec::new()),
        };
        store.quietly(backup::jump_if_restored)?;
        Ok(store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Called after every commit that changed a record, by the thread that made it; must be quick and must not call the store.
    pub fn on_change(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.hooks.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    /// One transaction that reads and writes; committed and durable if `f` says Ok, without a trace if not.
    pub fn write<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let value = self.quietly(f)?;
        for hook in self.hooks.read().unwrap_or_else(PoisonError::into_inner).iter() {
            hook();
        }
        Ok(value)
    }

    /// As [`Database::write`] for what no follower waits for, leases above all.
    pub(crate) fn quietly<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.transact(f, true)
    }

    /// Does everything `f` does and leaves nothing of it.
    pub fn pretend<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.transact(f, false)
    }

    fn transact<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, Fault>, keep: bool) -> Result<T, Fault> {
        let told = |e: rusqlite::Error| fault::sql(&self.path, &e);
        let mut conn = lock(&self.writer);
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told)?;
        let value = f(&Tx(Records { conn: &transaction, path: &self.path }))?;
        if keep {
            transaction.commit().map_err(told)?;
        }
        Ok(value)
    }

    /// Copies the write-ahead log into the database and empties it, as far as no reader holds it up: what is in the database is covered
    /// by the integrity check of the next start, and by backups.
    pub fn checkpoint(&self) -> Result<(), Fault> {
        let told = |e: rusqlite::Error| fault::sql(&self.path, &e);
        if std::fs::metadata(crate::wal::beside(&self.path, "-wal")).is_ok_and(|m| m.len() == 0) {
            return Ok(());
        }
        // A connection of its own that waits for nobody: neither drivers nor lists are held up.
        let conn = connect(&self.path)?;
        conn.busy_timeout(Duration::ZERO).map_err(told)?;
        match conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            Err(e) if matches!(e.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)) => {
                Ok(())
            }
            done => done.map_err(told),
        }
    }

    /// A consistent view; writers go on meanwhile.
    pub fn read<T>(&self, f: impl FnOnce(&Records<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.read_by(&self.reader, |records| f(&records))
    }

    /// As [`Database::read`] for what takes long, on a connection of its own.
    pub fn browse<T>(&self, f: impl FnOnce(&Lists<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.read_by(&self.browser, |records| f(&Lists(records)))
    }

    fn read_by<T>(&self, conn: &Mutex<Connection>, f: impl FnOnce(Records<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut conn = lock(conn);
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Deferred).map_err(|e| fault::sql(&self.path, &e))?;
        f(Records { conn: &transaction, path: &self.path })
    }
}

/// A panic in a closure rolled its transaction back; the connection itself is whole.
fn lock(conn: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    conn.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path) -> Result<Connection, Fault> {
    let told = |e: rusqlite::Error| fault::sql(path, &e);
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(told)?;
    conn.busy_timeout(BUSY).map_err(told)?;
    conn.pragma_update(None, "cell_size_check", true).map_err(told)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(told)?;
    conn.pragma_update(None, "foreign_keys", true).map_err(told)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Whether a file is a whole database of a version that is known. It is not changed.
pub(crate) fn look_over(path: &Path) -> Result<(), Fault> {
    let len = std::fs::metadata(path).map_err(|e| fault::disk(path, &e))?.len();
    look_at_header(path, len)?;
    look_inside(path)
}

fn read_only(path: &Path) -> Result<Connection, Fault> {
    let conn = connect(path)?;
    conn.pragma_update(None, "query_only", true).map_err(|e| fault::sql(path, &e))?;
    Ok(conn)
}

/// The first bytes, read without SQLite: it takes an empty file for a new database, and we know that we never leave one.
fn look_at_header(path: &Path, len: u64) -> Result<(), Fault> {
    let mut header = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| fault::disk(path, &e))?;
    file.take(100).read_to_end(&mut header).map_err(|e| fault::disk(path, &e))?;
    if header.len() < 100 {
        return Err(fault::damaged(path, format_args!("it was cut off after {len} bytes")));
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(fault::damaged(path, "it is no SQLite database"));
    }
    if header[68..72] != (APPLICATION as u32).to_be_bytes() {
        return Err(fault::damaged(path, "it is not a database of afresh"));
    }
    Ok(())
}

/// Integrity and version, on a connection that cannot write into the database. (It may read its write-ahead log, which a killed process leaves.)
fn look_inside(path: &Path) -> Result<(), Fault> {
    let told = |e: rusqlite::Error| fault::sql(path, &e);
    let conn = connect(path)?;
    conn.pragma_update(None, "query_only", true).map_err(told)?;
    // Without this, the last connection to close would fold the log into the file.
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(told)?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(told)?;
    if version > SCHEMA {
        return Err(Fault::yours(
            "database-newer",
            format!("{}: it has schema {version}; this afresh knows up to {SCHEMA}. Nothing was changed in it", path.display()),
        )
        .hint("start the newer afresh that wrote it, or go back to a backup from before the upgrade"));
    }
    let Some(declared) = declared(version) else {
        return Err(fault::damaged(path, format_args!("its schema number is {version}, which never was")));
    };
    let blank = Connection::open_in_memory().map_err(told)?;
    blank.execute_batch(declared).map_err(told)?;
    if shape(&conn).map_err(told)? != shape(&blank).map_err(told)? {
        return Err(fault::damaged(path, "its tables are not the ones that were made"));
    }
    let len = std::fs::metadata(path).map_err(|e| fault::disk(path, &e))?.len();
    let check = if len <= WHOLE_CHECK_BYTES { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
    let found: String = conn.query_row(check, [], |r| r.get(0)).map_err(told)?;
    if found == "ok" { Ok(()) } else { Err(fault::damaged(path, found)) }
}

/// The tables as they were declared: one flipped letter in a column's name would otherwise look like a fault of ours.
fn shape(conn: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    rows.collect()
}

fn create(path: &Path) -> Result<(), Fault> {
    let backup = backup::path_of(path);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    for rest in [backup.as_path(), Path::new(&log)] {
        // An empty log says nothing: looking at a damaged file may have left it.
        if std::fs::metadata(rest).is_ok_and(|m| m.len() > 0) {
            return Err(fault::damaged(path, format_args!("it is gone, but {} is there", rest.display())));
        }
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|e| fault::disk(parent, &e))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let half = PathBuf::from(name);
    let _ = std::fs::remove_file(&half);
    let told = |e: rusqlite::Error| fault::sql(&half, &e);
    create_private(&half)?;
    let conn = Connection::open_with_flags(&half, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(told)?;
    conn.pragma_update(None, "application_id", APPLICATION).map_err(told)?;
    conn.pragma_update(None, "user_version", SCHEMA).map_err(told)?;
    let tables = declared(SCHEMA).unwrap_or_default();
    conn.execute_batch(&format!("BEGIN;{tables}COMMIT;")).map_err(told)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(told)?;
    conn.close().map_err(|(_, e)| told(e))?;
    std::fs::File::open(&half).and_then(|f| f.sync_all()).map_err(|e| fault::disk(&half, &e))?;
    std::fs::rename(&half, path).map_err(|e| fault::disk(path, &e))?;
    sync_parent(path)
}

/// An empty file that only its owner may read: journals hold what services are started with.
pub(crate) fn create_private(path: &Path) -> Result<(), Fault> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop).map_err(|e| fault::disk(path, &e))
}

pub(crate) fn sync_parent(path: &Path) -> Result<(), Fault> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(parent).and_then(|d| d.sync_all()).map_err(|e| fault::disk(parent, &e))
}
