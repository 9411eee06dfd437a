//! The stream between the driver and the server.

use std::io;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::control::StreamControl;
use crate::lend::Lender;
use crate::link::Link;
use crate::slot::Slot;

#[cfg(test)]
mod tests;

/// A stream to a PostgreSQL server on which up to N executes share a Sync; see the [crate docs](crate).
///
/// Wrap a stream on which nothing has been sent or received yet, and pass the result to
/// [`Config::connect_raw`](tokio_postgres::Config::connect_raw). When the server accepts the driver's request for
/// encryption, this stream passes everything unread from then on, and batching is left to
/// [`BatchingTls`](crate::BatchingTls).
///
/// Memory use is bounded: 64 KiB of buffer for reading, at most twice that for writing, and some bookkeeping for
/// each request in flight. Dropping the stream discards what has not been flushed.
///
/// # Errors
///
/// Reading and writing return the errors of the stream below, except that a write to a connection that the server has
/// closed succeeds: reading tells what the server said before, and then that the connection is closed. In addition,
/// there is
///
/// - [`io::ErrorKind::InvalidData`] when the driver or the server sends a message whose length is impossible: below
///   4 bytes, above `i32::MAX`, or other than 5 for `ReadyForQuery`;
/// - [`io::ErrorKind::WriteZero`] when the stream below accepts no more bytes.
///
/// The connection cannot be used after either.
#[derive(Debug)]
pub struct SyncBatching<S> {
    slot: Arc<Slot<S>>,
    control: StreamControl,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> SyncBatching<S> {
    /// Wraps `stream`, sending a Sync at least once every `sync_every` executes.
    ///
    /// With `sync_every` 1, every Sync is sent as the driver wrote it. Values beyond 256 gain little, because the
    /// driver flushes every 8 KiB and each flush sends a Sync.
    ///
    /// ```
    /// # use std::num::NonZero;
    /// # use tokio_postgres_sync_batching::SyncBatching;
    /// # fn wrap(socket: tokio::io::Empty) -> SyncBatching<tokio::io::Empty> {
    /// const SYNC_EVERY: NonZero<usize> = NonZero::new(256).unwrap();
    /// SyncBatching::new(socket, SYNC_EVERY)
    /// # }
    /// ```
    pub fn new(stream: S, sync_every: NonZero<usize>) -> Self {
        SyncBatching::with_control(stream, sync_every, StreamControl::default())
    }

    /// As [`new`](Self::new), with an existing `control`.
    pub(crate) fn with_control(stream: S, sync_every: NonZero<usize>, control: StreamControl) -> Self {
        let slot = Arc::new(Slot::new(Link::new(stream, sync_every, control.clone())));
        let lender: Arc<dyn Lender> = slot.clone();
        control.set_lender(&lender);
        SyncBatching { slot, control }
    }
}

impl<S> SyncBatching<S> {
    /// The handle that controls this stream, also after the driver has taken it.
    pub fn control(&self) -> StreamControl {
        self.control.clone()
    }

    /// Calls `look` with the stream below, for example to inspect the socket; `None` while a
    /// [`Pipeline`](crate::Pipeline) uses it.
    pub fn inspect<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T> {
        self.slot.inspect(look)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SyncBatching<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.slot.poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SyncBatching<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.slot.poll_with(cx, buf.len(), |link, cx| link.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.slot.poll_with(cx, (), Link::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.slot.poll_with(cx, (), Link::poll_shutdown)
    }
}
