//! Reading and writing within one transaction. [`Records`] reads; [`Tx`] also writes and is the only way to.

use crate::fault;
use model::Fault;
use rusqlite::{Connection, Row, ToSql};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Deref;
use std::path::Path;

/// A consistent view of the whole database.
pub struct Records<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) path: &'c Path,
}

/// A consistent view for what goes through whole tables. Only [`crate::Database::browse`] gives it, so that nothing of that kind can be done
/// through the reader that drivers wait for.
pub struct Lists<'c>(pub(crate) Records<'c>);

impl<'c> Deref for Lists<'c> {
    type Target = Records<'c>;
    fn deref(&self) -> &Records<'c> {
        &self.0
    }
}

/// A transaction that writes; it is committed when the closure that got it returns Ok.
pub struct Tx<'c>(pub(crate) Records<'c>);

impl<'c> Deref for Tx<'c> {
    type Target = Records<'c>;
    fn deref(&self) -> &Records<'c> {
        &self.0
    }
}

impl Records<'_> {
    pub(crate) fn rows<T>(&self, sql: &str, args: &[&dyn ToSql], read: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>, Fault> {
        let mut statement = self.conn.prepare_cached(sql).map_err(|e| self.fault(&e))?;
        let rows = statement.query_map(args, |row| read(row)).map_err(|e| self.fault(&e))?;
        rows.collect::<rusqlite::Result<Vec<T>>>().map_err(|e| self.fault(&e))
    }

    pub(crate) fn row<T>(
        &self,
        sql: &str,
        args: &[&dyn ToSql],
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        Ok(self.rows(sql, args, read)?.into_iter().next())
    }

    fn fault(&self, error: &rusqlite::Error) -> Fault {
        fault::sql(self.path, error)
    }

    /// A row whose checksum does not match its content is corrupt.
    pub(crate) fn verify(&self, table: &str, key: &dyn std::fmt::Display, sum: i64, parts: &[&dyn std::fmt::Display]) -> Result<(), Fault> {
        if crate::digest::sum(parts) == sum { Ok(()) } else { Err(fault::corrupt_row(self.path, table, key)) }
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, table: &str, key: &dyn std::fmt::Display, body: &str) -> Result<T, Fault> {
        serde_json::from_str(body).map_err(|e| {
            if let Some(kind) = unknown_event(body) {
                let text = format!("{}: {table} {key} is an event `{kind}`, which this afresh does not know", self.path.display());
                return Fault::yours("unknown-event", text)
                    .hint("a newer afresh wrote it: start that one. Nothing was dropped, and the rotation waits until then");
            }
            Fault::ours("unreadable-record", format!("{}: row {key} of table {table} does not decode: {e}", self.path.display()))
                .hint("it was written by another version of afresh")
        })
    }

    /// Names were validated before they were written; one that is invalid now is corrupt.
    pub(crate) fn name<T: TryFrom<String>>(&self, table: &str, text: String) -> Result<T, Fault> {
        let shown = text.clone();
        T::try_from(text).map_err(|_| fault::corrupt_row(self.path, table, shown))
    }
}

impl Tx<'_> {
    /// Returns the number of rows it changed.
    pub(crate) fn run(&self, sql: &str, args: &[&dyn ToSql]) -> Result<usize, Fault> {
        let mut statement = self.conn.prepare_cached(sql).map_err(|e| self.fault(&e))?;
        statement.execute(args).map_err(|e| self.fault(&e))
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|e| Fault::ours("unwritable-record", e.to_string()))
}

/// The kind of a complete event that this version does not know.
fn unknown_event(body: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Tagged {
        event: String,
    }
    let kind = serde_json::from_str::<Tagged>(body).ok()?.event;
    let probe = serde_json::json!({ "event": kind.as_str() });
    let error = serde_json::from_value::<model::Event>(probe).err()?.to_string();
    error.starts_with("unknown variant").then_some(kind)
}

/// What SQLite can hold.
pub(crate) const FENCE_MAX: u64 = i64::MAX as u64;

/// SQLite's integers have 63 bits without the sign. Larger numbers and times are clamped.
pub(crate) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn nat(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
