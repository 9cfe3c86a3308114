//! A flag that is set once to shut something down: a listener with its connections, or the control side.

use tokio::sync::watch;

/// Returns once the flag is set, or its sender is gone.
pub async fn requested(flag: &mut watch::Receiver<bool>) {
    // The returned guard holds a lock, which must not live across an await.
    drop(flag.wait_for(|is_set| *is_set).await);
}
