//! Waits for a lock without blocking an async thread.

use disk::lock::Lock;
use model::Fault;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// None: another process still holds it after `within_ms`.
pub async fn wait_exclusive(path: &Path, within_ms: u64) -> Result<Option<Lock>, Fault> {
    let until = Instant::now() + Duration::from_millis(within_ms);
    loop {
        let lock = Lock::try_exclusive(path)?;
        if lock.is_some() || Instant::now() >= until {
            return Ok(lock);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
