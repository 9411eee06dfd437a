//! Sync batching: many pipelined statements per Sync, under an unchanged tokio-postgres.
//!
//! tokio-postgres pipelines the statements that are polled together, but ends each of them with a Sync of its
//! own, so the server ends a transaction and sends a reply for every single one. [`SyncBatching`] is a stream
//! between the driver and the socket (or the TLS stream) that lets up to N executes share a Sync:
//!
//! ```text
//!  driver      B E S  B E S  B E S            B Bind, E Execute, S Sync
//!  server      B E    B E    B E S            what is sent
//!  server      2 C    2 C    2 C Z            2 BindComplete, C CommandComplete, Z ReadyForQuery
//!  driver      2 C Z  2 C Z  2 C Z            what is received
//! ```
//!
//! ```no_run
//! # use std::num::NonZero;
//! # use tokio_postgres_sync_batching::SyncBatching;
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config: tokio_postgres::Config = "host=localhost user=me".parse()?;
//! let socket = tokio::net::TcpStream::connect("localhost:5432").await?;
//! let every = NonZero::new(256).unwrap();
//! let (client, connection) =
//!     config.connect_raw(SyncBatching::new(socket, every), tokio_postgres::NoTls).await?;
//! tokio::spawn(connection);
//! // Everything is as before, except that statements in flight together share a Sync.
//! let statement = client.prepare("SELECT 1").await?;
//! let answers = futures::future::join_all((0..1000).map(|_| client.query(&statement, &[]))).await;
//! # Ok(()) }
//! ```
//!
//! With TLS, wrap the TLS connector in [`BatchingTls`] as well.
//!
//! # What is batched
//!
//! A request that consists of exactly Bind, Execute and Sync: a prepared statement that is queried or executed.
//! Its Sync is held back, and left out if the next message is another Bind. It is sent
//!
//! - when it is the N-th since the last Sync sent;
//! - before any other message: Parse, Describe, Close, simple Query (hence before `BEGIN` and `COMMIT` as
//!   tokio-postgres sends them), COPY data, Terminate;
//! - when the driver flushes, which it does as soon as it has nothing more to send, and every 8 KiB: after a
//!   hundred small statements or so, which is why an N beyond 256 gains little.
//!
//! So no statement waits for one that has yet to be issued, and a statement alone in flight is not delayed at all.
//!
//! Everything else passes unchanged. With N = 1, so does every message to the server.
//!
//! # What changes
//!
//! The statements between two Syncs, a *group*, form one implicit transaction, unless an explicit transaction is
//! open, in which case they are part of that one as always. Which statements form a group depends on timing: a
//! group is some run of at most N batched statements that were in flight together.
//!
//! **No statement fails.** All answers are those that the driver gets without batching, except for what depends
//! on the extent of a transaction: `now()` is the same throughout a group, locks are held until its end, and at
//! isolation level `REPEATABLE READ` or above the whole group sees one snapshot.
//!
//! **A statement fails inside an explicit transaction.** It gets the server's error. The rest of its group gets an
//! error with SQLSTATE 25P02, as it would from the server without batching, and [`is_skipped`] is true of it. The
//! transaction is aborted, as always.
//!
//! **A statement fails outside an explicit transaction.** It gets the server's error, and the connection stays
//! usable. Without batching no other statement would be affected; with it, the whole group is rolled back:
//!
//! - The statements *after* it never ran. Each gets an error with SQLSTATE 25P02 and the message "skipped: an
//!   earlier statement of the same pipeline failed", and [`is_skipped`] is true of it. They can be sent again.
//! - The statements *before* it ran and were answered, **and their effects are lost**. Success is therefore not
//!   final until the Sync of the group is: once any later request that is not batched has been answered, for
//!   example `client.batch_execute("")`, and no statement has failed in between. The same holds for errors that
//!   arise only at the end of a group: a deferred constraint violation or a serialization failure is reported by
//!   the last statement of the group, after the others have reported success.
//!
//! Use batching where this cannot matter: inside an explicit transaction, or where nothing is written.
//!
//! **A group is a transaction block** to the server. A prepared `VACUUM`, or another statement that cannot run
//! inside a transaction block, may be refused, and a *prepared* `BEGIN`, `COMMIT` or `ROLLBACK` affects the
//! statements before it in the group. [`Client::transaction`](tokio_postgres::Client::transaction) is safe, since
//! it sends these commands as simple queries. The transaction status in a supplied `ReadyForQuery` is the last one
//! that the server reported; tokio-postgres does not use it.
//!
//! **COPY works**, since the Sync is sent before the data. One case even improves: a `COPY … FROM STDIN` that fails
//! before it takes any data no longer costs the connection. The server then sends a second `ReadyForQuery`, which
//! tokio-postgres does not expect and which is dropped here, even with N = 1.
//!
//! # Behind a transaction pooler
//!
//! A pooler such as PgBouncer in transaction mode gives a connection another server session in each transaction, and
//! may give several connections the same one in turn. A prepared statement or a setting then outlives its transaction
//! in the session of a stranger. [`StreamControl`] tells whether a pooler stands between, and makes each group
//! complete in itself:
//!
//! - [`StreamControl::unname_statements`] replaces the names that the driver gives to its statements. A group is
//!   preceded by a Parse of the unnamed statement, whose answer the driver does not see:
//!
//! ```text
//!  driver      B₁E S  B₁E S  B₂E S            B₁ Bind of the first statement, B₂ of the second
//!  server      P B E  B E    P B E S          P Parse
//! ```
//!
//! - [`StreamControl::make_groups_read_only`] puts a statement before each group that makes its transaction read-only,
//!   and leaves nothing behind.
//!
//! # A lane beside the driver
//!
//! A [`Lane`] is a second way to the server over the same connection, for statements that are short and many, of which
//! the driver would take most of the client's time. Its [`Pipeline`] writes them straight into the stream.

mod auth;
mod backend;
mod control;
mod error;
mod fatal;
mod frontend;
mod lane;
mod lend;
mod link;
mod requests;
mod slot;
mod statements;
mod stream;
mod tls;
mod wire;

pub use auth::AuthMethod;
pub use control::StreamControl;
pub use fatal::FatalError;
pub use lane::{Lane, LaneStatement, Pipeline, Row, Values};
pub use stream::SyncBatching;
pub use tls::BatchingTls;
pub use wire::is_skipped;

/// Compiles the examples in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
