//! Sync batching: many statements to one Sync, under an unchanged tokio-postgres.
//!
//! tokio-postgres pipelines the statements that are polled together, but ends each of them with a Sync of its
//! own, so that the server ends a transaction and sends off a reply for every single one. [`SyncBatching`] is a
//! stream between the driver and the socket (or the TLS stream) that lets up to N executes share a Sync:
//!
//! ```text
//!  driver      B E S  B E S  B E S            B bind, E execute, S sync
//!  server      B E    B E    B E S            what is sent
//!  server      2 C    2 C    2 C Z            2 bind complete, C command complete, Z ready for query
//!  driver      2 C Z  2 C Z  2 C Z            what is received
//! ```
//!
//! ```no_run
//! # use std::num::NonZero;
//! # use postgres_etl::postgres::sync_batching::SyncBatching;
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config: tokio_postgres::Config = "host=localhost user=me".parse()?;
//! let socket = tokio::net::TcpStream::connect("localhost:5432").await?;
//! let every = NonZero::new(256).unwrap();
//! let (client, connection) =
//!     config.connect_raw(SyncBatching::new(socket, every), tokio_postgres::NoTls).await?;
//! tokio::spawn(connection);
//! // Everything is as before; statements that are on the way together share a Sync.
//! let answers = futures::future::join_all((0..1000).map(|_| client.query("SELECT 1", &[]))).await;
//! # Ok(()) }
//! ```
//!
//! With TLS, give the driver [`BatchingTls`] around your connector as well.
//!
//! # What is batched
//!
//! A request of exactly Bind, Execute, Sync: a prepared statement that is queried or executed. Its Sync is held
//! back, and left out when the next message is another Bind. It is sent
//!
//! - as the N-th since the last one;
//! - before any other message: Parse, Describe, Close, simple Query (so before `BEGIN` and `COMMIT` as
//!   tokio-postgres sends them), COPY data, Terminate;
//! - when the driver flushes, which it does as soon as it has nothing more to send, and every 8 KiB: a hundred
//!   small statements or so, which is why an N beyond 256 gains little. So nobody waits for an answer that is still to be asked for, and a statement by itself is not delayed at all.
//!
//! Whatever is not batched passes as it is; with N = 1 that is everything.
//!
//! # What changes
//!
//! The statements between two Syncs, a *group*, are one transaction, unless a transaction is open, of which they
//! are part as always. Which statements form a group depends on timing: it is any run of batched statements, at
//! most N long, that were on the way together.
//!
//! **Nothing fails.** All answers are those that the driver gets without batching, except for what depends on
//! where a transaction starts: `now()` is the same for a whole group, and locks are kept to its end.
//!
//! **A statement fails inside an open transaction.** It gets the server's error. The rest of its group gets an
//! error with SQLSTATE 25P02, which is what the server says without batching, and [`is_skipped`] is true of it.
//! The transaction is aborted, as always.
//!
//! **A statement fails outside a transaction.** It gets the server's error, and the connection stays usable.
//! Without batching no other statement would be affected; with it, its whole group is rolled back:
//!
//! - those *behind* it never ran. Each gets an error with SQLSTATE 25P02 and the message "skipped: an earlier
//!   statement of the same pipeline failed"; [`is_skipped`] is true of it. They can be sent again.
//! - those *before* it ran and were answered, **and their effects are gone**. So here a success is not final
//!   before the Sync of its group is: it is once any later request that is not batched has been answered, for
//!   example `client.batch_execute("")`, and no statement failed meanwhile. The same holds for what fails only at
//!   the end of a group: a deferred constraint or a serialization failure is reported by the group's last
//!   statement, after the others have been told that all is well.
//!
//! Batch where this cannot matter: inside an explicit transaction, or where nothing is written.
//!
//! **A group is a transaction block** for the server, so a prepared `VACUUM`, or another statement that insists
//! on running by itself, may be refused, and a *prepared* `BEGIN`, `COMMIT` or `ROLLBACK` acts on the statements
//! before it in the group. [`Client::transaction`](tokio_postgres::Client::transaction) sends them as simple
//! queries, and is safe. The transaction status in a ready message that was made up is the last one the server
//! gave; tokio-postgres does not look at it.
//!
//! **COPY works**, since the Sync goes out before its data. One thing works better than without: a `COPY … FROM
//! STDIN` that fails before it takes any data no longer costs the connection, since the second ready message that
//! the server sends then, and that takes tokio-postgres by surprise, is left out.

mod backend;
mod frontend;
mod requests;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::num::NonZero;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::error::SqlState;

use backend::Backend;
use frontend::Frontend;
use requests::{Phase, Requests};
pub use tls::BatchingTls;

/// What is buffered in each direction: more than the driver hands over at once, so that a system call carries
/// many messages.
const BUFFER: usize = 64 * 1024;

/// Names the place an error was made up, where the server names one of its functions.
const ROUTINE: &str = "sync_batching";

/// Whether `error` says that its statement never ran, because an earlier one of its group failed.
///
/// The server's own errors are never such: not even its 25P02.
pub fn is_skipped(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        *error.code() == SqlState::IN_FAILED_SQL_TRANSACTION && error.routine() == Some(ROUTINE)
    })
}

/// A stream to a PostgreSQL server on which up to N executes share a Sync; see the [module](self).
///
/// It is given to [`Config::connect_raw`](tokio_postgres::Config::connect_raw) before anything was sent. It
/// follows the driver's request for encryption, and steps out of the way when the server grants it.
#[derive(Debug)]
pub struct SyncBatching<S> {
    stream: S,
    requests: Requests,
    frontend: Frontend,
    backend: Backend,
    /// Bytes for the server.
    out: BytesMut,
}

impl<S> SyncBatching<S> {
    /// A stream over `stream`, which nothing has been sent on, with at most `sync_every` executes to a Sync.
    pub fn new(stream: S, sync_every: NonZero<usize>) -> Self {
        SyncBatching {
            stream,
            requests: Requests::default(),
            frontend: Frontend::new(sync_every),
            backend: Backend::default(),
            out: BytesMut::new(),
        }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> SyncBatching<S> {
    /// Write everything that is buffered, short of a Sync that is held back.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SyncBatching<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            if this.requests.phase == Phase::Opaque && this.backend.is_empty() {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            this.backend.give(&mut this.requests, buf)?;
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SyncBatching<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.out.len() >= BUFFER || this.requests.phase == Phase::Opaque {
            ready!(this.poll_drain(cx))?;
        }
        if this.requests.phase == Phase::Opaque {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        let taken = buf.len().min(BUFFER);
        this.frontend.take(&buf[..taken], &mut this.requests, &mut this.out)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.frontend.release(&mut this.out);
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.frontend.release(&mut this.out);
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
