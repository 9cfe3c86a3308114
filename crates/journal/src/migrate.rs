//! Migrates an older database to the schema of this version, in one transaction. A copy of the database before the migration is kept
//! beside it (`DATABASE.schema-N`), for a return to the version before.

use crate::connection;
use crate::fault;
use crate::files::{self, beside};
use crate::records::{Records, Tx};
use crate::schema::{SCHEMA, TO_2, TO_3, TO_4, TO_5};
use model::Fault;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// A kill at any point leaves the older database or the migrated one.
pub(crate) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), Fault> {
    let failed = |e: rusqlite::Error| fault::sql(path, &e);
    let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(failed)?;
    if version == SCHEMA {
        return Ok(());
    }
    keep_copy(path, version)?;
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    if version < 2 {
        transaction.execute_batch(TO_2).map_err(failed)?;
    }
    if version < 3 {
        transaction.execute_batch(TO_3).map_err(failed)?;
        transaction.execute("DELETE FROM summaries", []).map_err(failed)?;
        let tx = Tx(Records { conn: &transaction, path });
        for service in tx.every_service_name()? {
            // A journal that cannot be read concerns its own service alone, and is reported whenever that service is read.
            let _ = tx.rebuild_summary(&service);
        }
    }
    if version < 4 {
        transaction.execute_batch(TO_4).map_err(failed)?;
    }
    if version < 5 {
        transaction.execute_batch(TO_5).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn keep_copy(path: &Path, version: i64) -> Result<(), Fault> {
    let kept = beside(path, &format!(".schema-{version}"));
    let half = beside(&kept, ".half");
    let _ = std::fs::remove_file(&half);
    connection::copy(path, &half)?;
    files::sync(&half)?;
    files::replace(&half, &kept)
}
