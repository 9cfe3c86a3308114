//! The tables of each schema that a released version had.
//!
//! | schema | what it added |
//! | --- | --- |
//! | 1 | services, history, releases, rollouts, rotations, events, asks, leases |
//! | 2 | summaries: what closed journals come to, and which desired state is in force |
//! | 3 | asks are named commands; summaries have the names that came with it |
//! | 4 | runs, jobs, and which migrations have succeeded |
//! | 5 | names of renamed services |

use rusqlite::Connection;

/// `afsh` in the file's header, so that another program's database is never taken for ours.
pub(crate) const APPLICATION: i64 = 0x6166_7368;

/// The schema of this version.
pub(crate) const SCHEMA: i64 = 5;

pub(crate) const TO_2: &str = include_str!("schema_2.sql");
pub(crate) const TO_3: &str = include_str!("schema_3.sql");
pub(crate) const TO_4: &str = include_str!("schema_4.sql");
pub(crate) const TO_5: &str = include_str!("schema_5.sql");

/// The statements that make a schema's tables; None: there is no such schema.
pub(crate) fn declared(schema: i64) -> Option<String> {
    let all = [include_str!("schema.sql"), TO_2, TO_3, TO_4, TO_5];
    let count = usize::try_from(schema).ok().filter(|n| (1..=all.len()).contains(n))?;
    Some(all[..count].concat())
}

/// The tables as they were declared: one flipped letter in a column's name would otherwise look like an internal error.
pub(crate) fn tables(conn: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    rows.collect()
}
