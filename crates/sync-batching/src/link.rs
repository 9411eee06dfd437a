//! The stream to the server, and what stands between it and the driver.

use std::io;
use std::num::NonZero;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::backend::Backend;
use crate::control::StreamControl;
use crate::frontend::Frontend;
use crate::requests::{Phase, Requests};
use crate::wire::{BUFFER, is_about_peer};

/// The stream below, and what stands between it and the driver.
#[derive(Debug)]
pub(crate) struct Link<S> {
    pub(crate) stream: S,
    pub(crate) requests: Requests,
    frontend: Frontend,
    backend: Backend,
    /// Bytes for the server.
    out: BytesMut,
    /// The server no longer reads.
    is_deaf: bool,
}

impl<S> Link<S> {
    pub(crate) fn new(stream: S, sync_every: NonZero<usize>, control: StreamControl) -> Link<S> {
        Link {
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

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// Writes everything buffered for the server, which does not include a Sync that is held back.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Link<S> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Link<S> {
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
