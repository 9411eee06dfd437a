//! How a pipeline borrows the stream from the driver, whatever the stream is.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::fatal::FatalError;

/// A place to borrow a stream from, whatever the stream is.
pub(crate) trait Lender: Send + Sync {
    /// Takes the stream as soon as the driver has nothing in flight on it.
    fn poll_borrow(self: Arc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Lent>>>;
}

/// A stream that is lent. Dropped, it is closed, unless it has been [given back](Lent::give_back).
pub(crate) trait Lent: Send {
    /// Writes some of `bytes`.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Passes on what a stream below has buffered.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads into `buf`, and returns how many bytes; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Passes a whole message to the driver.
    fn poll_pass_on(&mut self, cx: &mut Context<'_>, message: &[u8]) -> Poll<()>;

    /// Notes the error with which the server ended the session.
    fn note_fatal_error(&mut self, error: FatalError);

    /// Gives the stream back to the driver, with `unread` bytes that were read and not used, and the transaction status.
    fn give_back(&mut self, unread: &[u8], status: Option<u8>);
}
