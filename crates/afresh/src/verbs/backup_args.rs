//! Flags of `serve` and `up`: the backups that the control plane makes by itself.

use super::units;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// Back the data directory up into this directory; an alarm says when the last good backup is too old
    #[arg(long, value_name = "DIR")]
    pub backup: Option<PathBuf>,
    /// Make a backup this often
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = units::millis, requires = "backup")]
    pub backup_every: u64,
    /// Keep this many backups
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..), requires = "backup")]
    pub backup_keep: u32,
    /// Raise an alarm when the last good backup is older; by default three times --backup-every
    #[arg(long, value_name = "TIME", value_parser = units::millis, requires = "backup")]
    pub backup_max_age: Option<u64>,
    /// Put the machine's keys into backups, encrypted for this recipient of age
    #[arg(long, value_name = "AGE1...", value_parser = super::backup::recipient, requires = "backup")]
    pub backup_keys_for: Option<String>,
}

impl BackupArgs {
    pub fn settings(&self) -> Option<server::Backups> {
        let dir = self.backup.clone()?;
        Some(server::Backups {
            dir: std::path::absolute(&dir).unwrap_or(dir),
            every_ms: self.backup_every,
            keep: usize::try_from(self.backup_keep).unwrap_or(usize::MAX),
            max_age_ms: self.backup_max_age.unwrap_or(self.backup_every.saturating_mul(3)),
            keys_for: self.backup_keys_for.clone(),
        })
    }

    /// For the process that makes them.
    pub fn words(&self) -> Vec<String> {
        let Some(settings) = self.settings() else { return Vec::new() };
        let mut words = vec!["--backup".to_string(), settings.dir.display().to_string()];
        words.extend(["--backup-every".to_string(), format!("{}ms", settings.every_ms)]);
        words.extend(["--backup-keep".to_string(), settings.keep.to_string()]);
        words.extend(["--backup-max-age".to_string(), format!("{}ms", settings.max_age_ms)]);
        words.extend(settings.keys_for.into_iter().flat_map(|recipient| ["--backup-keys-for".to_string(), recipient]));
        words
    }
}
