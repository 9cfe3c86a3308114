//! Runs what blocks (the database, the ports) outside the async runtime's own threads.

use model::Fault;

pub async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(f).await.unwrap_or_else(|e| Err(Fault::ours("panic", format!("internal error of the control plane: {e}"))))
}
