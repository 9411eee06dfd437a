//! Work that waits for files and processes, off the threads that drive connections.

use crate::Result;

/// Run `work`, which waits for processes and files, where it holds up no connection.
///
/// # Errors
/// Whatever `work` returns.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
