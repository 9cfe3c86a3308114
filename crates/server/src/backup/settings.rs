//! How `serve` makes backups by itself.

use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Backups {
    pub dir: PathBuf,
    pub every_ms: u64,
    /// How many are kept.
    pub keep: usize,
    /// An alarm, when the last good one is older.
    pub max_age_ms: u64,
    pub keys_for: Option<String>,
}
