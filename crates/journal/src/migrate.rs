//! From each shape the tables ever had to the next, in one transaction. A copy of the database as it was is kept beside it, for whoever
//! goes back to the version before.
//!
//! | schema | what it added |
//! | --- | --- |
//! | 1 | services, history, releases, rollouts, rotations, events, asks, leases |
//! | 2 | summaries: what closed journals come to, and which desired state is in force |
//! | 3 | asks are named commands; summaries have the names that came with it |

use crate::fault;
use crate::records::{Records, Tx};
use model::Fault;
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};

/// Counts the shapes the tables have had.
pub(crate) const SCHEMA: i64 = 3;

/// The tables of a schema as they were declared; None: there is no such schema.
pub(crate) fn declared(schema: i64) -> Option<&'static str> {
    match schema {
        1 => Some(include_str!("schema.sql")),
        2 => Some(concat!(include_str!("schema.sql"), include_str!("schema_2.sql"))),
        3 => Some(concat!(include_str!("schema.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql"))),
        _ => None,
    }
}

fn copy_of(path: &Path, schema: i64) -> PathBuf {
    crate::wal::beside(path, &format!(".schema-{schema}"))
}

/// Brings an older database to this version's shape. Dying anywhere in it leaves the one or the other.
pub(crate) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), Fault> {
    let told = |e: rusqlite::Error| fault::sql(path, &e);
    let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(told)?;
    if version == SCHEMA {
        return Ok(());
    }
    crate::backup::copy_as_it_is(path, &copy_of(path, version))?;
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told)?;
    if version < 2 {
        transaction.execute_batch(include_str!("schema_2.sql")).map_err(told)?;
    }
    if version < 3 {
        transaction.execute_batch(include_str!("schema_3.sql")).map_err(told)?;
        transaction.execute("DELETE FROM summaries", []).map_err(told)?;
        let tx = Tx(Records { conn: &transaction, path });
        for service in tx.every_service_name()? {
            // A journal that cannot be read is its own service's trouble, told whenever that service is looked at.
            let _ = tx.summarise_anew(&service);
        }
    }
    transaction.pragma_update(None, "user_version", SCHEMA).map_err(told)?;
    transaction.commit().map_err(told)
}
