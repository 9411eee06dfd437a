//! Questions to a server that may be stuck.

use std::time::Duration;

/// How long to wait for the server's reply.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The output of `future`; `None` if it is not ready within 2 s.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(TIMEOUT, future).await.ok()
}
