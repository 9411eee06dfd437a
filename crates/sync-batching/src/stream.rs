//! The stream between the driver and the server.

use std::io;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::backend::Backend;
use crate::control::StreamControl;
use crate::frontend::Frontend;
use crate::requests::{Phase, Requests};
use crate::slot::{Lender, Slot};
use crate::wire::BUFFER;

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

/// The stream below, and what stands between it and the driver.
#[derive(Debug)]
pub(crate) struct Core<S> {
    pub(crate) stream: S,
    pub(crate) requests: Requests,
    frontend: Frontend,
    backend: Backend,
    /// Bytes for the server.
    out: BytesMut,
    /// The server no longer reads.
    is_deaf: bool,
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
        let slot = Arc::new(Slot::new(Core::new(stream, sync_every, control.clone())));
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

impl<S> Core<S> {
    pub(crate) fn new(stream: S, sync_every: NonZero<usize>, control: StreamControl) -> Core<S> {
        Core {
            stream,
            requests: Requests::new(control),
            frontend: Frontend::new(sync_every),
            backend: Backend::default(),
            out: BytesMut::new(),
            is_deaf: false,
        }
    }

    /// Whether the driver has logged in and has nothing in flight, and nothing of a message is here.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.phase == Phase::Messages
            && self.requests.first().is_none()
            && self.frontend.is_idle()
            && self.backend.is_idle()
            && self.out.is_empty()
            && !self.is_deaf
    }

    /// Whether the driver uses a stream inside an encryption instead.
    pub(crate) fn is_opaque(&self) -> bool {
        self.requests.phase == Phase::Opaque
    }

    /// Why a pipeline cannot use the stream; `None` if it can.
    pub(crate) fn refuses_loans(&self) -> Option<&'static str> {
        let control = &self.requests.control;
        let is_changed = control.unnames() || control.prefix().is_some() || control.is_read_only();
        is_changed.then_some("a pipeline cannot use a connection whose statements are changed for a pooler")
    }

    /// Ends a loan, in which `unread` was read and not used, and which left the transaction in this `status`.
    pub(crate) fn take_back(&mut self, unread: &[u8], status: Option<u8>) {
        self.backend.unread(unread, status);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// Writes everything buffered for the server, which does not include a Sync that is held back.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() && !self.is_deaf {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.out.advance(written),
                // The driver would give up at once, and lose what the server said before it closed the connection.
                Err(error) if is_about_peer(&error) => {
                    self.is_deaf = true;
                    // Whoever reads has to be told as well, and it is the same task.
                    cx.waker().wake_by_ref();
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.is_deaf {
            self.out.clear();
        }
        Poll::Ready(Ok(()))
    }
}

/// Whether a write failed because the server has closed the connection.
pub(crate) fn is_about_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SyncBatching<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.slot.poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SyncBatching<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.slot.poll_with(cx, buf.len(), |core, cx| core.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.slot.poll_with(cx, (), Core::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.slot.poll_with(cx, (), Core::poll_shutdown)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Core<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            if this.requests.phase == Phase::Opaque && this.backend.is_empty() {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            this.backend.forward(&mut this.requests, buf)?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.requests.phase != Phase::Messages {
                // The driver does not flush its request for encryption before it waits for the answer.
                ready!(this.poll_drain(cx))?;
            }
            if ready!(this.backend.poll_fill(Pin::new(&mut this.stream), cx))?.is_end() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Core<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.out.len() >= BUFFER || this.requests.phase == Phase::Opaque {
            ready!(this.poll_drain(cx))?;
        }
        if this.requests.phase == Phase::Opaque {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        let taken = buf.len().min(BUFFER);
        this.frontend.forward(&buf[..taken], &mut this.requests, &mut this.out)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.frontend.release(&mut this.out);
        ready!(this.poll_drain(cx))?;
        match ready!(Pin::new(&mut this.stream).poll_flush(cx)) {
            Err(error) if is_about_peer(&error) => this.is_deaf = true,
            flushed => flushed?,
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.frontend.release(&mut this.out);
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
