//! The database: opened after it was inspected, read and written in transactions.
//!
//! ```text
//! no file ─▶ built under another name, synced, renamed ─▶ opened
//! a file ─▶ header ▸ log ▸ version ▸ integrity ▸ (older: migrate) ─▶ opened        any damage ─▶ a fault, and no byte changed
//! ```

use crate::connection::{connect, connect_read_only, lock};
use crate::fault;
use crate::files::{beside, io_fault};
use crate::inspect::{inspect_content, inspect_header};
use crate::records::{Lists, Records, Tx};
use crate::{create, migrate, restored, wal};
use model::Fault;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

type Hook = Box<dyn Fn() + Send + Sync>;

/// One writer and two readers on one file; cheap to share behind an `Arc`.
pub struct Database {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// For lists, which may be long: drivers do not wait for them.
    browser: Mutex<Connection>,
    hooks: RwLock<Vec<Hook>>,
}

impl Database {
    /// Creates the database if there is none and no sign that there was one.
    pub fn open(path: &Path) -> Result<Database, Fault> {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_file() => inspect_header(path)?,
            Ok(_) => return Err(fault::damaged(path, "it is not a file")),
            Err(e) if e.kind() == ErrorKind::NotFound => create::create(path)?,
            Err(e) => return Err(io_fault(path, &e)),
        }
        wal::inspect(path)?;
        inspect_content(path)?;
        let mut writer = connect(path)?;
        // A backup that was put in place keeps no log yet.
        writer.pragma_update(None, "journal_mode", "WAL").map_err(|e| fault::sql(path, &e))?;
        migrate::migrate(&mut writer, path)?;
        let (reader, browser) = (connect_read_only(path)?, connect_read_only(path)?);
        let database = Database {
            path: path.to_path_buf(),
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            browser: Mutex::new(browser),
            hooks: RwLock::new(Vec::new()),
        };
        database.quietly(restored::jump_ahead_if_restored)?;
        Ok(database)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Called after every commit that changed a record, by the thread that made it; must be quick and must not call the database.
    pub fn on_change(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.hooks.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    /// One transaction that reads and writes; committed and durable if `f` returns Ok, rolled back without a trace if not.
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

    /// Does everything that `f` does and rolls it back.
    pub fn pretend<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.transact(f, false)
    }

    fn transact<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, Fault>, keep: bool) -> Result<T, Fault> {
        let failed = |e: rusqlite::Error| fault::sql(&self.path, &e);
        let mut conn = lock(&self.writer);
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let value = f(&Tx(Records { conn: &transaction, path: &self.path }))?;
        if keep {
            transaction.commit().map_err(failed)?;
        }
        Ok(value)
    }

    /// Copies the write-ahead log into the database and empties it, as far as no reader holds it up: what is in the database is covered
    /// by the integrity check of the next start, and by backups.
    pub fn checkpoint(&self) -> Result<(), Fault> {
        let failed = |e: rusqlite::Error| fault::sql(&self.path, &e);
        if std::fs::metadata(beside(&self.path, "-wal")).is_ok_and(|m| m.len() == 0) {
            return Ok(());
        }
        // A connection of its own that waits for nobody: neither drivers nor lists are held up.
        let conn = connect(&self.path)?;
        conn.busy_timeout(Duration::ZERO).map_err(failed)?;
        match conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            Err(e) if matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => Ok(()),
            done => done.map_err(failed),
        }
    }

    /// A consistent view; writers continue meanwhile.
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
