//! Runs blocking work away from the threads that drive connections.

use crate::Result;

/// Run `work`, which may wait for files and processes, on a thread for blocking work. Its panics are propagated.
///
/// # Errors
/// The error that `work` returns.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
