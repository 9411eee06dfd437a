//! A lane beside the driver: pipelined statements written straight into the stream, and answers read in place.

mod frames;
mod pipeline;
mod row;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::num::NonZero;
use std::task::Poll;

use tokio_postgres::Error;

pub use frames::LaneStatement;
pub use pipeline::Pipeline;
pub use row::{Row, Values};

use crate::control::StreamControl;
use crate::error;

/// A second way to the server of a connection, for statements that are executed very often.
///
/// tokio-postgres needs a channel, several allocations and a wake-up for each statement. A [`Pipeline`] needs none: it
/// takes the stream while the driver has nothing in flight, writes Bind and Execute of prepared statements into one
/// buffer, one Sync for many, and passes each row of the answers to a closure by reference. Meanwhile requests of the
/// driver wait; notices, notifications and changes of parameters still reach it.
///
/// ```no_run
/// # use std::num::NonZero;
/// # use tokio_postgres::types::Type;
/// # use tokio_postgres_sync_batching::{Lane, SyncBatching};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let config: tokio_postgres::Config = "host=localhost user=me".parse()?;
/// let every = NonZero::new(256).unwrap();
/// let stream = SyncBatching::new(tokio::net::TcpStream::connect("localhost:5432").await?, every);
/// let lane = Lane::of(&stream.control());
/// let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
/// tokio::spawn(connection);
///
/// let mut pipeline = lane.pipeline(every).await?;
/// let by_id = pipeline.prepare("SELECT name FROM persons WHERE id = $1", &[Type::INT4]).await?;
/// for id in 1..=1000 {
///     pipeline.execute(&by_id, [&id])?;
/// }
/// while let Some(answer) = pipeline.next(|row| println!("{:?}", row.values().next())).await {
///     answer?;
/// }
/// drop(pipeline);
/// let now = client.query_one("SELECT now()", &[]).await?;
/// # Ok(()) }
/// ```
///
/// The handle is cheap to clone, and does not keep the connection open.
#[derive(Clone)]
pub struct Lane {
    /// It, and not the stream, because a connection that gets encrypted changes its stream.
    control: StreamControl,
}

impl Lane {
    /// The lane of the connection whose stream has this `control`.
    pub fn of(control: &StreamControl) -> Lane {
        Lane { control: control.clone() }
    }

    /// Whether the connection is still there.
    pub fn is_open(&self) -> bool {
        self.control.lender().is_some()
    }

    /// Wait until the driver has nothing in flight, and take the stream for a pipeline in which up to `sync_every`
    /// statements share a Sync.
    ///
    /// Whoever holds the pipeline keeps the driver waiting: drop it before using the client, and never await the client
    /// before that. In a transaction that the client has begun, the statements of the pipeline are part of it.
    ///
    /// # Errors
    /// When the connection is closed, or its statements are [changed for a pooler](crate::StreamControl).
    pub async fn pipeline(&self, sync_every: NonZero<usize>) -> Result<Pipeline, Error> {
        let borrowed = poll_fn(|cx| match self.control.lender() {
            Some(lender) => lender.poll_borrow(cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        });
        borrowed.await.map(|lent| Pipeline::new(lent, sync_every)).map_err(error::from_io)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}
